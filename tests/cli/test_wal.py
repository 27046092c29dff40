"""`collectord wal`: what it prints, what it writes, and how it exits; the spool made without a daemon."""

from __future__ import annotations

import base64
import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner, Result

from collectord import files
from collectord.cli.main import main
from collectord.model import Entry, EntryKind, Lsn, Partition, Place, Stored
from collectord.schema import parse_schema
from collectord.upload.ledger import Ledger
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedfile import Copied, ParkedFile, parked_bytes
from collectord.wal.raw import Raw
from collectord.wal.segment import MAGIC
from tests.e2e import wire
from tests.wal.spool import CLIENT, SPOOL_ID, Spool, flip

TIME_NS = 440_000 * 3_600_000_000_000
ROWS = 40
BATCHES = 30


def entry(number: int, model: str = "m", columns: tuple[str, ...] = ("n",)) -> Entry:
    schema = parse_schema(wire.schema(model, columns=columns))
    rows = range(number * 1000, number * 1000 + ROWS)
    payload = wire.batch(number, schema.raw, rows, TIME_NS, len(columns)).SerializeToString()
    return Entry(EntryKind.BATCH, CLIENT, number, ROWS, payload, schema, Partition.of(schema.id, TIME_NS, 1440))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Thirty batches of forty rows in several segments, the log closed."""
    made = Spool(tmp_path / "spool")
    for number in range(1, BATCHES + 1):
        assert made.commit(entry(number)) is None
    made.writer.close()
    assert len(made.files()) >= 3
    return made


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["wal", *map(str, arguments)])


def root(spool: Spool) -> Path:
    return spool.log.parent


def damage(spool: Spool) -> None:
    """One bit in the payload of a batch of the second segment."""
    path = spool.files()[1]
    raw = wire.schema("m")
    # Its declaration comes first; two thousand bytes on, one of the first batches stands.
    flip(path, path.read_bytes().index(raw) + 2000)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def numbers_of(text: str) -> list[int]:
    return [int(row[0]) for row in csv.reader(io.StringIO(text))]


def all_numbers(*without: int) -> list[int]:
    return [n * 1000 + row for n in range(1, BATCHES + 1) if n not in without for row in range(ROWS)]


def test_verify_of_a_whole_log_exits_with_0_and_changes_nothing(spool: Spool) -> None:
    before = contents(root(spool))
    done = run("verify", root(spool))
    assert done.exit_code == 0, done.output
    assert f"the log is whole: {len(spool.files())} segments, 1,200 rows can be read" in done.output
    assert done.output.count("  whole") == len(spool.files())
    found = json.loads(run("verify", "--spool", root(spool), "--json").output)
    assert found["clean"] is True and sum(one["rows"] for one in found["segments"]) == 1200
    assert contents(root(spool)) == before


def test_verify_of_a_damaged_log_exits_with_1_and_names_the_ranges(spool: Spool) -> None:
    damage(spool)
    (spool.log / "00000000000001048576.seg").write_bytes(b"something else")
    done = run("verify", root(spool))
    assert done.exit_code == 1
    assert (
        "  payload: " in done.output
        and "40 rows" in done.output
        and "lost for certain, unless they have landed: 40 rows of " in done.output
    )
    assert "00000000000001048576.seg  foreign: not part of this log" in done.output
    found = json.loads(run("verify", root(spool), "--json").output)
    assert found["clean"] is False
    assert [(d["reason"], d["rows"]) for one in found["segments"] for d in one["damages"]] == [("payload", 40)]
    assert [loss["rows"] for loss in found["losses"]] == [40]


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_without_a_log_the_exit_status_is_2(tmp_path: Path, command: str) -> None:
    done = run(command, tmp_path)
    assert done.exit_code == 2 and "there is no log in" in done.output


@pytest.mark.parametrize(
    "arguments", [("verify",), ("repair",), ("repair", "--dry-run"), ("export", "--out", "-")], ids=" ".join
)
def test_a_log_of_a_later_version_is_refused_with_2_and_left_alone(spool: Spool, arguments: tuple[str, ...]) -> None:
    stamp = MAGIC + (9).to_bytes(4, "little") + (9 ^ 0xFFFF_FFFF).to_bytes(4, "little")
    spool.files()[-1].write_bytes(stamp + bytes(8000))
    before = contents(spool.log)
    command, *options = arguments
    done = run(command, root(spool), *options)
    assert done.exit_code == 2 and "version 9" in done.output
    assert contents(spool.log) == before


def test_export_writes_a_line_per_batch_with_the_text_that_would_have_landed(spool: Spool, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = run("export", root(spool), "--out", out)
    assert done.exit_code == 0 and "30 batches, 1,200 rows" in done.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, BATCHES + 1))
    assert {line["source"] for line in lines} == {"log"} and {line["period"] for line in lines} == {"2020-03-12T00Z"}
    assert {line["header"].split(",")[0] for line in lines} == {"n"} and "payload" not in lines[0]
    assert [number for line in lines for number in numbers_of(line["csv"])] == all_numbers()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["rows.jsonl"]


def test_export_to_a_full_disk_blames_that_disk(spool: Spool) -> None:
    done = run("export", root(spool), "--out", "/dev/full")
    assert done.exit_code == 2
    assert (
        done.stderr == "collectord: --out /dev/full: No space left on device; make room there, or name another place\n"
    )


def test_export_with_raw_has_what_was_sent(spool: Spool) -> None:
    done = run("export", root(spool), "--out", "-", "--raw")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [base64.b64decode(line["payload"]) for line in lines] == [entry(n).payload for n in range(1, BATCHES + 1)]
    assert {base64.b64decode(line["schema"]) for line in lines} == {wire.schema("m")}


def test_export_as_csv_is_rows_under_one_header(spool: Spool, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    assert run("export", root(spool), "--out", out, "--format", "csv").exit_code == 0
    header, _, rest = out.read_text().partition("\n")
    assert header.startswith("n,$aml_dc_correlation_id,")
    assert numbers_of(rest) == all_numbers()


def test_export_as_csv_refuses_a_second_header_and_takes_a_stream(tmp_path: Path) -> None:
    made = Spool(tmp_path / "spool")
    assert made.commit(entry(1)) is None and made.commit(entry(2, "other", ("a", "b"))) is None
    made.writer.close()
    out = tmp_path / "rows.csv"
    done = run("export", root(made), "--out", out, "--format", "csv")
    assert done.exit_code == 2 and "--stream" in done.output
    assert not list(tmp_path.glob("rows.csv*")), "half a file is left behind"
    done = run(
        "export", root(made), "--out", out, "--format", "csv", "--stream", "default/default/default/default/other"
    )
    assert done.exit_code == 0, done.output
    assert out.read_text().startswith("a,b,$aml") and len(out.read_text().splitlines()) == ROWS + 1


def test_export_reads_what_quarantine_holds_and_a_single_file(spool: Spool) -> None:
    """A whole segment that was set aside because a daemon found it under an impossible name without its header."""
    path = spool.files()[1]
    base = int(path.stem)
    flip(path, 20)
    path.rename(spool.log / "lost.seg")
    aside = spool.recover().set_aside[0].path
    lines = [json.loads(line) for line in run("export", root(spool), "--out", "-").stdout.splitlines()]
    assert sorted(line["sequence"] for line in lines) == list(range(1, BATCHES + 1))
    inside = [line for line in lines if line["source"] == "lost.seg"]
    assert inside and all(base <= line["lsn"] < base + 16384 for line in inside)
    alone = [json.loads(line) for line in run("export", aside, "--out", "-").stdout.splitlines()]
    assert alone == inside


def test_export_keeps_what_cannot_be_made_text(tmp_path: Path) -> None:
    made = Spool(tmp_path / "spool")
    forged = Entry(EntryKind.BATCH, CLIENT, 2, 3, b"no batch at all", entry(1).schema, entry(1).partition)
    assert made.commit(entry(1), forged) is None
    made.writer.close()
    done = run("export", root(made), "--out", "-")
    assert done.exit_code == 0 and "1 could not be made text" in done.stderr
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert "payload" not in good and base64.b64decode(bad["payload"]) == b"no batch at all"


def test_repair_puts_back_from_a_copy_and_says_so(spool: Spool) -> None:
    whole = contents(spool.log)
    copy = spool.log / "copy-from-a-backup.seg"
    shutil.copy(spool.files()[1], copy)
    damage(spool)
    before = contents(spool.log)
    dry = run("repair", root(spool), "--dry-run")
    assert dry.exit_code == 1 and "put back from copy-from-a-backup.seg, 40 rows" in dry.output
    assert contents(spool.log) == before and not spool.quarantine.exists()
    done = run("repair", root(spool))
    assert done.exit_code == 0, done.output
    assert "put back from copy-from-a-backup.seg, 40 rows" in done.output
    assert "duplicate, set aside" in done.output and "what was changed is kept in " in done.output
    assert contents(spool.log) == whole
    assert run("verify", root(spool)).exit_code == 0
    again = run("repair", root(spool))
    assert again.exit_code == 0 and again.output == "nothing to mend\n"


def test_repair_without_a_copy_does_what_a_start_does_and_exits_with_1(spool: Spool) -> None:
    damage(spool)
    done = json.loads(run("repair", root(spool), "--json").output)
    assert [(one["reason"], one["rows"]) for one in done["damages"]] == [("payload", 40)]
    assert Path(done["damages"][0]["copy"]).exists() and done["changes"] == [] and done["backup"] is None


def test_repair_refuses_while_a_daemon_runs(spool: Spool) -> None:
    damage(spool)
    lock = files.try_lock(root(spool) / "lock")
    assert lock is not None
    before = contents(root(spool))
    done = run("repair", root(spool))
    assert done.exit_code == 2 and "stop it first" in done.output
    assert contents(root(spool)) == before


def test_the_oldest_segment_is_missed_until_the_ledger_says_that_it_may_go(spool: Spool) -> None:
    first, second = spool.files()[:2]
    ledger = Ledger(root(spool))
    first.unlink()
    done = run("verify", root(spool))
    assert done.exit_code == 1 and "  missing segment: 0 to " in done.output and "the log is damaged" in done.output
    ledger.checkpoint(Lsn(int(second.stem)), ())
    done = run("verify", root(spool))
    assert done.exit_code == 0, done.output
    ledger.close()


def test_a_ledger_that_was_begun_anew_misses_nothing(spool: Spool) -> None:
    ledger = Ledger(root(spool), SPOOL_ID)
    spool.files()[0].unlink()
    for arguments in (("verify", root(spool)), ("repair", root(spool), "--dry-run")):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
    ledger.close()


def test_a_dry_run_leaves_the_ledger_of_a_killed_daemon_alone(spool: Spool, tmp_path: Path) -> None:
    """Opening it as one's own would fold SQLite's log into it, and add what a later version has."""
    damage(spool)
    ledger = Ledger(root(spool), SPOOL_ID)
    killed = tmp_path / "killed"
    shutil.copytree(root(spool), killed)
    ledger.close()

    def kept() -> dict[Path, bytes]:
        # -shm is memory that processes share.
        return {path: raw for path, raw in contents(killed).items() if not path.name.endswith("-shm")}

    (killed / "lock").touch()
    before = kept()
    assert len([path for path in before if path.name == "ledger.sqlite-wal"]) == 1
    assert run("repair", killed, "--dry-run").exit_code == 1
    assert kept() == before


def test_repair_goes_on_where_the_ledger_is_damaged_too(spool: Spool) -> None:
    whole = contents(spool.log)
    shutil.copy(spool.files()[1], spool.log / "copy-from-a-backup.seg")
    damage(spool)
    ledger = root(spool) / "ledger.sqlite"
    ledger.write_bytes(b"no database " * 1000)
    assert "40 rows" in run("repair", root(spool), "--dry-run").output
    done = run("repair", root(spool))
    assert done.exit_code == 0, done.output
    assert "put back from copy-from-a-backup.seg, 40 rows" in done.output
    assert "cannot be read as a ledger" in done.stderr and "the next start sets it aside" in done.stderr
    assert contents(spool.log) == whole and ledger.read_bytes() == b"no database " * 1000


@pytest.mark.parametrize("command", ["ls", "verify", "export", "repair"])
def test_help_has_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0 and done.output.count("collectord wal " + command) >= 1
    assert "collectord wal " + command in run("--help").output


def park(spool: Spool, *bases: int) -> list[ParkedFile]:
    """Parked files of three batches each, noted in a ledger, as a daemon leaves them."""
    ledger = Ledger(root(spool), SPOOL_ID)
    parked = ParkedLog(root(spool) / "parked", SPOOL_ID)
    made = []
    for base in bases:
        entries = []
        for number in range(3):
            one = entry(number + 1)
            assert one.partition is not None
            place = Place(Lsn(base + 4096 * number), len(one.payload))
            stored = Stored(
                place.lsn, Lsn(place.lsn + 1), one.kind, one.client, one.sequence, one.rows, one.partition.schema_id,
                one.partition.start_hour, 1440, place.length,
            )  # fmt: skip
            entries.append(Copied(place, one.partition, one.rows, Raw(stored, bytes(one.payload), good=True)))
        raw, key = entry(1).schema.raw, entry(1).schema.stream.key()  # type: ignore[union-attr]
        size = sum(parked_bytes(one.place) for one in entries)
        made.append(parked.write(Lsn(base), Lsn(base + 65536), {entry(1).schema.id: (raw, key)}, entries, size))  # type: ignore[union-attr]
    ledger.note_parked(file.base for file in made)
    ledger.close()
    return made


def test_parked_files_are_listed_and_verified_with_the_log(spool: Spool) -> None:
    first, _ = park(spool, 0, 65536)
    before = contents(root(spool))
    done = run("verify", root(spool))
    assert done.exit_code == 0, done.output
    assert "what is parked is whole: 2 files, 240 rows can be read" in done.output
    assert f"{first.path.name}         4 entries        3 batches        120 rows  whole" in done.output
    listed = json.loads(run("ls", "--spool", root(spool), "--json").output)
    assert [(one["file"], one["rows"], one["damages"]) for one in listed[-2:]] == [
        (f"{base:020d}.parked", 120, 0) for base in (0, 65536)
    ]
    assert run("ls", "--spool", root(spool)).output.count("  parked") == 2
    assert contents(root(spool)) == before


def test_damage_in_a_parked_file_is_named_with_what_survives_and_left_by_repair(spool: Spool) -> None:
    """Its file, its range, its rows; the daemon's next start does what there is to do."""
    (file,) = park(spool, 0)
    flip(file.path, file.offsets[1] + 96 + 20)
    done = run("verify", root(spool))
    assert done.exit_code == 1
    assert "the log is whole" in done.output and "what is parked is damaged" in done.output
    assert f"{file.path.name}         3 entries        2 batches         80 rows  damaged" in done.output
    assert "  payload: 4096 to " in done.output and "40 rows" in done.output
    found = json.loads(run("verify", root(spool), "--json").output)
    (one,) = found["parked"]
    assert found["clean"] is False and [(d["reason"], d["from"], d["rows"]) for d in one["damages"]] == [
        ("payload", 4096, 40)
    ]
    assert json.loads(run("ls", "--spool", root(spool), "--json").output)[-1]["damages"] == 1
    before = contents(root(spool) / "parked")
    for options in ((), ("--dry-run",)):
        mended = run("repair", root(spool), *options)
        assert mended.exit_code == 1 and "  payload: 4096 to " in mended.output
    assert contents(root(spool) / "parked") == before
    assert json.loads(run("repair", root(spool), "--json").output)["parked"][0]["file"] == file.path.name


def test_a_parked_file_that_was_taken_away_is_missed(spool: Spool) -> None:
    first, second = park(spool, 0, 65536)
    first.path.unlink()
    for command, *where in (("verify", root(spool)), ("ls", "--spool", root(spool)), ("repair", root(spool))):
        done = run(command, *where)  # type: ignore[arg-type]
        assert f"{first.path.name}  is gone" in done.output and second.path.name not in str(done.exception)
        assert done.exit_code == (0 if command == "ls" else 1)
    assert json.loads(run("verify", root(spool), "--json").output)["missing"] == [first.path.name]


def test_a_spool_of_somebody_else_is_not_called_damaged(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 would say that something was found in it."""

    def refused(*_: object, **__: object) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root(spool) / "log"))

    monkeypatch.setattr(Path, "is_dir", refused)
    for command in ("ls", "verify"):
        result = run(command, "--spool", root(spool))
        assert result.exit_code == 2
        assert result.stderr == f"collectord: {root(spool) / 'log'}: Permission denied; run as the owner of the spool\n"


def test_an_export_that_nobody_reads_to_its_end_is_no_fault_of_the_spool(spool: Spool) -> None:
    """As `collectord wal export SPOOL --out - | head` does; and a full disk is told as one."""

    def export(out: IO[bytes] | int) -> tuple[int, str]:
        command = [sys.executable, "-m", "collectord", "wal", "export", str(root(spool)), "--out", "-"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stderr

    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert export(writing) == (0, "")
    finally:
        os.close(writing)
    with open("/dev/full", "wb") as full:
        assert export(full) == (
            2,
            "collectord: --out -: No space left on device; make room there, or name another place\n",
        )
