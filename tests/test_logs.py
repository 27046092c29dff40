"""The daemon's own log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from collectord import logs
from collectord.logs import configure, event
from collectord.model import Reason

LOGGER = logging.getLogger("collectord.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours, azure = (logging.getLogger(name) for name in ("", "collectord", "azure"))
    before = (root.handlers[:], root.level, ours.level, azure.level)
    yield
    root.handlers[:] = before[0]
    for logger, level in zip((root, ours, azure), before[1:], strict=True):
        logger.setLevel(level)


def test_a_line_is_a_json_object_with_the_named_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    event(LOGGER, logging.WARNING, "a thing happened", rows=3, reason=Reason.NO_ROWS, who="ä\n", data=b"x")
    event(LOGGER, logging.DEBUG, "not at this level")
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "warning", "logger": "collectord.test", "event": "a thing happened", "rows": 3, "reason": "no_rows",
        "who": "ä\n", "data": "b'x'",
    }  # fmt: skip


def test_an_exception_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    try:
        raise ValueError("broken")
    except ValueError:
        LOGGER.exception("it failed")
    assert "ValueError: broken" in json.loads(capsys.readouterr().err)["exception"]


def test_what_a_client_calls_itself_cannot_look_like_a_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "info")
    event(LOGGER, logging.WARNING, "stream ended", sdk="x\n12:00:00 error   all is lost\x1b[2J", rows=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "stream ended sdk='x\\n12:00:00 error   all is lost\\x1b[2J' rows=1" in line


def test_repeats_are_held_back_and_counted_but_errors_never() -> None:
    now = 0.0
    limit = logs._Limit(10.0, lambda: now)

    def passes(level: int, text: str = "again") -> logging.LogRecord | None:
        record = logging.LogRecord("n", level, "f", 1, text, None, None)
        return record if limit.filter(record) else None

    assert passes(logging.WARNING)
    assert passes(logging.WARNING, "another")
    now = 9.9
    assert not passes(logging.WARNING)
    assert not passes(logging.WARNING)
    assert passes(logging.ERROR)
    assert passes(logging.ERROR)
    now = 10.0
    record = passes(logging.WARNING)
    assert record is not None
    assert record.__dict__["fields"] == {"held_back": 2}


def test_the_memory_of_what_was_said_is_bounded() -> None:
    limit = logs._Limit(10.0, lambda: 0.0)
    for at in range(3000):
        limit.filter(logging.LogRecord("n", logging.WARNING, "f", 1, f"text {at}", None, None))
    assert len(limit._last) <= 1001
