"""A request that failed is stored with its error, joinable to its inputs: on demand, and by itself where the host is known."""

from __future__ import annotations

import asyncio
import logging
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import numpy as np
import pytest
from collectord_client import Client, Context, Request
from collectord_client import request as module
from collectord_client.azureml import ModelDataCollector
from collectord_client.azureml import collector as scripts
from collectord_client.azureml.clients import Clients
from collectord_client.middleware import ASGIMiddleware, WSGIMiddleware

from tests.client.fakedaemon import FakeDaemon, Row


class ModelError(Exception):
    """As a library raises one."""


def rows(client: Client, daemon: FakeDaemon, designation: str = "errors") -> list[Row]:
    assert client.flush(10)
    return [row for row in daemon.rows if row.designation == designation]


def ids(some: Iterable[Row]) -> list[tuple[str, int, int, str | None]]:
    return [(row.correlation, row.row, row.time_ns, row.request) for row in some]


# ------------------------------------------------------------------ on demand


def test_rows_that_join_to_the_inputs(client: Client, daemon: FakeDaemon) -> None:
    context = client.collect(np.ones((3, 2)), request_id="r-7")
    try:
        raise ModelError("it broke")
    except ModelError as error:
        made = client.failed(error, context)
    assert (made.correlation, made.rows) == (context.correlation, 3)
    errors = rows(client, daemon)
    assert ids(errors) == ids(rows(client, daemon, "inputs"))
    assert {row.names for row in errors} == {("error_type", "error_message")}
    assert {row.values for row in errors} == {("tests.client.test_failed.ModelError", "it broke")}
    assert client.stats()["notes"] == {}


def test_without_a_context_it_is_the_last_inputs(client: Client, daemon: FakeDaemon) -> None:
    """Once: a prediction that comes later on this thread has not got them."""
    inputs = client.collect([[1.0]])
    assert client.failed(ValueError("bad")).correlation == inputs.correlation
    assert client.collect([[1.0]], "predictions").correlation != inputs.correlation
    assert [row.values for row in rows(client, daemon)] == [("ValueError", "bad")]
    assert client.stats()["notes"] == {"uncorrelated": 1}


def test_inputs_that_were_predicted_are_another_requests_unless_it_is_known(client: Client) -> None:
    inputs = client.collect([[1.0]])
    client.collect([[1.0]], "predictions")
    assert client.failed("broken").correlation != inputs.correlation
    assert client.stats()["notes"] == {"uncorrelated": 1}
    with Request():
        inputs = client.collect([[1.0]])
        client.collect([[1.0]], "predictions")
        assert client.failed("broken").correlation == inputs.correlation


def test_inputs_with_an_id_each_and_inputs_that_were_refused(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    context = client.collect([[1], [2]], correlation_id=["a", "b"])
    client.failed("broken", context)
    refused = client.collect(b"raw")
    client.failed("broken", refused)
    assert [(row.correlation, row.row) for row in rows(client, daemon)] == [
        ("a", 0),
        ("b", 1),
        (str(refused.correlation), 0),
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad"), ("ValueError", "bad")),
        (KeyError(), ("KeyError", "")),
        (KeyboardInterrupt(), ("KeyboardInterrupt", "")),
        ("timeout: after 5 s", ("timeout", "after 5 s")),
        ("no model", ("no model", None)),
        (ValueError("half \ud800"), ("ValueError", "half ?")),
        (ValueError("x" * 5000), ("ValueError", "x" * 1000)),
        (ModelError("a,\"b\"\nc"), ("tests.client.test_failed.ModelError", "a,\"b\"\nc")),
    ],
    ids=lambda one: repr(one)[:30],
)  # fmt: skip
def test_what_an_error_is_called(client: Client, daemon: FakeDaemon, error: Any, expected: Any) -> None:
    client.failed(error, client.collect([[1.0]]))
    assert [row.values for row in rows(client, daemon)] == [expected]


def test_messages_are_bounded_together(client: Client, daemon: FakeDaemon) -> None:
    client.failed(ValueError("x" * 5000), client.collect(np.ones((2000, 1))))
    errors = rows(client, daemon)
    assert len(errors) == 2000
    assert {len(row.values[1]) for row in errors} == {100}


def test_an_error_that_cannot_be_told(make: Any, daemon: FakeDaemon) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("secret")

    class Worse(Exception):
        @property
        def user_ex(self) -> None:
            raise RuntimeError("secret")

    client = make()
    inputs = client.collect([[1.0]])
    assert client.failed(Broken(), inputs).correlation == inputs.correlation
    assert client.failed(Worse(), inputs).correlation == inputs.correlation
    assert [row.values[1] for row in rows(client, daemon)] == ["(its text failed with RuntimeError)", ""]
    assert client.stats()["dropped"] == {}


def test_messages_may_be_left_out_or_all_of_it(make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may quote the payload."""
    client = make(strict=True, errors="types")
    client.failed(ValueError("secret"), client.collect([[1.0]]))
    client.failed("known: secret", client.collect([[1.0]]))
    assert [row.values for row in rows(client, daemon)] == [("ValueError", None), ("known", None)]
    client = make(strict=True, columns={"error_message": "drop"})
    client.failed(ValueError("secret"), client.collect([[1.0]]))
    assert rows(client, daemon)[-1].names == ("error_type",)
    monkeypatch.setenv("COLLECTORD_ERRORS", "Off")
    client = make(strict=True)
    with Request():
        context = client.collect([[1.0]])
        assert client.failed(ValueError("secret")) is context
    assert client.failed(ValueError("secret")).rows == 0
    with pytest.raises(RuntimeError), Request():
        client.collect([[1.0]])
        raise RuntimeError
    assert len(rows(client, daemon)) == 3


def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match='errors is "full"'):
        Client(model="m", errors="some")
    monkeypatch.setenv("COLLECTORD_ERRORS", "no")
    with pytest.raises(ValueError, match="COLLECTORD_ERRORS is"):
        Client(model="m")


def test_sampling_holds_for_errors(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, sampling=0.5)
    for _ in range(60):
        client.failed("broken", client.collect(np.ones((2, 2))))
    assert ids(rows(client, daemon)) == ids(rows(client, daemon, "inputs"))
    assert 10 < len(rows(client, daemon)) < 110


# ------------------------------------------------------------------ by itself


def test_a_request_that_ends_with_an_error(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(ModelError), Request("r-7"):
        context = client.collect(np.ones((2, 2)))
        raise ModelError("it broke")
    errors = rows(client, daemon)
    assert ids(errors) == ids(rows(client, daemon, "inputs"))
    assert {row.correlation for row in errors} == {str(context.correlation)}


def test_requests_that_did_not_fail(client: Client, daemon: FakeDaemon) -> None:
    """Predictions were made; nothing was collected; it was told already; it is an answer such as 404; a generator ends."""

    class NotFound(Exception):
        status_code = 404

    def end(do: Callable[[], object], error: BaseException) -> None:
        with pytest.raises(type(error)), Request():
            do()
            raise error

    end(lambda: client.collect([[1.0]], context=None) and client.collect([[1.0]], "predictions"), ValueError())
    context: Context = client.collect([[1.0]])
    end(lambda: client.collect([[1.0]], "predictions", context=context), ValueError())
    end(lambda: None, ValueError())
    for error in (NotFound(), StopIteration(), KeyboardInterrupt(), asyncio.CancelledError()):
        end(lambda: client.collect([[1.0]]), error)
    with Request():
        client.collect([[1.0]])
    assert rows(client, daemon) == []
    end(lambda: client.collect([[1.0]]) and client.failed("told"), ValueError())
    assert [row.values[0] for row in rows(client, daemon)] == ["told"]


def test_two_models_in_one_request(make: Any, daemon: FakeDaemon) -> None:
    """Only the one that made no prediction has failed; a closed client is left out."""
    one, other = make(strict=True), make(model="other", strict=True)
    make(model="other").close()
    with pytest.raises(ModelError), Request():
        one.collect([[1.0]])
        context = other.collect([[2.0]])
        one.collect([[1.0]], "predictions")
        raise ModelError
    assert [(row.correlation, row.stream.split("/")[-2]) for row in rows(other, daemon)] == [
        (str(context.correlation), "other")
    ]
    assert rows(one, daemon) == rows(other, daemon)


def test_a_client_for_a_collection_does_not_get_the_models_errors(make: Any, daemon: FakeDaemon) -> None:
    """They are filed where the model's rows are."""
    make(collection="signals of another kind")
    client = make()
    make(collection="more")
    with pytest.raises(ModelError), Request():
        client.collect([[2.0]])
        raise ModelError
    assert client.flush(10)
    assert client.stats()["collected"] == 2


def _wsgi(client: Client) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        client.collect(np.ones((2, 2)))
        path = environ["PATH_INFO"]
        if path == "/raises":
            raise ModelError("it broke")
        if path == "/answers":
            start("503 Service Unavailable", [])
            return [b""]
        if path == "/tells":
            try:
                raise ModelError("it broke")
            except ModelError:
                start("500 Internal Server Error", [], sys.exc_info())
            return [b""]
        if path == "/piecewise":
            return pieces(start)
        if path == "/piecewise-raises":
            return broken_pieces(start)
        start("200 OK" if path == "/good" else "404 Not Found", [])
        return [b""]

    def pieces(start: Callable[..., Any]) -> Iterator[bytes]:
        start("500 Oops", [])
        yield b"some"

    def broken_pieces(start: Callable[..., Any]) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"some"
        raise ModelError("later")

    return WSGIMiddleware(app)


NAME = "tests.client.test_failed.ModelError"
ENDS = [
    ("/raises", [(NAME, "it broke")] * 2), ("/answers", [("HTTP 503", "Service Unavailable")] * 2),
    ("/tells", [(NAME, "it broke")] * 2), ("/piecewise", [("HTTP 500", "Oops")] * 2),
    ("/piecewise-raises", [(NAME, "later")] * 2), ("/good", []), ("/missing", []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "expected"), ENDS)
def test_wsgi(client: Client, daemon: FakeDaemon, path: str, expected: list[Any]) -> None:
    said: list[Any] = []
    body: Iterable[bytes] = ()
    try:
        body = _wsgi(client)({"PATH_INFO": path, "HTTP_X_REQUEST_ID": "r-7"}, lambda *given: said.append(given))
        list(body)
    except ModelError:
        assert "raises" in path
    getattr(body, "close", lambda: None)()
    errors = rows(client, daemon)
    assert [row.values for row in errors] == expected
    assert [row.request for row in errors] == ["r-7"] * len(expected)
    assert not said or len(said[0]) == (3 if path == "/tells" else 2), "the server hears what the application said"


@pytest.mark.parametrize(
    ("path", "expected"),
    [ENDS[0], ("/answers", [("HTTP 503", "Service Unavailable")] * 2), ("/odd", [("HTTP 599", "")] * 2), ("/good", []),
     ("/missing", [])],
)  # fmt: skip
def test_asgi(client: Client, daemon: FakeDaemon, path: str, expected: list[Any]) -> None:
    sent: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.to_thread(client.collect, np.ones((2, 2)))
        if path == "/raises":
            raise ModelError("it broke")
        status = {"/answers": 503, "/odd": 599, "/good": 200, "/missing": 404}[path]
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def serve() -> None:
        await ASGIMiddleware(app)({"type": "http", "headers": [(b"x-request-id", b"r-7")]}, None, send)

    if path == "/raises":
        with pytest.raises(ModelError):
            asyncio.run(serve())
    else:
        asyncio.run(serve())
        assert sent == ["http.response.start", "http.response.body"]
    errors = rows(client, daemon)
    assert [(row.values, row.request) for row in errors] == [(one, "r-7") for one in expected]


@pytest.fixture
def app(client: Client) -> flask.Flask:
    """Each path collects two inputs, and ends in its own way."""
    app = flask.Flask("scoring")

    @app.errorhandler(LookupError)
    def handled(error: LookupError) -> tuple[str, int]:
        return "told to the caller", 502

    @app.route("/<what>")
    def score(what: str) -> Any:
        client.collect(np.ones((2, 2)))
        if what == "raises":
            raise ModelError("it broke")
        if what == "handled":
            raise LookupError("it broke")
        if what == "aborts":
            flask.abort(404)
        if what == "predicts":
            client.collect(np.ones(2), "predictions", ["p"])
            raise ModelError("too late")
        return "done", {"answers": 503}.get(what, 200)

    return app


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("raises", [(NAME, "it broke")] * 2), ("handled", [("HTTP 502", "BAD GATEWAY")] * 2),
        ("answers", [("HTTP 503", "SERVICE UNAVAILABLE")] * 2), ("aborts", []), ("predicts", []), ("good", []),
    ],
)  # fmt: skip
def test_flask_needs_no_middleware(
    app: flask.Flask, client: Client, daemon: FakeDaemon, what: str, expected: list[Any], wrapped: bool
) -> None:
    """With it, nothing is stored twice."""
    if wrapped:
        app.wsgi_app = WSGIMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: app.test_client().get(f"/{what}").status_code, range(3)))
    assert len(set(answers)) == 1
    errors = rows(client, daemon)
    assert [row.values for row in errors] == expected * 3
    if expected:
        assert sorted(ids(errors)) == sorted(ids(rows(client, daemon, "inputs")))


@pytest.fixture
def deployed(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Collectors of a scoring script send to `daemon`."""
    monkeypatch.setenv("COLLECTORD_ENDPOINT", daemon.endpoint)
    monkeypatch.setattr(scripts, "_clients", Clients())
    yield
    for client in scripts._clients.values():
        client.close(0.2)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """Azure ML's inference server is loaded, as far as the client looks for it."""
    monkeypatch.setitem(sys.modules, "azureml_inference_server_http", types.ModuleType("azureml_inference_server_http"))
    log = logging.getLogger("azmlinfsrv")
    module._listen(flask)
    yield log
    log.removeFilter(module._server_error)
    module._listening.pop()


def test_a_script_under_azure_mls_inference_server(deployed: None, daemon: FakeDaemon, server: logging.Logger) -> None:
    """It catches what `run` raises, logs it and answers 500: the script's own error is stored all the same."""
    collector = ModelDataCollector("failing", "inputs", feature_names=["a", "b"])
    app = flask.Flask("server")

    class UserScriptException(Exception):
        def __init__(self, error: Exception) -> None:
            super().__init__("Caught an unhandled exception from the user script")
            self.user_ex = error

    @app.route("/score")
    def score() -> Any:
        try:
            try:
                collector.collect(np.ones((2, 2)))
                raise ModelError("it broke")
            except Exception as error:
                raise UserScriptException(error) from error
        except UserScriptException:
            server.error("Encountered Exception")
            return "An unexpected error occurred in scoring script.", 500

    assert app.test_client().get("/score").status_code == 500
    assert collector.flush()
    errors = [row for row in daemon.rows if row.designation == "errors"]
    assert [row.values for row in errors] == [(NAME, "it broke")] * 2
    assert ids(errors) == ids(row for row in daemon.rows if row.designation == "inputs")
    assert server.filter(logging.LogRecord("azmlinfsrv", logging.ERROR, "", 0, "outside", None, None))


def test_a_script_that_catches_its_own_errors(deployed: None, daemon: FakeDaemon) -> None:
    """It calls `failed`, with what collecting the inputs returned or without."""
    collector = ModelDataCollector("catching", "inputs", feature_names=["a", "b"])
    said = collector.collect(np.ones((2, 2)))
    for correlations in (said, said["$aml_dc_correlation_id"], None):
        assert collector.failed(ModelError("it broke"), correlations)["$aml_dc_correlation_id"]
    assert collector.failed("broken", correlations=b"no id")
    assert collector.flush()
    errors = [row for row in daemon.rows if row.designation == "errors"]
    assert [row.correlation == said["$aml_dc_correlation_id"] for row in errors] == [True, True, True, False]
    assert collector.stats()["dropped"] == {"bad_id": 1}


def test_an_environment_that_cannot_work_breaks_no_script(
    deployed: None, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is collected, least of all what a rule was meant to hide; the collector says why."""
    for name, told in (("COLLECTORD_COLUMNS", "ssn=hide"), ("COLLECTORD_SAMPLING", "much"), ("COLLECTORD_ERRORS", "?")):
        monkeypatch.setenv(name, told)
        collector = ModelDataCollector("unusable", "inputs", feature_names=["ssn"])
        collector.collect([[1]])
        assert name in collector.stats()["unusable"]
        monkeypatch.delenv(name)
    assert collector.stats()["dropped"] == {"bad_name": 3}
    assert daemon.rows == []
