"""Requests are told with what belongs to them, under whatever host, and rows, dependencies and traces share one id."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import flask
import numpy as np
import pytest
from collectord_client import Client, Request
from collectord_client.middleware import ASGIMiddleware, WSGIMiddleware

from tests.client.fakedaemon import FakeDaemon
from tests.client.telemetry.events import own, told

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
CALLER = {"traceparent": PARENT, "x-ms-client-request-id": "caller-1"}


def rows(daemon: FakeDaemon, designation: str = "inputs") -> list[str | None]:
    """The request ids of what was collected."""
    return [row.request for row in daemon.rows if row.designation == designation]


# ------------------------------------------------------------------ by hand


def test_a_request_told_by_a_script(client: Client, daemon: FakeDaemon) -> None:
    with client.request("score batch", url="queue://jobs", client_request_id="job-7", size=3) as request:
        client.collect([[1.0]])
        client.trace("inside")
        with client.dependency("store"):
            pass
        request.answer(202, {"rows": 3})
    [event] = told(client, daemon, "requests")
    assert (event["name"], event["url"], event["resultCode"], event["success"]) == (
        "score batch",
        "queue://jobs",
        "202",
        True,
    )
    assert event["duration"] > 0
    id = str(uuid.UUID(event["operation_Id"]))
    assert own(event) == {
        "size": 3, "Request Id": id, "Client Request Id": "job-7", "Response Value": {"rows": 3},
    }  # fmt: skip
    assert rows(daemon) == [id]
    for table in ("traces", "dependencies"):
        [inner] = told(client, daemon, table)
        assert (inner["operation_Id"], inner["operation_ParentId"]) == (event["operation_Id"], event["id"])
        assert inner["operation_Name"] == "score batch"
    assert "operation_ParentId" not in event


def test_one_that_fails(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(ValueError, match="odd"), client.request("r", traceparent=PARENT):
        client.collect([[1.0]])
        raise ValueError("odd")
    [event] = told(client, daemon, "requests")
    assert (event["resultCode"], event["success"]) == ("500", False)
    assert (event["operation_Id"], event["operation_ParentId"]) == (TRACE, SPAN)
    [error] = told(client, daemon, "exceptions")
    assert (error["operation_Id"], error["operation_ParentId"], error["type"]) == (TRACE, event["id"], "ValueError")
    [collected] = [row for row in daemon.rows if row.designation == "inputs"]
    assert own(error)["Correlation Ids"] == [collected.correlation]
    assert collected.request == str(uuid.UUID(TRACE))
    assert len([row for row in daemon.rows if row.designation == "errors"]) == 1, "its inputs are kept as ever"


def test_what_is_told_by_hand_is_not_told_again(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(ValueError, match="odd"), client.request("r"):
        error = ValueError("odd")
        client.exception(error, input=[1])
        raise error
    [event] = told(client, daemon, "exceptions")
    assert own(event)["Input"] == [1]


@pytest.mark.parametrize(
    ("code", "success", "expected"),
    [
        (200, None, True),
        (399, None, True),
        (400, None, False),
        (503, None, False),
        (404, True, True),
        ("done", None, True),
        ("404", None, False),
        ("200", None, True),
        (np.int64(500), None, False),
        (np.uint16(201), None, True),
    ],
)
def test_success_is_below_400(client: Client, daemon: FakeDaemon, code: Any, success: Any, expected: bool) -> None:
    with client.request("r") as request:
        request.answer(code, success=success)
    [event] = told(client, daemon, "requests")
    assert (event["resultCode"], event["success"]) == (str(code), expected)


def test_a_status_of_an_enum_is_its_number_and_what_has_no_text_never_raises(
    client: Client, daemon: FakeDaemon
) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

        __index__ = __repr__ = __str__

    for code in (HTTPStatus.NOT_FOUND, Odd(), "9" * 9999):
        with client.request("r") as request:
            request.answer(code)  # type: ignore[arg-type]
    first, second, _ = told(client, daemon, "requests")
    assert (first["resultCode"], first["success"]) == ("404", False)
    assert "its text failed" in second["resultCode"]


@pytest.mark.parametrize(
    ("given", "trace", "id", "operation"),
    [
        ("gateway-7", None, "gateway-7", None),
        ("gateway-7", PARENT, "gateway-7", TRACE),
        (None, PARENT, str(uuid.UUID(TRACE)), TRACE),
        ("0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1", None, "0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1", "0e3c6c4e7b3f4b7a9c3c0a5ad8a2f1c1"),
        ("0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1", PARENT, "0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1", TRACE),
        ("gateway-7", "nonsense", "gateway-7", None),
        ("0E3C6C4E-7B3F-4B7A-9C3C-0A5AD8A2F1C1", None, "0E3C6C4E-7B3F-4B7A-9C3C-0A5AD8A2F1C1", "0e3c6c4e7b3f4b7a9c3c0a5ad8a2f1c1"),
        ("0e3c6c4e7b3f4b7a9c3c0a5ad8a2f1c1", None, "0e3c6c4e7b3f4b7a9c3c0a5ad8a2f1c1", "0e3c6c4e7b3f4b7a9c3c0a5ad8a2f1c1"),
        ("0" * 32, None, "0" * 32, None),
    ],
)  # fmt: skip
def test_which_ids_it_has(
    client: Client, daemon: FakeDaemon, given: str | None, trace: str | None, id: str, operation: str | None
) -> None:
    with client.request("r", request_id=given, traceparent=trace):
        client.collect([[1.0]])
    [event] = told(client, daemon, "requests")
    assert rows(daemon) == [id]
    assert own(event)["Request Id"] == id
    assert operation in (None, event["operation_Id"])
    assert len(event["operation_Id"]) == 32
    assert event["operation_Id"].strip("0")


def test_within_a_request_of_the_host_it_is_a_part_of_it(client: Client, daemon: FakeDaemon) -> None:
    with Request("r-1", traceparent=PARENT), client.request("part"):
        client.collect([[1.0]])
    [event] = told(client, daemon, "requests")
    assert event["operation_Id"] == TRACE
    assert rows(daemon) == ["r-1"]


def test_a_trace_that_the_caller_names_counts_without_telemetry(make: Any, daemon: FakeDaemon) -> None:
    """Its id becomes that of the rows, where the request has none of its own."""
    client = make(telemetry=False)
    with Request(traceparent=PARENT):
        client.collect([[1.0]])
    with Request():
        client.collect([[1.0]])
    assert client.flush(10)
    assert rows(daemon) == [str(uuid.UUID(TRACE)), None] or rows(daemon) == [None, str(uuid.UUID(TRACE))]


@pytest.mark.parametrize("id", ["0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1", "0E3C6C4E-7B3F-4B7A-9C3C-0A5AD8A2F1C1"])
@pytest.mark.parametrize("action", ["hmac", "drop"])
def test_rules_for_request_ids_hold(make: Any, daemon: FakeDaemon, action: str, id: str) -> None:
    """Neither as the request's nor as the operation's."""
    client = make(telemetry=True, columns={"$aml_request_id": action}, columns_key="k")
    with client.request("r", request_id=id):
        client.collect([[1.0]])
    [event] = told(client, daemon, "requests")
    assert own(event).get("Request Id") == rows(daemon)[0]
    assert id.lower() not in str(event).lower()
    assert id.replace("-", "").lower() not in str(event).lower()
    assert len(event["operation_Id"]) == 32


# ------------------------------------------------------------------ Flask


@pytest.fixture
def app(client: Client) -> flask.Flask:
    app = flask.Flask("scoring")

    @app.route("/score", methods=["POST"])
    def score() -> dict[str, int]:
        client.collect([[1.0]])
        print("scoring")
        return {"a": 1}

    @app.route("/broken")
    def broken() -> None:
        client.collect([[1.0]])
        raise ValueError("odd")

    return app


def test_flask_needs_nothing(app: flask.Flask, client: Client, daemon: FakeDaemon) -> None:
    client.capture()
    asked = app.test_client()
    assert asked.post("/score?key=secret", headers=CALLER).status_code == 200
    assert asked.get("/broken").status_code == 500
    assert asked.get("/nothing").status_code == 404
    good, bad, lost = (
        sorted(told(client, daemon, "requests"), key=lambda event: str(event["resultCode"]))[:1]
        + sorted(told(client, daemon, "requests"), key=lambda event: -int(event["resultCode"]))[:2]
    )
    assert (good["name"], good["url"], good["success"]) == ("POST /score", "http://localhost/score", True)
    assert (good["operation_Id"], good["operation_ParentId"]) == (TRACE, SPAN)
    assert own(good) == {
        "HTTP Method": "POST", "Request Id": str(uuid.UUID(TRACE)), "Client Request Id": "caller-1",
    }  # fmt: skip
    assert (bad["name"], bad["resultCode"], bad["success"]) == ("GET /broken", "500", False)
    assert (lost["resultCode"], lost["success"]) == ("404", False)
    assert set(rows(daemon)) == {own(good)["Request Id"], own(bad)["Request Id"]}
    [error] = told(client, daemon, "exceptions")
    assert (error["operation_Id"], error["operation_ParentId"]) == (bad["operation_Id"], bad["id"])
    printed = [event for event in told(client, daemon, "traces") if event["message"] == "STDOUT"]
    assert [event["operation_Id"] for event in printed] == [TRACE]
    assert printed[0]["operation_Name"] == "POST /score"


def test_what_was_answered_if_asked_for(app: flask.Flask, client: Client, daemon: FakeDaemon) -> None:
    client.capture_requests(responses=True)
    app.test_client().post("/score")
    [event] = told(client, daemon, "requests")
    assert own(event)["Response Value"] == '{"a":1}\n'


@pytest.mark.parametrize(
    ("variables", "tells"),
    [
        ({}, False),
        ({"APP_INSIGHTS_LOG_RESPONSE_ENABLED": "true"}, True),
        ({"AML_APP_INSIGHTS_LOG_RESPONSE_ENABLED": "True"}, True),
        ({"APP_INSIGHTS_LOG_RESPONSE_ENABLED": "false", "AML_APP_INSIGHTS_LOG_RESPONSE_ENABLED": "true"}, False),
    ],
)
def test_what_was_answered_if_the_inference_servers_variable_asks_for_it(
    app: flask.Flask,
    client: Client,
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    tells: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client.capture_requests()
    app.test_client().post("/score")
    [event] = told(client, daemon, "requests")
    assert ("Response Value" in own(event)) == tells


def test_an_application_that_lets_its_errors_through(app: flask.Flask, client: Client, daemon: FakeDaemon) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    client.capture_requests()
    with pytest.raises(ValueError, match="odd"):
        app.test_client().get("/broken")
    [event] = told(client, daemon, "requests")
    assert (event["resultCode"], event["success"]) == ("500", False)
    assert len(told(client, daemon, "exceptions")) == 1


def test_an_answer_is_given_whatever_is_wrong_with_telling(
    app: flask.Flask, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that Flask does not trust makes its URL an error; so would anything else."""
    app.config["TRUSTED_HOSTS"] = ["svc"]
    client.capture_requests()
    assert app.test_client().post("/score", headers={"host": "evil/?"}).status_code == 400

    def broken(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("collectord_client.telemetry.exchange.begin", broken)
    assert app.test_client().post("/score", headers={"host": "svc"}).status_code == 200
    wrapped = WSGIMiddleware(lambda *_: [b"done"])
    assert wrapped(environ(), lambda *_: None) == [b"done"]


def test_flask_that_is_imported_later() -> None:
    """As in a program that begins with us."""
    code = (
        "import sys; from collectord_client import Client\n"
        "client = Client('m', endpoint='unix:/nowhere/c.sock', telemetry=True); client.capture_requests()\n"
        "assert 'flask' not in sys.modules\n"
        "import flask\n"
        "app = flask.Flask('x'); app.route('/')(lambda: 'hello')\n"
        "assert app.test_client().get('/').text == 'hello'\n"
        "print(client.stats()['events'], flask.__spec__.loader.get_filename('flask') == flask.__file__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["1", "True"], "")


# ------------------------------------------------------------------ WSGI and ASGI


def environ(path: str = "/score", **more: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST", "PATH_INFO": path, "QUERY_STRING": "key=secret", "HTTP_HOST": "svc:80",
        "wsgi.url_scheme": "https", "HTTP_TRACEPARENT": PARENT, "HTTP_X_MS_CLIENT_REQUEST_ID": "caller-1", **more,
    }  # fmt: skip


def test_wsgi(client: Client, daemon: FakeDaemon) -> None:
    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("odd")
        start("201 Created", [])
        client.collect([[1.0]])
        return later() if environ["PATH_INFO"] == "/later" else [b"done"]

    def later() -> Iterator[bytes]:
        client.trace("later")
        yield b"done"

    client.capture_requests()
    wrapped = WSGIMiddleware(app)
    for path in ("/score", "/later"):
        body = wrapped(environ(path), lambda *_: None)
        list(body)
        getattr(body, "close", lambda: None)()
    with pytest.raises(ValueError, match="odd"):
        wrapped(environ("/broken"), lambda *_: None)
    events = {event["name"]: event for event in told(client, daemon, "requests")}
    assert {name: event["resultCode"] for name, event in events.items()} == {
        "POST /score": "201", "POST /later": "201", "POST /broken": "500",
    }  # fmt: skip
    assert events["POST /score"]["url"] == "https://svc:80/score"
    assert {event["operation_Id"] for event in events.values()} == {TRACE}
    assert own(events["POST /score"])["Client Request Id"] == "caller-1"
    [trace] = told(client, daemon, "traces")
    assert trace["operation_ParentId"] == events["POST /later"]["id"]
    assert len(told(client, daemon, "exceptions")) == 1


def test_a_wsgi_answer_that_breaks_off_is_no_success(client: Client, daemon: FakeDaemon) -> None:
    """Before its first piece, the server answers with an error instead; later the caller has the status, but not the answer."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        yield b""
        if environ["PATH_INFO"] == "/first":
            raise ValueError("odd")
        yield b"some"
        try:
            raise ValueError("odd")
        except ValueError:
            start("503 Broken", [], sys.exc_info())

    def begin(_status: str, _headers: Any, exc_info: Any = None) -> None:
        if exc_info is not None:
            raise exc_info[1]

    client.capture_requests()
    for path in ("/first", "/later"):
        body: Any = WSGIMiddleware(app)(environ(path), begin)
        with pytest.raises(ValueError, match="odd"):
            list(body)
        body.close()
    assert {(event["name"], event["resultCode"], event["success"]) for event in told(client, daemon, "requests")} == {
        ("POST /first", "500", False), ("POST /later", "200", False),
    }  # fmt: skip
    assert len(told(client, daemon, "exceptions")) == 2


def test_a_wsgi_answer_whose_close_fails_is_told(client: Client, daemon: FakeDaemon) -> None:
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"done"])

        def close(self) -> None:
            raise ValueError("odd")

    def app(_environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        return Body()

    client.capture_requests()
    body: Any = WSGIMiddleware(app)(environ(), lambda *_: None)
    assert list(body) == [b"done"]
    with pytest.raises(ValueError, match="odd"):
        body.close()
    [event] = told(client, daemon, "requests")
    assert event["resultCode"] == "200"


def test_a_path_of_wsgi_is_text(client: Client, daemon: FakeDaemon) -> None:
    """A server hands over its bytes as characters."""
    client.capture_requests()

    def app(_environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        client.trace("inside")
        start("200 OK", [])
        return []

    WSGIMiddleware(app)(environ("/café".encode().decode("latin-1")), lambda *_: None)
    [event] = told(client, daemon, "requests")
    assert (event["name"], event["url"]) == ("POST /café", "https://svc:80/café")
    [trace] = told(client, daemon, "traces")
    assert trace["operation_Name"] == "POST /café"


@pytest.mark.parametrize("wrapped", [False, True])
def test_flask_that_is_mounted_in_an_asgi_application_is_told_once(
    app: flask.Flask, client: Client, daemon: FakeDaemon, wrapped: bool
) -> None:
    """What stands between them runs it in a thread, with an environment of its own."""
    client.capture_requests()
    if wrapped:
        app.wsgi_app = WSGIMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    async def bridge(scope: Any, _receive: Any, send: Any) -> None:
        answer = await asyncio.to_thread(app.test_client().get, scope["path"])
        await send(START | {"status": answer.status_code})
        await send(BODY)

    async def send(_message: Any) -> None: ...

    asyncio.run(ASGIMiddleware(bridge)({"type": "http", "method": "GET", "path": "/broken"}, None, send))
    [event] = told(client, daemon, "requests")
    assert (event["name"], event["resultCode"]) == ("GET /broken", "500")
    [error] = told(client, daemon, "exceptions")
    assert (error["type"], error["operation_ParentId"]) == ("ValueError", event["id"])
    assert "Correlation Ids" in own(error)
    [kept] = [row for row in daemon.rows if row.designation == "errors"]
    assert kept.values == ("ValueError", "odd")
    assert rows(daemon) == [own(event)["Request Id"]]


START = {"type": "http.response.start", "status": 200}
BODY = {"type": "http.response.body", "body": b"done"}
TRAILERS = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(
    ("messages", "success"),
    [
        ([START, BODY], True),
        ([START, BODY | {"more_body": True}, BODY], True),
        ([START | {"trailers": True}, BODY, TRAILERS], True),
        ([START, BODY | {"more_body": True}], False),
        ([START | {"trailers": True}, BODY], False),
        ([START | {"trailers": True}, BODY, TRAILERS | {"more_trailers": True}], False),
    ],
)
def test_asgi_counts_until_the_caller_has_its_answer(
    client: Client, daemon: FakeDaemon, messages: list[dict[str, Any]], success: bool
) -> None:
    """What goes wrong behind it, as in a background task, is an exception of the request, which was answered all the same."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise ValueError("odd")

    async def send(message: Any) -> None:
        sent.append(message)

    client.capture_requests()
    sent: list[Any] = []
    with pytest.raises(ValueError, match="odd"):
        asyncio.run(ASGIMiddleware(app)({"type": "http", "method": "GET", "path": "/"}, None, send))
    assert sent == messages
    [event] = told(client, daemon, "requests")
    assert (event["resultCode"], event["success"]) == ("200", success)
    [error] = told(client, daemon, "exceptions")
    assert error["operation_Id"] == event["operation_Id"]


def test_two_middlewares_of_asgi_tell_it_once(client: Client, daemon: FakeDaemon) -> None:
    """As of an application that is mounted in another."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        client.collect([[1.0]])
        await send(START)
        raise ValueError("odd")

    async def send(_message: Any) -> None: ...

    client.capture_requests()
    with pytest.raises(ValueError, match="odd"):
        asyncio.run(ASGIMiddleware(ASGIMiddleware(app))({"type": "http", "method": "GET", "path": "/"}, None, send))
    [event] = told(client, daemon, "requests")
    assert rows(daemon) == [own(event)["Request Id"]]
    assert len(told(client, daemon, "exceptions")) == 1


def test_asgi(client: Client, daemon: FakeDaemon) -> None:
    """Many at once, on tasks and threads."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        number = scope["path"].strip("/")
        await asyncio.to_thread(client.collect, [[float(number)]])
        await asyncio.sleep(0)
        client.trace(number)
        if number == "3":
            raise ValueError("odd")
        await send({"type": "http.response.start", "status": 200 + int(number)})

    async def one(number: int) -> None:
        headers = [(b"x-ms-client-request-id", str(number).encode()), (b"host", b"svc")]
        scope = {"type": "http", "method": "GET", "path": f"/{number}", "scheme": "http", "headers": headers}

        async def send(message: Any) -> None: ...

        if number == 3:
            with pytest.raises(ValueError, match="odd"):
                await wrapped(scope, None, send)
        else:
            await wrapped(scope, None, send)

    async def serve() -> None:
        await asyncio.gather(*map(one, range(10)))

    client.capture_requests()
    wrapped = ASGIMiddleware(app)
    asyncio.run(serve())
    events = {event["name"]: event for event in told(client, daemon, "requests")}
    assert {name: int(event["resultCode"]) for name, event in events.items()} == {
        f"GET /{number}": 500 if number == 3 else 200 + number for number in range(10)
    }
    assert events["GET /4"]["url"] == "http://svc/4"
    for trace in told(client, daemon, "traces"):
        event = events[f"GET /{trace['message']}"]
        assert (trace["operation_Id"], trace["operation_ParentId"]) == (event["operation_Id"], event["id"])
        assert own(trace)["Client Request Id"] == trace["message"]
    collected = {row.values[0]: row.request for row in daemon.rows if row.designation == "inputs"}
    assert collected == {float(n): own(events[f"GET /{n}"])["Request Id"] for n in range(10)}


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_what_the_server_logs_of_an_exception_that_ended_a_request_is_a_trace(
    client: Client, daemon: FakeDaemon, kind: str
) -> None:
    """uvicorn and gunicorn log it when it has left the middleware."""
    client.capture()

    def broken(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        raise ValueError("broken")

    async def broken_too(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("broken")

    async def serve() -> None:
        # Between the two there may be a task, as of Starlette's BaseHTTPMiddleware.
        await asyncio.create_task(
            ASGIMiddleware(broken_too)({"type": "http", "method": "GET", "path": "/"}, None, None)
        )

    try:
        if kind == "wsgi":
            WSGIMiddleware(broken)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
        else:
            asyncio.run(serve())
    except ValueError:
        logging.getLogger(f"{kind}.error").exception("Exception in application")
    [event] = told(client, daemon, "exceptions")
    [request] = told(client, daemon, "requests")
    assert event["operation_Id"] == request["operation_Id"]
    assert [trace["message"] for trace in told(client, daemon, "traces")] == ["Exception in application"]


def test_two_middlewares_tell_it_once(app: flask.Flask, client: Client, daemon: FakeDaemon) -> None:
    client.capture_requests()
    app.wsgi_app = WSGIMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    app.test_client().post("/score").close()
    assert len(told(client, daemon, "requests")) == 1


def test_nobody_listens(app: flask.Flask, make: Any, daemon: FakeDaemon) -> None:
    """Where nobody asked for it, nothing is told, and rows have the ids they had."""
    client = make(telemetry=True)
    app.test_client().post("/score")
    WSGIMiddleware(lambda *_: client.collect([[1.0]]) and [])({"PATH_INFO": "/"}, lambda *_: None)
    assert client.flush(10)
    assert client.stats()["events"] == 0
    assert rows(daemon)[-1] is None


def test_threads_that_were_given_the_request(client: Client, daemon: FakeDaemon) -> None:
    import contextvars

    with ThreadPoolExecutor(1) as pool, client.request("r"):
        pool.submit(contextvars.copy_context().run, client.trace, "given").result()
        pool.submit(client.trace, "not given").result()
    events = {event["message"]: event for event in told(client, daemon, "traces")}
    assert "operation_Id" in events["given"]
    assert "operation_Id" not in events["not given"]
