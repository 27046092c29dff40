"""The daemon's own messages: bounded, by service, and there after a restart."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectord import notes as module
from collectord.logs import event
from collectord.notes import FILE, Notes, note_failed_start, read

_log = logging.getLogger("collectord.test")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Notes]]:
    made: list[Notes] = []
    clock = iter(range(10**18, 2 * 10**18, 10**9))

    def build(file: Path | None = tmp_path / FILE, **options: object) -> Notes:
        made.append(Notes("n", file, now_ns=options.get("now_ns", lambda: next(clock))))  # type: ignore[arg-type]
        made[-1].open()
        return made[-1]

    logger = logging.getLogger("collectord")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield build
    logger.setLevel(before)
    for one in made:
        one.close()


def said(notes: Notes, service: str = "svc", after: int = 0) -> list[str]:
    return [line.message for line in notes.lines(service, after)[0]]


STREAM = "s/g/w/{}/m/1/inputs/default"


def test_a_message_belongs_to_its_service_or_to_all(make: Callable[..., Notes]) -> None:
    notes = make()
    event(_log, logging.INFO, "ready")
    event(_log, logging.WARNING, "of svc", stream=STREAM.format("svc"))
    event(_log, logging.ERROR, "of an event stream", stream="trace:" + STREAM.format("svc"))
    event(_log, logging.WARNING, "of another", stream=STREAM.format("a%2Fb"))
    event(_log, logging.INFO, "switched", webservice="svc")
    event(_log, logging.INFO, "of the unnamed", webservice="")
    event(_log, logging.DEBUG, "too fine")
    assert said(notes) == ["ready", "of svc", "of an event stream", "switched"]
    assert said(notes, "a/b") == ["ready", "of another"]
    assert said(notes, "") == said(notes, "default") == ["ready", "of the unnamed"]
    lines, number = notes.lines("svc")
    assert [line.severity for line in lines] == [1, 2, 3, 1]
    assert {line.source for line in lines} == {"collectord@n"}
    assert said(notes, after=number) == []


def test_they_are_there_after_a_restart_and_for_their_owner_only(make: Callable[..., Notes], tmp_path: Path) -> None:
    first = make()
    event(_log, logging.WARNING, "of svc", stream=STREAM.format("svc"), rows=3, what=[1])
    first.close()
    event(_log, logging.WARNING, "nobody listens")
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"service": "svc", "line"')  # as a crash leaves it
    again = make()
    (line,), _ = again.lines("svc")
    assert (line.message, line.severity, dict(line.more)) == (
        "of svc", 2, {"stream": STREAM.format("svc"), "rows": 3, "what": "[1]"}
    )  # fmt: skip
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    event(_log, logging.INFO, "ready")
    assert said(again) == ["of svc", "ready"]
    assert [note.message for note in read(tmp_path / FILE)] == ["of svc", "ready"], "the torn line has spoiled none"


def test_what_repeats_is_one_message_with_its_number(make: Callable[..., Notes], tmp_path: Path) -> None:
    now = [10**18]
    notes = make(now_ns=lambda: now[0])
    for _ in range(3):
        event(_log, logging.WARNING, "rows are rejected", stream=STREAM.format("svc"), reason="no_rows")
    event(_log, logging.WARNING, "rows are rejected", stream=STREAM.format("svc"), reason="malformed")
    event(_log, logging.WARNING, "rows are rejected", stream=STREAM.format("b"), reason="no_rows")
    lines, number = notes.lines("svc")
    assert [(line.more["reason"], line.more.get("times")) for line in lines] == [("no_rows", 3), ("malformed", None)]
    event(_log, logging.WARNING, "rows are rejected", stream=STREAM.format("svc"), reason="no_rows")
    assert [line.more["times"] for line in notes.lines("svc", number)[0]] == [4], "who follows hears of it"
    now[0] += module.FOLD_NS
    event(_log, logging.WARNING, "rows are rejected", stream=STREAM.format("svc"), reason="no_rows")
    assert [line.more.get("times") for line in notes.lines("svc")[0]] == [None, 4, None]
    assert len(read(tmp_path / FILE)) == 4


def test_memory_and_file_are_bounded(
    make: Callable[..., Notes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 20_000)
    notes = make()
    for number in range(module.KEPT + 100):
        event(_log, logging.INFO, f"message {number}", why="x" * 10_000 if number % 500 == 0 else "")
    found = said(notes)
    assert len(found) == module.KEPT
    assert found[-1] == f"message {module.KEPT + 99}"
    file = tmp_path / FILE
    assert 5_000 < file.stat().st_size <= 20_000
    assert [note.message for note in read(file)][-10:] == found[-10:]
    assert all(len(str(note.fields.get("why", ""))) <= module.FIELD_CHARACTERS for note in read(file))


def test_without_room_on_disk_they_stay_in_memory(make: Callable[..., Notes], tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    notes = make()
    event(_log, logging.INFO, "one")
    event(_log, logging.INFO, "two")
    assert said(notes) == ["one", "messages cannot be kept for the next start", "two"]


def test_an_exception_is_told_by_its_words_and_without_its_stack(make: Callable[..., Notes]) -> None:
    notes = make(None)
    try:
        raise ValueError("why")
    except ValueError:
        _log.exception("it failed")
    (line,), _ = notes.lines("svc")
    assert (line.message, dict(line.more)) == ("it failed", {"exception": "ValueError: why"})


def test_a_start_that_failed_is_left_where_there_is_a_spool(tmp_path: Path) -> None:
    note_failed_start(tmp_path, "codec: 'x' is not accepted", "n")
    note_failed_start(tmp_path / "absent", "nobody can be told", "n")
    (note,) = read(tmp_path / FILE)
    assert (note.message, note.fields, note.concerns("any")) == (
        "the start failed",
        {"why": "codec: 'x' is not accepted"},
        True,
    )
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert json.loads((tmp_path / FILE).read_bytes())
