"""What is collected in one request belongs together, and nothing of another request does."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import gc
import io
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import numpy as np
import pytest
from collectord_client import Client, Context, Request
from collectord_client.core import NO_SHAPE
from collectord_client.middleware import ASGIMiddleware, WSGIMiddleware, _Asked
from collectord_client.request import current

from tests.client.fakedaemon import FakeDaemon, Row


def rows(client: Client, daemon: FakeDaemon, designation: str) -> list[Row]:
    assert client.flush(10)
    return [row for row in daemon.rows if row.designation == designation]


def test_a_prediction_alone_on_a_reused_thread_takes_nothing(client: Client, daemon: FakeDaemon) -> None:
    """The request before ended between its inputs and its prediction, on the same thread of a pool."""
    with ThreadPoolExecutor(1) as pool:

        def broken() -> Context:
            with Request():
                return client.collect([[1.0]])

        def alone() -> Context:
            with Request():
                return client.collect([[2.0]], "predictions")

        inputs, prediction = pool.submit(broken).result(), pool.submit(alone).result()
    assert prediction.correlation != inputs.correlation
    assert client.stats()["notes"] == {"uncorrelated": 1}


def test_inputs_outside_of_a_request_are_not_taken_inside(client: Client) -> None:
    inputs = client.collect([[1.0]])
    with Request():
        assert client.collect([[2.0]], "predictions").correlation != inputs.correlation


def test_two_models_in_one_request(make: Any) -> None:
    """Each prediction takes the inputs of its own model, in whatever order they come."""
    one, other = make(strict=True), make(model="other", strict=True)
    with Request("r"):
        inputs = one.collect([[1.0]]), other.collect([[2.0]])
        predictions = other.collect([[2.0]], "predictions"), one.collect([[1.0]], "predictions")
    assert [context.correlation for context in predictions] == [inputs[1].correlation, inputs[0].correlation]
    assert {context.request_id for context in (*inputs, *predictions)} == {"r"}


def test_threads_of_a_pool_that_work_for_a_request(client: Client) -> None:
    """Inputs on one thread, predictions on another: both were given the request's context."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for number in range(5):
            with Request():
                inputs = first.submit(contextvars.copy_context().run, client.collect, [[float(number)]]).result()
                task = contextvars.copy_context().run
                prediction = second.submit(task, client.collect, [[float(number)]], "predictions").result()
            assert prediction.correlation == inputs.correlation
    assert client.stats()["notes"] == {}


def test_a_task_hands_its_work_to_threads(client: Client) -> None:
    """As FastAPI does with functions that are not async: many at once, each finds its own."""

    async def request() -> None:
        with Request():
            inputs = await asyncio.to_thread(client.collect, np.ones((3, 2)))
            prediction = await asyncio.to_thread(client.collect, np.ones(3), "predictions", ["p"])
            assert (prediction.correlation, prediction.rows) == (inputs.correlation, 3)

    async def serve() -> None:
        await asyncio.gather(*(request() for _ in range(20)))

    asyncio.run(serve())
    assert client.stats()["notes"] == {}


@pytest.mark.parametrize("id", [None, uuid.UUID(int=7), "gateway-7"])
@pytest.mark.parametrize("names", [None, ["p"]])
def test_the_fast_way_is_the_slow_way(make: Any, daemon: FakeDaemon, id: Any, names: Any) -> None:
    """Ids, rows and request ids are the same, for arrays of one and two dimensions."""
    client = make()
    inputs, predictions = client.collector("inputs"), client.collector("predictions", names)
    for fast in (False, True):
        for count in (1, 3, 3, 1, 2):
            if not fast:
                inputs._shape = predictions._shape = NO_SHAPE
            with Request(id):
                context = inputs.collect(np.arange(2.0 * count).reshape(count, 2))
                predictions.collect(np.arange(float(count)))
                assert context.rows == count
    got = rows(client, daemon, "inputs"), rows(client, daemon, "predictions")
    assert [(r.correlation, r.row, r.time_ns, r.request) for r in got[0]] == [
        (r.correlation, r.row, r.time_ns, r.request) for r in got[1]
    ]
    assert {r.request for r in got[0]} == {None if id is None else str(id)}
    halves = (
        [[r.values for r in some[: len(some) // 2]] for some in got],
        [[r.values for r in some[len(some) // 2 :]] for some in got],
    )
    assert halves[0] == halves[1]
    assert client.stats()["notes"] == {}


def test_an_array_without_dimensions_after_those_of_one(client: Client, daemon: FakeDaemon) -> None:
    collector = client.collector("predictions", ["p"])
    for value in (np.array([1.0, 2.0]), np.array([3.0]), np.array(4.0)):
        collector.collect(value)
    assert [row.values for row in rows(client, daemon, "predictions")] == [(1.0,), (2.0,), (3.0,), (4.0,)]


@pytest.mark.parametrize("id", ["x" * 1025, "\ud800", "a\0b", "", 1.5, str(uuid.UUID(int=0))])
def test_an_unusable_id_costs_no_row(client: Client, daemon: FakeDaemon, id: Any) -> None:
    with Request(id):
        client.collect([[1.0]])
    assert [row.request for row in rows(client, daemon, "inputs")] == [None]


# ------------------------------------------------------------------ Flask


@pytest.fixture
def app(client: Client) -> Iterator[flask.Flask]:
    """Collects inputs with `/inputs`, a prediction with `/predictions`, both with `/both`."""
    app = flask.Flask("scoring")

    @app.route("/<what>")
    def score(what: str) -> list[str]:
        wanted = ["inputs", "predictions"] if what == "both" else [what]
        return [str(client.collect([[1.0]], designation).correlation) for designation in wanted]

    yield app


def test_flask_needs_no_middleware(app: flask.Flask, client: Client) -> None:
    """A request of Flask is one of ours: a prediction alone takes nothing of the request before on this thread."""
    asked = app.test_client()
    [inputs] = asked.get("/inputs").get_json()
    [alone] = asked.get("/predictions").get_json()
    first, second = asked.get("/both").get_json()
    assert len({inputs, alone, first}) == 3
    assert first == second
    assert client.stats()["notes"] == {"uncorrelated": 1}


def _before(app: flask.Flask) -> None:
    """As azureml-inference-server-http does since 0.8."""

    @app.before_request
    def remember() -> None:
        flask.g.request_id = flask.request.headers.get("x-request-id", "made by the server")


@pytest.mark.parametrize(
    ("prepare", "sent", "expected"),
    [
        (_before, {}, "made by the server"),
        (_before, {"headers": {"x-request-id": "mine", "x-ms-request-id": "old"}}, "mine"),
        (None, {"environ_overrides": {"REQUEST_ID": "of server 0.4"}, "headers": {"x-ms-request-id": "x"}}, "of server 0.4"),
        (None, {"headers": {"x-request-id": "mine", "x-ms-request-id": "old"}}, "mine"),
        (None, {"headers": {"x-ms-request-id": "old"}}, "old"),
        (None, {"headers": {"x-request-id": "x" * 2000, "x-ms-request-id": "old"}}, "old"),
        (None, {}, None),
    ],
)  # fmt: skip
def test_where_the_request_id_comes_from(
    app: flask.Flask, client: Client, daemon: FakeDaemon, prepare: Any, sent: Any, expected: str | None
) -> None:
    if prepare is not None:
        prepare(app)
    app.test_client().get("/both", **sent)
    assert [row.request for row in rows(client, daemon, "inputs")] == [expected]
    assert [row.request for row in rows(client, daemon, "predictions")] == [expected]


def test_the_callers_own_request_id_wins(client: Client, daemon: FakeDaemon) -> None:
    with Request("the host's"):
        client.collect([[1.0]], request_id="mine")
        client.collect([[2.0]], "predictions")
    assert [row.request for row in rows(client, daemon, "predictions")] == ["mine"]


def test_a_broken_flask_costs_no_row(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another module of that name, or one that is being imported."""
    monkeypatch.setitem(__import__("sys").modules, "flask", object())
    client.collect([[1.0]])
    assert len(rows(client, daemon, "inputs")) == 1


# ------------------------------------------------------------------ middleware


def test_wsgi_middleware_makes_a_request_of_each(client: Client, daemon: FakeDaemon) -> None:
    """Also for what an application collects while its answer is being sent; on one thread, as a pool's."""

    def app(environ: dict[str, Any], _start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/alone":
            client.collect([[1.0]])
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("the model fails")
        if environ["PATH_INFO"] == "/later":
            return later()
        client.collect([[2.0]], "predictions")
        return [b"done"]

    def later() -> Iterator[bytes]:
        yield b"some"
        client.collect([[2.0]], "predictions")
        yield b"more"

    wrapped = WSGIMiddleware(app)
    with pytest.raises(ValueError, match="the model fails"):
        wrapped({"PATH_INFO": "/broken", "HTTP_X_REQUEST_ID": "1"}, lambda *_: None)
    for number, path in enumerate(("/alone", "/", "/later"), 2):
        body = wrapped({"PATH_INFO": path, "HTTP_X_REQUEST_ID": str(number)}, lambda *_: None)
        list(body)
        getattr(body, "close", lambda: None)()
    inputs = {row.correlation: row.request for row in rows(client, daemon, "inputs")}
    said = {row.request: row.correlation for row in rows(client, daemon, "predictions")}
    assert set(said) == {"2", "3", "4"}
    assert said["2"] not in inputs
    assert (inputs[said["3"]], inputs[said["4"]]) == ("3", "4")


class File:
    """As a server's `wsgi.file_wrapper`."""

    def __init__(self, file: Any, size: int = 0) -> None:
        self.file = file


@pytest.mark.parametrize("wrapper", [File, lambda file: file, None])
def test_wsgi_middleware_leaves_a_file_to_the_server(client: Client, wrapper: Any) -> None:
    """It sends it by means of its own, if it knows it again, and its length. Some wrappers are functions."""
    file = (wrapper or (lambda file: file))(io.BytesIO(b"done"))
    environ = {"PATH_INFO": "/"} | ({} if wrapper is None else {"wsgi.file_wrapper": wrapper})
    assert WSGIMiddleware(lambda *_: file)(environ, lambda *_: None) is file


def test_wsgi_middleware_leaves_an_answer_its_length(client: Client) -> None:
    """A server that tells it may go through the answer twice."""
    body: Any = WSGIMiddleware(lambda *_: collections.deque([b"done"]))({"PATH_INFO": "/"}, lambda *_: None)
    pieces = iter(body)
    assert next(pieces) == b"done"
    assert (len(body), list(body), list(pieces)) == (1, [b"done"], [])
    endless = WSGIMiddleware(lambda *_: iter([b"done"]))({"PATH_INFO": "/"}, lambda *_: None)
    assert not hasattr(endless, "__len__")


def test_wsgi_middleware_begins_an_answer_when_the_server_asks(client: Client, daemon: FakeDaemon) -> None:
    """What goes wrong there is the server's to answer for, and it closes what it was given."""

    class Body:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            client.collect([[1.0]])
            raise ValueError("the model fails")

        def close(self) -> None:
            self.closed += 1

    given = Body()
    body: Any = WSGIMiddleware(lambda *_: given)({"PATH_INFO": "/", "HTTP_X_REQUEST_ID": "7"}, lambda *_: None)
    with pytest.raises(ValueError, match="the model fails"):
        list(body)
    body.close()
    assert given.closed == 1
    assert [row.request for row in rows(client, daemon, "inputs")] == ["7"]
    assert [row.request for row in rows(client, daemon, "errors")] == ["7"]


def test_a_request_of_asgi_keeps_none_before_it(client: Client) -> None:
    """uvicorn begins one in the context of an earlier one on its connection, which may live for days."""
    seen: list[weakref.ref[Request]] = []
    contexts: list[contextvars.Context] = []

    class Watched(_Asked):
        __slots__ = ("__weakref__",)

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        found = current()
        assert isinstance(found, Watched)
        seen.append(weakref.ref(found))
        # Where the next one begins, as by reading on from the connection.
        contexts[:] = [contextvars.copy_context()]

    async def serve() -> None:
        for _ in range(5):
            before = contexts[0] if contexts else contextvars.copy_context()
            await before.run(asyncio.ensure_future, wrapped({"type": "http"}, None, None))
        del before
        # The loop still holds the task that has woken this one.
        await asyncio.sleep(0)
        gc.collect()
        assert [one() is not None for one in seen] == [False] * 4 + [True]
        # One that an application makes of itself leaves the one around it as it was.
        with Request("outer") as outer:
            await wrapped({"type": "http"}, None, None)
            assert current() is outer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collectord_client.middleware._Asked", Watched)
        wrapped = ASGIMiddleware(app)
        asyncio.run(serve())


def test_asgi_middleware_makes_a_request_of_each(client: Client, daemon: FakeDaemon) -> None:
    """Many at once in one loop, with the work in threads; what is not HTTP passes through."""
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])
        if scope["type"] == "http":
            await asyncio.to_thread(client.collect, [[1.0]])
            await asyncio.sleep(0)
            await asyncio.to_thread(client.collect, [[2.0]], "predictions")

    async def serve() -> None:
        wrapped = ASGIMiddleware(app)
        await wrapped({"type": "websocket"}, None, None)
        requests = [{"type": "http", "headers": [(b"x-request-id", str(n).encode())]} for n in range(20)]
        await asyncio.gather(*(wrapped(request, None, None) for request in requests))

    asyncio.run(serve())
    assert seen == ["websocket"] + ["http"] * 20
    inputs = {row.request: row.correlation for row in rows(client, daemon, "inputs")}
    assert inputs == {row.request: row.correlation for row in rows(client, daemon, "predictions")}
    assert set(inputs) == set(map(str, range(20)))


def test_wsgi_applications_that_a_request_of_asgi_calls_at_once_do_not_mix(client: Client, daemon: FakeDaemon) -> None:
    """Only one that serves the request itself works on it: of the others, each prediction would take the inputs that came last."""
    inputs, predictions = client.collector("inputs"), client.collector("predictions")
    together = threading.Barrier(3)

    def score(environ: dict[str, Any], _start: Any) -> list[bytes]:
        inputs.collect([[environ["n"]]])
        together.wait(10)
        predictions.collect([[environ["n"] + 0.5]])
        return []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        calls = [asyncio.to_thread(WSGIMiddleware(score), {"n": float(n)}, lambda *_: None) for n in range(3)]
        await asyncio.gather(*calls)

    asyncio.run(ASGIMiddleware(app)({"type": "http", "method": "POST", "path": "/"}, None, None))
    scored = {row.values[0]: row.correlation for row in rows(client, daemon, "inputs")}
    predicted = {row.values[0] - 0.5: row.correlation for row in rows(client, daemon, "predictions")}
    assert len(set(scored.values())) == 3
    assert predicted == scored


def test_requests_may_be_nested(client: Client) -> None:
    """The inner one, of a script that scores by calling itself, has its own inputs; afterwards the outer one is back."""
    with Request():
        outer = client.collect([[1.0]])
        with Request():
            inner = client.collect([[2.0]])
            assert client.collect([[2.0]], "predictions").correlation == inner.correlation
        assert client.collect([[1.0]], "predictions").correlation == outer.correlation


def test_one_request_on_two_threads_at_once(client: Client) -> None:
    """Each leaves it for itself."""
    request = Request()
    inside = threading.Barrier(2)

    def work() -> None:
        with request:
            inside.wait(10)
        inside.wait(10)
        assert current() is None

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work), pool.submit(work)]:
            done.result()


def test_a_thread_that_was_given_nothing_is_no_part_of_the_request(client: Client) -> None:
    with Request():
        inputs = client.collect([[1.0]])
        made: list[Context] = []
        thread = threading.Thread(target=lambda: made.append(client.collect([[2.0]], "predictions")))
        thread.start()
        thread.join()
    assert made[0].correlation != inputs.correlation
