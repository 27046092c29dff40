"""The one connection: bounded in time and size, and no more believed than it deserves."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectord.telemetry import poster
from collectord.telemetry.poster import NoReply, Poster, Reply


@contextlib.contextmanager
def answering(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and lets `say` do what it likes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                seen = b""
                while b"\r\n\r\n" not in seen:
                    seen += connection.recv(65536)
                say(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    thread.join()


@pytest.fixture
def post() -> Iterator[Poster]:
    made = Poster()
    yield made
    made.close()


def test_an_answer_is_given_whole(post: Poster) -> None:
    with answering(
        lambda s: s.sendall(b"HTTP/1.1 206 Partial\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nok")
    ) as url:
        said = post.post(url, b"x", {})
    assert isinstance(said, Reply)
    assert (said.status, said.body, said.headers["retry-after"]) == (206, b"ok", "3")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
)  # fmt: skip
def test_half_an_answer_and_garbage_are_none(post: Poster, answer: bytes) -> None:
    with answering(lambda s: s.sendall(answer)) as url:
        said = post.post(url, b"x", {})
    assert isinstance(said, NoReply)
    assert said.sent
    assert "127.0.0.1" not in said.detail


def test_an_endless_answer_ends_at_the_limit(post: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poster, "MAX_ANSWER", 1 << 20)

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)

    with answering(endless) as url:
        assert isinstance(post.post(url, b"x", {}), NoReply)


def test_an_answer_that_drips_ends_at_the_deadline() -> None:
    now = iter(range(0, 1000, 40))
    post = Poster(monotonic=lambda: float(next(now)))
    dripping = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20

    with answering(lambda s: s.sendall(dripping + b"0\r\n\r\n")) as url:
        said = post.post(url, b"x", {})
    assert said == NoReply("no answer within the timeout", sent=True)
    post.close()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_answer_that_drips_within_one_piece_ends_at_the_deadline(head: bytes) -> None:
    """The server goes on only when the byte before was looked at, and nothing but the deadline ends it."""
    looks = iter(range(0, 1000, 40))
    looked = threading.Semaphore()

    def monotonic() -> float:
        looked.release()
        return float(next(looks))

    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        # Ends the test where nobody looks: then the answer is broken off, and the detail another one.
        while looked.acquire(timeout=1.0):
            connection.sendall(b"x")

    post = Poster(monotonic=monotonic)
    with answering(drip) as url:
        said = post.post(url, b"x", {})
        assert said == NoReply("no answer within the timeout", sent=True)
    post.close()


def test_silence_ends_at_the_timeout(post: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poster, "READ_SECONDS", 0.05)
    over = threading.Event()
    with answering(lambda s: over.wait(30) and None) as url:
        said = post.post(url, b"x", {})
        over.set()
    assert said == NoReply("no answer within the timeout", sent=True)


def test_silence_within_an_answer_ends_at_the_timeout(post: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poster, "READ_SECONDS", 0.05)
    over = threading.Event()

    def half(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        over.wait(30)

    with answering(half) as url:
        said = post.post(url, b"x", {})
        over.set()
    assert said == NoReply("no answer within the timeout", sent=True)


def test_where_nobody_listens_nothing_was_sent(post: Poster) -> None:
    assert post.post("http://127.0.0.1:9", b"x", {}) == NoReply("no connection can be made", sent=False)
    assert post.post("http://no-such-host.invalid", b"x", {}) == NoReply("no connection can be made", sent=False)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REQUESTS_CA_BUNDLE", "/nonexistent/secret.pem", "REQUESTS_CA_BUNDLE"),
        ("HTTPS_PROXY", "http://u:secret@:x", "HTTPS_PROXY"),
        ("HTTPS_PROXY", "gopher://u:secret@127.0.0.1:9", "HTTPS_PROXY"),
    ],
)
def test_a_wrong_environment_is_named_and_leaves_no_doubt(
    post: Poster, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = post.post("https://127.0.0.1:9", b"x", {})
    assert isinstance(answer, NoReply)
    assert not answer.sent
    assert said in answer.detail
    assert "secret" not in answer.detail


def test_a_password_file_is_not_used(post: Poster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[bytes] = []

    def look(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            seen.append(connection.recv(65536))
            look(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    post.post(f"http://127.0.0.1:{server.getsockname()[1]}", b"x", {})
    thread.join()
    server.close()
    assert seen
    assert b"authorization" not in seen[0].lower()
