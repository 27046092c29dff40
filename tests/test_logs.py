"""The daemon's own log."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Literal

import pytest

from collectord import logs
from collectord.errors import CallHuman
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
        raise CallHuman("broken")
    except CallHuman:
        LOGGER.exception("it failed")
    said = json.loads(capsys.readouterr().err)["exception"]
    assert said.startswith("Traceback")
    assert said.endswith("CallHuman: broken")


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


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_others_errors_and_libraries_say_is_left_out_for_it_may_be_a_value(
    form: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in what an error was raised from or while handling; where it happened is told."""

    value = "canary"

    def fail() -> None:
        try:
            int(value)
        except ValueError as error:
            raise CallHuman("our own words") from error

    configure(form, "debug")
    try:
        fail()
    except CallHuman:
        LOGGER.exception("it failed")
        logging.getLogger("asyncio").error("Exception in callback f(b'canary 2')\nhandle: canary 3", exc_info=True)
    empty: dict[str, str] = {}
    try:
        empty[value]
    except KeyError:
        logging.getLogger("library").warning("cannot take %s", "canary 5", exc_info=True)
    said = capsys.readouterr().err
    assert "canary" not in said
    for kept in (
        "it failed",
        "CallHuman: our own words",
        "ValueError",
        "in fail",
        "Exception in callback f",
        "KeyError",
        "cannot take",
    ):
        assert kept in said, kept


def test_what_nobody_has_caught_is_logged_the_same_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    logs.catch_strays()

    def fail() -> None:
        raise ValueError("canary")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    error = ValueError("canary")
    sys.excepthook(ValueError, error, None)
    sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert len(caplog.records) == 3
    assert "canary" not in "".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED])
def test_a_listener_without_descriptors_says_what_to_do_and_shows_no_traceback(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And whatever else goes wrong in the event loop is logged as ever."""
    configure("console", "info")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        logs.catch_strays_of(loop)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        told = asyncio.Event()

        def refuse(_: object) -> None:
            # What the loop makes of it, it does before anything else.
            loop.call_soon(told.set)
            raise OSError(number, "of the test")

        with monkeypatch.context() as patched, socket.socket() as door:
            patched.setattr(socket.socket, "accept", refuse)
            door.setblocking(False)
            await loop.sock_connect(door, ("127.0.0.1", port))
            await asyncio.wait_for(told.wait(), 20)
        loop.call_exception_handler({"message": "another thing", "exception": ValueError("canary")})
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())
    said = capsys.readouterr().err
    assert said.count("no connection can be accepted") == (number == errno.EMFILE)
    assert ("LimitNOFILE" in said) is (number == errno.EMFILE)
    assert said.count("Traceback") == 1 and "another thing" in said and "canary" not in said
