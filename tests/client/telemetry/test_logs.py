"""Records of logging are traces and exceptions, whoever else handles them, and ours are none."""

from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from collectord_client import Client
from collectord_client.notices import log as notices

from tests.client.fakedaemon import FakeDaemon
from tests.client.telemetry.events import own, told


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One that hands nothing on."""
    found = logging.getLogger("tests.events")
    found.setLevel(logging.DEBUG)
    found.propagate = False
    yield found
    found.handlers.clear()
    found.propagate = True


def test_records_become_traces(client: Client, daemon: FakeDaemon, logger: logging.Logger) -> None:
    client.capture_logging("INFO")
    logger.debug("too low")
    logger.info("rows: %d", 7, extra={"custom_dimensions": {"rows": 7}})
    logger.critical("gone")
    events = told(client, daemon, "traces")
    assert [(event["message"], event["severityLevel"]) for event in events] == [("rows: 7", 1), ("gone", 4)]
    assert own(events[0]) == {"Logger": "tests.events", "rows": 7}


def test_one_with_an_exception_is_an_exception(client: Client, daemon: FakeDaemon, logger: logging.Logger) -> None:
    client.capture_logging()
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("while %s", "scoring")
    [event] = told(client, daemon, "exceptions")
    assert (event["type"], event["message"], own(event)) == (
        "ValueError", "odd", {"Logger": "tests.events", "Message": "while scoring"},
    )  # fmt: skip
    assert told(client, daemon, "traces") == []


@pytest.mark.parametrize("errors", ["types", "off"])
def test_without_texts_where_these_are_not_wanted(
    make: Any, daemon: FakeDaemon, logger: logging.Logger, errors: str
) -> None:
    client = make(telemetry=True, errors=errors)
    client.capture_logging()
    try:
        raise ValueError("secret")
    except ValueError as error:
        logger.exception("for %s", error)
    [event] = told(client, daemon, "exceptions")
    assert (event["type"], own(event)) == ("ValueError", {"Logger": "tests.events"})
    assert "message" not in event


def test_an_exception_on_its_way_up_is_told_once(client: Client, daemon: FakeDaemon, logger: logging.Logger) -> None:
    client.capture_logging()
    with pytest.raises(ValueError, match="odd"), client.request("r"):
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("here")
            logger.exception("and here")
            raise
    assert len(told(client, daemon, "exceptions")) == 1
    assert [event["message"] for event in told(client, daemon, "traces")] == ["and here"]


def test_what_a_script_raised_is_told_once_where_the_inference_server_logs_it_for_application_insights(
    client: Client, daemon: FakeDaemon
) -> None:
    """With `AML_APP_INSIGHTS_KEY` it logs its own wrapper around the error, and the request ends by the wrapper as well. An error
    whose attributes fail stays what it is."""

    class UserScriptException(Exception):
        def __init__(self, error: Exception) -> None:
            super().__init__("Caught an unhandled exception from the user script")
            self.user_ex = error

    class Worse(Exception):
        @property
        def user_ex(self) -> None:
            raise RuntimeError

    client.capture_logging()
    server = logging.getLogger("azmlinfsrv.trace")
    for error in (UserScriptException(ValueError("odd")), Worse("bad")):
        with pytest.raises(type(error)), client.request("r"):
            try:
                raise error
            except Exception:
                server.exception("its own record")
                raise
    found = [(event["type"].rpartition(".")[2], event["message"]) for event in told(client, daemon, "exceptions")]
    assert found == [("ValueError", "odd"), ("Worse", "bad")]
    assert client.stats()["dropped"] == {}


def test_ours_and_the_talk_of_servers_is_left_out(client: Client, daemon: FakeDaemon, monkeypatch: Any) -> None:
    client.capture_logging("DEBUG")
    for name in ("collectord_client", "collectord", "collectord.daemon", "gunicorn.access", "azmlinfsrv"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
        logging.getLogger(name).info("talk")
    logging.getLogger("gunicorn.error").warning("a worker is gone")
    logging.getLogger("collectord_clients").warning("another's")
    notices.error("ours")
    assert [event["message"] for event in told(client, daemon, "traces")] == ["a worker is gone", "another's"]


def test_whatever_becomes_of_handlers(client: Client, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """basicConfig still configures, dictConfig takes nothing away, other handlers see every record."""
    client.capture_logging()
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        text = io.StringIO()
        logging.basicConfig(stream=text, format="%(message)s")
        logging.warning("first")
        logging.config.dictConfig({"version": 1, "root": {"handlers": []}, "disable_existing_loggers": False})
        logging.warning("second")
        assert text.getvalue() == "first\n"
    finally:
        root.handlers = before
    assert [event["message"] for event in told(client, daemon, "traces")] == ["first", "second"]


def test_a_record_is_told_once_whoever_wraps_logging_too(make: Any, daemon: FakeDaemon, logger: logging.Logger) -> None:
    """Error trackers put their function in the same place; asking again, also by another client after a close, then puts ours
    around theirs."""

    class Nested(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "two":
                logger.info("within")

    logger.addHandler(Nested())
    before = logging.Logger.callHandlers
    first, second = make(telemetry=True), make(telemetry=True)
    try:
        first.capture_logging()
        ours = logging.Logger.callHandlers
        logging.Logger.callHandlers = lambda self, record: ours(self, record)  # type: ignore[method-assign]
        first.capture_logging()
        logger.info("one")
        assert [event["message"] for event in told(first, daemon, "traces")] == ["one"]
        first.close()
        second.capture_logging()
        logger.info("two")
        assert [event["message"] for event in told(second, daemon, "traces")] == ["one", "two", "within"]
    finally:
        logging.Logger.callHandlers = before  # type: ignore[method-assign]


def test_records_that_do_not_fit_and_that_log_themselves(
    client: Client, daemon: FakeDaemon, logger: logging.Logger
) -> None:
    class Chatty:
        def __str__(self) -> str:
            logger.info("from within")
            return "chatty"

    class Mute:
        def __str__(self) -> str:
            raise KeyError("secret")

    client.capture_logging()
    # pytest's own handler raises where others print what does not fit.
    logger.handlers = []
    logger.info("%d and %d", 1)
    logger.info("%s", Chatty())
    logger.info(Mute())
    assert [event["message"] for event in told(client, daemon, "traces")] == [
        "%d and %d", "chatty", "(its text failed with KeyError)",
    ]  # fmt: skip


def test_a_handler_for_one_logger(client: Client, daemon: FakeDaemon, logger: logging.Logger) -> None:
    logger.addHandler(client.logging_handler("WARNING"))
    logger.info("too low")
    logger.warning("told")
    logging.getLogger("tests.other").warning("not given to it")
    assert [event["message"] for event in told(client, daemon, "traces")] == ["told"]


def test_a_level_that_is_none(client: Client) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        client.capture_logging("LOUD")


class Hostile(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError("secret")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("secret")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("given", [(), (None, None, None)])
def test_what_is_given_as_raised_may_be_anything(
    client: Client, daemon: FakeDaemon, logger: logging.Logger, given: Any
) -> None:
    client.capture_logging()
    logger.error("odd", exc_info=given)
    assert [event["message"] for event in told(client, daemon, "traces")] == ["odd"]


def test_dimensions_that_cannot_be_read(client: Client, daemon: FakeDaemon, logger: logging.Logger) -> None:
    client.capture_logging()
    logger.error("told all the same", extra={"custom_dimensions": Hostile()})
    [event] = told(client, daemon, "traces")
    assert own(event) == {"Logger": "tests.events", "custom_dimensions": "(failed with RuntimeError)"}
