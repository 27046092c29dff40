"""`print` prints as ever, and each one to stdout is one trace."""

from __future__ import annotations

import builtins
import io
import json
import logging
import sys
import threading
from typing import Any

import pytest
from collectord_client import Client, Request
from collectord_client.telemetry import prints

from tests.client.fakedaemon import FakeDaemon
from tests.client.telemetry.events import own, told


def contents(client: Client, daemon: FakeDaemon) -> list[Any]:
    """What was printed, as the traces have it."""
    events = told(client, daemon, "traces")
    assert {event["message"] for event in events} <= {"STDOUT"}
    return [own(event)["Contents"] for event in events]


def test_what_is_printed_is_printed_and_told(
    client: Client, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    client.capture_prints()
    print("model initialized")
    print("a", 1, None, sep="-", end="!\n")
    print("no end", end="")
    print()
    print(json.dumps({"input": "raw", "output": [1.5, 2]}))
    print(*["x", "y"], sep=None, end=None, file=None, flush=True)
    print("elsewhere", file=sys.stderr)
    text = io.StringIO()
    print("elsewhere", file=text)
    assert (
        capsys.readouterr().out == 'model initialized\na-1-None!\nno end\n{"input": "raw", "output": [1.5, 2]}\nx y\n'
    )
    assert text.getvalue() == "elsewhere\n"
    assert contents(client, daemon) == [
        "model initialized", "a-1-None", "no end", "", {"input": "raw", "output": [1.5, 2]}, "x y",
    ]  # fmt: skip


def test_as_the_message(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORD_PRINTS", "message")
    client.capture_prints()
    print('{"a": 1}')
    [event] = told(client, daemon, "traces")
    assert (event["message"], own(event)) == ('{"a": 1}', {})


def test_in_a_request_it_belongs_to_it(client: Client, daemon: FakeDaemon) -> None:
    client.capture_prints()
    with Request("gateway-7"):
        print("x")
    [event] = told(client, daemon, "traces")
    assert own(event) == {"Contents": "x", "Request Id": "gateway-7"}
    assert len(event["operation_Id"]) == 32


def test_a_print_that_fails_fails_as_ever(
    client: Client, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bad:
        def __str__(self) -> str:
            raise KeyError("no text")

    client.capture_prints()
    with pytest.raises(KeyError, match="no text"):
        print("before", Bad())
    with pytest.raises(TypeError, match="sep must be None or a string"):
        print("a", "b", sep=7)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="sep must be None or a string"):
        print("a", sep=7)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        print("a", ende="x")  # type: ignore[call-overload]
    assert capsys.readouterr().out == "before "
    assert contents(client, daemon) == []


def test_stdout_that_is_not_there(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    client.capture_prints()
    monkeypatch.setattr(sys, "stdout", None)
    print("nowhere")
    monkeypatch.undo()
    assert contents(client, daemon) == []


def test_a_print_within_a_print(client: Client, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """In the text of an object, and in a stdout that prints itself."""

    class Chatty:
        def __str__(self) -> str:
            print("inner")
            return "outer"

    client.capture_prints()
    print(Chatty())
    assert capsys.readouterr().out == "inner\nouter\n"
    assert contents(client, daemon) == ["inner", "outer"]


def test_a_log_within_a_print_and_the_inference_servers_own_hook(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azureml-inference-server-http puts a function that logs in the place of `print`, before or after us: one trace each."""
    server = logging.getLogger(prints.SERVER)
    monkeypatch.setattr(server, "level", logging.INFO)
    monkeypatch.setattr(server, "propagate", False)

    def print_to_logger(*objects: Any, **_: Any) -> None:
        server.info(" ".join(map(str, objects)))

    original = builtins.print
    monkeypatch.setattr(builtins, "print", print_to_logger)
    client.capture_prints()
    client.capture_logging()
    print("its hook was first")
    hooked = builtins.print
    monkeypatch.setattr(builtins, "print", print_to_logger)
    print("its hook came later", "%s")
    builtins.print = hooked
    client.close(5)
    monkeypatch.setattr(builtins, "print", original)
    assert contents(client, daemon) == ["its hook was first", "its hook came later %s"]


def test_the_inference_servers_record_that_has_no_text(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pytest hears of logging would raise by itself.
    monkeypatch.setattr(logging.getLogger(prints.SERVER), "propagate", False)
    client.capture_prints()
    logging.getLogger(prints.SERVER).warning("%d", "no number")
    [event] = told(client, daemon, "traces")
    assert own(event) == {"Contents": "%d"}


def test_one_client_of_each_service_is_told(make: Any, daemon: FakeDaemon) -> None:
    first, again, other = (make(webservice=name, telemetry=True) for name in ("a", "a", "b"))
    for client in (first, again, other):
        client.capture_prints()
    print("once for each")
    for client in (first, again, other):
        assert client.flush(10)
    assert [client.stats()["events"] for client in (first, again, other)] == [0, 1, 1]


def test_afterwards_print_is_what_it_was(make: Any) -> None:
    original = builtins.print
    client = make(telemetry=True)
    client.capture_prints()
    client.capture_prints()
    assert builtins.print is not original
    client.close()
    assert builtins.print is original


def test_an_object_that_prints_when_it_is_collected_under_our_locks(client: Client, daemon: FakeDaemon) -> None:
    """Garbage may be collected anywhere, also in the middle of the outbox."""

    class Dying:
        def __del__(self) -> None:
            print("gone")

    client.capture_prints()
    done: list[bool] = []

    def inside() -> None:
        with client._outbox.lock:
            Dying()
        with client._feed._lock:
            Dying()
        with client._feed._writing:
            Dying()
        done.append(True)

    thread = threading.Thread(target=inside, daemon=True)
    thread.start()
    thread.join(20)
    assert done, "it waits for itself"
    assert contents(client, daemon) == ["gone"] * 3
