"""`collectord quarantine`: what is there can be looked at without a daemon, and changed with one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from click.testing import CliRunner, Result

from collectord import quarantine
from collectord.cli.main import main
from collectord.control.service import ControlService
from collectord.pipeline.framer import Framer
from tests.pipeline.node import Client, Node, landed_ids, node, schema, store, wait_until

__all__ = ["node", "store"]


class Asked:
    """What Control asks of a daemon here."""

    def __init__(self, running: Node) -> None:
        self.quarantined = running.pipeline.shelf.ids
        self.retry_quarantined = running.pipeline.shelf.retry
        self.drop_quarantined = running.pipeline.shelf.drop


@contextmanager
def serving(running: Node) -> Iterator[None]:
    """Answers on the spool's admin socket."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> grpc.aio.Server:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((ControlService(Asked(running)).handler(),))  # type: ignore[arg-type]
        server.add_insecure_port(f"unix:{running.spool / 'admin.sock'}")
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def sick(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> tuple[Node, Client, list[bool]]:
    """A node with two items of 7 and 8 rows in quarantine; they are encoded again once the switch is off."""
    make, failing = Framer.make, [True]

    def some(self: Framer, of: Any, plan: Any, slices: Any, payloads: Any) -> Any:
        if failing[0] and any(piece.rows > 5 for piece in slices):
            raise ValueError("not today")
        return make(self, of, plan, slices, payloads)

    monkeypatch.setattr(Framer, "make", some)
    running = node()
    client = Client(schema())
    running.append(client.batch(1), client.batch(7), client.batch(2), client.batch(8))
    wait_until(lambda: running.pipeline.flush(0.2))
    return running, client, failing


def run(running: Node, *arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, ["quarantine", *arguments, "--spool", str(running.spool)], input=input)


Sick = tuple[Node, Client, list[bool]]


def test_why_rows_cannot_be_encoded_is_said_by_their_item_and_not_by_the_log(
    caplog: pytest.LogCaptureFixture, sick: Sick
) -> None:
    """It may quote a value; the item lies beside the rows."""
    running, _, _ = sick
    told = [*(str(vars(record)) for record in caplog.get_records("setup")), running.pipeline.last_error]
    assert any("rows were put into quarantine" in one and "ValueError" in one for one in told)
    assert not [one for one in told if "not today" in one]
    assert "not today" in run(running, "show", json.loads(run(running, "ls", "--json").stdout)[0]["id"]).stdout


def test_ls_show_and_export_need_no_daemon(sick: Sick, tmp_path: Path) -> None:
    running, client, _ = sick
    running.stop()
    listed = json.loads(run(running, "ls", "--json").stdout)
    assert [one["rows"] for one in listed] == [7, 8]
    assert run(running, "ls").stdout.endswith("15 rows in 2 items\n")
    shown = run(running, "show", listed[0]["id"][:8]).stdout
    assert "not today" in shown and client.id.hex() in shown and "sequence 2" in shown
    assert json.loads(run(running, "show", listed[0]["id"], "--json").stdout) == listed[0]
    result = run(running, "export", "--all", "--out", str(tmp_path / "out.jsonl"))
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(line["rows"] for line in lines) == [7, 8]
    assert run(running, "export", listed[1]["id"], "--out", "-").stdout.count("\n") == 1


def test_retry_and_drop_go_through_the_daemon(sick: Sick, store: Any) -> None:
    """One is mended and lands, the other is given up; the books say so."""
    running, client, failing = sick
    seven, eight = (one["id"] for one in json.loads(run(running, "ls", "--json").stdout))
    failing[0] = False
    with serving(running):
        result = run(running, "retry", seven)
        assert result.exit_code == 0 and "7 rows wait in the log again" in result.output, result.output
        assert run(running, "drop", eight, input="n\n").exit_code == 1
        result = run(running, "drop", eight, "--yes", "--json")
        assert json.loads(result.stdout) == [{"id": eight, "rows": 8, "problem": None}]
        assert run(running, "retry", "--all").exit_code == 0
    wait_until(lambda: running.pipeline.flush(0.2))
    assert sorted(landed_ids(store)) == sorted(client.ids[:10])
    (book,) = running.pipeline.overview.books()
    assert (book.landed, book.quarantined, book.dropped_from_quarantine, book.missing) == (10, 0, 8, 0)
    assert run(running, "ls").stdout == "0 rows in 0 items\n"


def test_an_export_is_for_its_owner_and_follows_no_link(sick: Sick, tmp_path: Path) -> None:
    """It holds users' rows, and may be written where others can lay out names."""
    running, _, _ = sick
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out.jsonl.part").symlink_to(victim)
    (tmp_path / "out.jsonl").symlink_to(victim)
    result = run(running, "export", "--all", "--out", str(tmp_path / "out.jsonl"))
    assert result.exit_code == 0, result.output
    assert victim.read_text() == "mine"
    assert (tmp_path / "out.jsonl").lstat().st_mode & 0o170777 == 0o100600
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file() and not path.is_symlink()) == [
        "out.jsonl", "victim",
    ]  # fmt: skip
    assert run(running, "export", "--all", "--out", str(tmp_path / "no" / "out")).exit_code == 2


def test_only_what_was_exported_is_dropped(sick: Sick, tmp_path: Path) -> None:
    """An item that could not be read is no reason to lose it: `export` says so, and `drop --exported` leaves it alone."""
    running, _, _ = sick
    seven, eight = (one["id"] for one in json.loads(run(running, "ls", "--json").stdout))
    path = quarantine.path_of(running.spool / quarantine.ROWS_DIRECTORY, bytes.fromhex(seven))
    *whole, last = path.read_bytes()
    path.write_bytes(bytes([*whole, last ^ 1]))
    kept = tmp_path / "kept.jsonl"
    result = run(running, "export", "--all", "--out", str(kept))
    assert result.exit_code == 1 and "1 of 2 items were left out" in result.output
    with serving(running):
        result = run(running, "drop", "--exported", str(kept), "--yes", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == [{"id": eight, "rows": 8, "problem": None}]
        result = run(running, "drop", "--exported", str(kept), "--yes")
        assert result.exit_code == 0 and "not in quarantine any more" in result.output
    assert running.pipeline.shelf.ids() == [bytes.fromhex(seven)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"id": "00", "entry": 1, "entries": 2}\n', "1 of the 2 batches"), ('{"id": "00", "ent', "is not what"),
        ('{"id": "00"}\n', "is not what"), (None, "No such file"),
    ],
    ids=["cut off between lines", "cut off in a line", "something else", "not there"],
)  # fmt: skip
def test_of_an_export_that_is_not_whole_nothing_is_dropped(
    sick: Sick, tmp_path: Path, content: str | None, says: str
) -> None:
    running, _, _ = sick
    file = tmp_path / "kept.jsonl"
    if content is not None:
        file.write_text(content)
    with serving(running):
        result = run(running, "drop", "--exported", str(file), "--yes")
        assert result.exit_code == 2 and says in result.output
        assert run(running, "drop", "--exported", str(file), "--all", "--yes").exit_code == 2
    assert len(running.pipeline.shelf.ids()) == 2


def test_what_cannot_be_retried_is_said_and_the_rest_is_done(sick: Sick) -> None:
    """A damaged item stays where it is; the exit status tells."""
    running, _, failing = sick
    seven = json.loads(run(running, "ls", "--json").stdout)[0]["id"]
    path = quarantine.path_of(running.spool / quarantine.ROWS_DIRECTORY, bytes.fromhex(seven))
    *whole, last = path.read_bytes()
    path.write_bytes(bytes([*whole, last ^ 1]))
    failing[0] = False
    with serving(running):
        result = run(running, "retry", "--all")
    assert result.exit_code == 1
    assert "checksum" in result.output and "8 rows wait in the log again" in result.output
    assert "1 of 2 items stay in quarantine" in result.output
    assert running.pipeline.shelf.ids() == [bytes.fromhex(seven)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retry"], "--all"), (["retry", "ab", "--all"], "--all"), (["show", "zz"], "no items"), (["show", ""], "2 items"),
        (["export", "zz", "--out", "-"], "no items"), (["export", "--out", "-"], "--all"),
    ],
)  # fmt: skip
def test_wrong_questions_are_told(sick: Sick, arguments: list[str], says: str) -> None:
    running, _, _ = sick
    with serving(running):
        result = run(running, *arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_without_a_daemon_retry_and_drop_say_so(sick: Sick) -> None:
    running, _, _ = sick
    for arguments in (["retry", "--all"], ["drop", "--all", "--yes"]):
        result = run(running, *arguments)
        assert result.exit_code == 2 and "no daemon answers" in result.output


def test_a_spool_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["quarantine", "ls", "--spool", str(tmp_path / "nowhere")])
    assert result.exit_code == 2 and "nowhere" in result.output


@pytest.mark.parametrize("command", ["ls", "show", "retry", "export", "drop"])
def test_every_command_shows_how_it_is_used(command: str) -> None:
    text = CliRunner().invoke(main, ["quarantine", command, "--help"]).output
    assert text.count(f"collectord quarantine {command}") >= 2
