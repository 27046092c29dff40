"""`collectord erase`: what it is asked and what it answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collectord.cli.main import main
from collectord.model import Lsn, Partition
from collectord.quarantine import ROWS_DIRECTORY, HeldEntry, Item, path_of
from collectord.reader import erasure
from collectord.testing.store import MemoryStore
from tests.reader.test_where import put as put_in_memory
from tests.reader.test_where import row

ITEM = b"i" * 16


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose store has two rows, of `order-1` and `order-2`."""
    memory = MemoryStore()
    put_in_memory(memory, "zstd", row("order-1", "x") + row("order-2", "y"))
    for name, blob in memory.blobs.items():
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(blob.content)
    return tmp_path


def run(place: Path, *arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, ["erase", "--store", str(place / "store"), *arguments], input=input)


def test_it_says_what_it_would_do_and_does_it_with_yes(place: Path) -> None:
    dry = run(place, "--correlation-id", "order-1")
    assert dry.exit_code == 1
    assert "1 rows in 1 of 1 blobs" in dry.output
    assert "--yes does it" in dry.output
    done = run(place, "--ids-from", "-", "--yes", "--report", str(place / "report"), input="\norder-1\n")
    assert done.exit_code == 0, done.output
    assert "data.csv.zst -> w/2026/11/21/data.1.csv.zst" in done.output
    report = json.loads((place / "report").read_text())
    assert report["complete"]
    assert [part["rows"] for part in report["record"]["parts"]] == [1]
    assert "order-1" not in (place / "report").read_text()
    assert run(place, "--correlation-id", "order-1").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--correlation-id", "a", "--where", "b=c"), ("--where", "b"), ("--correlation-id", "a", "--to", "2026-11-21"),
        ("--correlation-id", "a", "--from", "2026-11-21", "--to", "2026-11-20"),
    ],
)  # fmt: skip
def test_what_is_not_said_well_is_refused_before_anything_is_done(place: Path, arguments: tuple[str, ...]) -> None:
    result = run(place, *arguments, "--yes")
    assert result.exit_code == 2, result.output
    assert not (place / "store" / "_collectord").exists()


@pytest.mark.parametrize("text", ["order-1\r\norder-2", "\ufefforder-1\r\norder-2\r\n"])
def test_the_first_id_of_a_file_is_found_behind_a_byte_order_mark(place: Path, text: str) -> None:
    (place / "ids").write_bytes(text.encode())
    assert "2 rows in 1 of 1 blobs" in run(place, "--ids-from", str(place / "ids")).output


def test_a_file_of_ids_that_is_not_utf_8_is_refused(place: Path) -> None:
    (place / "ids").write_text("order-1\n", encoding="utf-16")
    result = run(place, "--ids-from", str(place / "ids"), "--yes")
    assert result.exit_code == 2
    assert "ids: it is not UTF-8" in result.output
    assert not (place / "store" / "_collectord").exists()


@pytest.mark.parametrize(
    "arguments, note",
    [
        (("--stream", "w/inputs/default"), "no blob of these days has a name that begins like w/inputs/default"),
        (("--correlation-id", "0B6B2A3C-1111-4222-8333-444455556666"), "1 of these are uuids that are not spelled in lower case"),
    ],
)  # fmt: skip
def test_what_may_have_kept_rows_from_being_found_is_noted(place: Path, arguments: tuple[str, ...], note: str) -> None:
    assert note in run(place, "--correlation-id", "order-9", *arguments).output
    assert "note:" not in run(place, "--correlation-id", "order-9", "--stream", "w/").output


def test_what_has_not_landed_is_told_with_what_to_do_about_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the log, of an exporter and of the quarantine of a spool; the rest is erased all the same."""
    exporter = {"name": "otlp", "trouble": "503", "lag_bytes": 9}
    stuck = [exporter, exporter | {"trouble": ""}, exporter | {"lag_bytes": 0}]

    class Control:
        def __init__(self, socket: Path) -> None:
            assert socket.name == "admin.sock"

        def __enter__(self) -> Control:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def where(self, sought: list[bytes]) -> Any:
            entries = [SimpleNamespace(stream="s", lsn=7, rows=3)] if b"order-1" in sought or b"x" in sought else []
            return SimpleNamespace(complete=False, bytes_searched=9, entries=entries)

        def status(self) -> dict[str, Any]:
            return told

    told: dict[str, Any] = {"waiting": {"rows": 3}, "exports": stuck}

    monkeypatch.setattr(erasure, "ControlClient", Control)
    spool = place / "spool"
    entry = HeldEntry(Lsn(1), b"c" * 16, 1, 0, 3, True, b"...order-1...")
    item = Item(ITEM, "stream", Partition(b"s" * 16, 0, 1440), b"", "unencodable", "a detail", 0, (entry,))
    (spool / ROWS_DIRECTORY).mkdir(parents=True)
    path_of(spool / ROWS_DIRECTORY, ITEM).write_bytes(item.pack())
    path_of(spool / ROWS_DIRECTORY, b"d" * 16).write_bytes(b"no item at all")

    done = run(place, "--correlation-id", "order-1", "--yes", "--spool", str(spool), "--json")
    assert done.exit_code == 1
    said = json.loads(done.output)
    assert [(one["where"], one["rows"]) for one in said["remains"]] == [("log", 3), ("exporter", 0), ("quarantine", 3)]
    assert said["record"]["parts"]
    assert len(said["notes"]) == 2
    text = run(place, "--correlation-id", "order-1", "--spool", str(spool)).output
    assert "collectord flush" in text
    assert "quarantine drop" in text
    assert "not delivered yet: events for otlp" in text
    cells = json.loads(run(place, "--where", "v=x", "--spool", str(spool), "--json").output)
    assert [one["where"] for one in cells["remains"]] == ["log"]

    del told["exports"]  # a daemon of an earlier version, which had none
    said = json.loads(run(place, "--correlation-id", "order-1", "--spool", str(spool), "--json").output)
    assert [one["where"] for one in said["remains"]] == ["log", "quarantine"]
    assert any("numbers" in note for note in cells["notes"])
    stuck.clear()
    assert run(place, "--correlation-id", "order-3", "--spool", str(spool)).exit_code == 0


def test_who_finds_nothing_is_told_of_a_column_that_is_not_there_and_of_numbers(place: Path) -> None:
    """Else a misspelled column would look like an erasure that has nothing to do."""
    for condition, note in (
        ("A\n=x", "none of these blobs has the column 'A\\n'"), ("a\n=4711", "of a column of reals 4711.0 stands in the blobs"),
        ("a\n=nobody", ""), ("a\n=x", ""),
    ):  # fmt: skip
        answer = run(place, "--where", condition)
        assert answer.exit_code == int(condition == "a\n=x"), answer.output
        assert ("note: " in answer.output) == bool(note)
        assert note in answer.output


def test_a_report_that_cannot_be_written_is_said_before_anything_is_erased(place: Path) -> None:
    done = run(place, "--correlation-id", "order-1", "--yes", "--report", str(place / "no" / "report"))
    assert (done.exit_code, done.stderr) == (
        2,
        f"collectord: --report {place / 'no' / 'report'}: No such file or directory\n",
    )
    assert run(place, "--correlation-id", "order-1").exit_code == 1, "the row is there still"
