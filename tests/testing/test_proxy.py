"""Every fault does what its name says, and only that."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collectord.testing.proxy import FAULTS, FaultProxy


class Upstream:
    """A service that counts what reaches it and answers with the body it got."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.count = 0
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                upstream.count += 1
                self.send_response(201)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                upstream.arrived.release()

            def log_message(self, *given: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


def put(port: int, body: bytes = b"hello", timeout: float = 5.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("PUT", "/x", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_without_faults_everything_passes_byte_for_byte(upstream: Upstream) -> None:
    body = bytes(range(256)) * 8192
    with FaultProxy(upstream.port) as proxy:
        assert put(proxy.port, body) == (201, body)
        assert (proxy.counts(), proxy.injected()) == ({"requests": 1}, 0)


@pytest.mark.parametrize(
    "fault, reaches",
    [("reset", 0), ("drop", 1), ("later", 1), ("slow", 1)],
)
def test_faults_without_an_answer(upstream: Upstream, fault: str, reaches: int) -> None:
    with FaultProxy(upstream.port, rate=1.0, faults=[fault], delay=0.6) as proxy:
        with pytest.raises((ConnectionError, TimeoutError)):
            put(proxy.port, timeout=0.3)
        assert proxy.counts() == {"requests": 1, fault: 1}
    assert upstream.count == reaches


@pytest.mark.parametrize(
    "fault, status, reaches", [("error", 500, 0), ("busy", 503, 0), ("throttle", 429, 0), ("applied_error", 500, 1)]
)
def test_faults_with_an_answer_of_their_own(upstream: Upstream, fault: str, status: int, reaches: int) -> None:
    with FaultProxy(upstream.port, rate=1.0, faults=[fault]) as proxy:
        assert put(proxy.port) == (status, b"")
    assert upstream.count == reaches


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_answer_is_never_whole(upstream: Upstream, seed: int) -> None:
    for fault in ("cut", "cut_body"):
        with FaultProxy(upstream.port, rate=1.0, seed=seed, faults=[fault]) as proxy:
            try:
                assert put(proxy.port)[1] != b"hello"
            except (http.client.HTTPException, ConnectionError):
                pass
    assert upstream.count == 2


def test_a_slow_answer_still_comes_for_one_who_waits(upstream: Upstream) -> None:
    with FaultProxy(upstream.port, rate=1.0, faults=["slow"], delay=0.05) as proxy:
        assert put(proxy.port) == (201, b"hello")


def test_only_what_was_asked_for_meets_faults_and_the_seed_decides(upstream: Upstream) -> None:
    def outcomes(seed: int) -> list[int]:
        with FaultProxy(upstream.port, rate=0.5, seed=seed, faults=["error"]) as proxy:
            return [put(proxy.port)[0] for _ in range(12)]

    assert outcomes(1) == outcomes(1) != outcomes(2)
    with FaultProxy(upstream.port, rate=1.0, faults=["error"], only=lambda method, path: method == "GET") as proxy:
        assert put(proxy.port)[0] == 201


def test_a_fault_that_does_not_exist_is_refused(upstream: Upstream) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        FaultProxy(upstream.port, faults=["nonsense"])
    assert len(FAULTS) == 10


def test_planned_faults_come_first_in_their_order_and_only_for_their_operation(upstream: Upstream) -> None:
    with FaultProxy(upstream.port) as proxy:
        proxy.plan("create", "forbidden", None, "applied_condition", "busy")
        assert [put(proxy.port)[0] for _ in range(3)] == [403, 201, 412]
        assert (proxy.planned(), proxy.injected(), upstream.count) == (1, 2, 2)
        proxy.unplan()
        assert (put(proxy.port)[0], proxy.planned()) == (201, 0)
        seen = proxy.seen()
    assert [one.fault for one in seen] == ["forbidden", None, "applied_condition", None]
    assert {(one.operation, one.path) for one in seen} == {("create", "/x")}
    # One after the other; but the proxy may still be at the end of those before.
    assert [one.under_way >= 1 for one in seen] == [True] * 4
    assert seen[0].under_way == 1
    with pytest.raises(ValueError, match="nonsense"):
        proxy.plan("nonsense", "drop")
    with pytest.raises(ValueError, match="nonsense"):
        proxy.plan("append", "nonsense")


def test_a_service_that_takes_no_connection_ends_the_client_s(upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with FaultProxy(port) as proxy, pytest.raises((ConnectionError, http.client.HTTPException)):
        put(proxy.port)


def test_as_a_process_it_tells_its_port_obeys_and_reports(upstream: Upstream) -> None:
    command = [sys.executable, "-m", "collectord.testing.proxy", "--upstream", f"http://127.0.0.1:{upstream.port}"]
    process = subprocess.Popen(
        [*command, "--rate", "1", "--faults", "busy", "--retry-after", "7"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["port"]
    assert put(port)[0] == 503
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("PUT", "/_faults?rate=0")
    assert json.loads(connection.getresponse().read()) == {"rate": 0.0, "counts": {"requests": 1, "busy": 1}}
    connection.close()
    assert put(port)[0] == 201
    process.terminate()
    assert json.loads(process.stdout.readline()) == {"counts": {"requests": 2, "busy": 1}}
    assert process.wait(10) == 0
    process.stdout.close()


def test_it_serves_beyond_the_1024th_descriptor() -> None:
    """`select` cannot; a test process with many open files would be left without an answer."""
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    upstream = Upstream()
    try:
        with FaultProxy(upstream.port) as proxy:
            assert put(proxy.port) == (201, b"hello")
    finally:
        upstream.close()
        for one in held:
            os.close(one)
