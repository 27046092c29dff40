"""The way without HTTP/2, against a daemon that says whatever a test wants, byte by byte."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from collectord_client import framed, link
from collectord_client._pb import collector_pb2 as pb
from collectord_client.bell import READ, Bell
from collectord_client.framed import FRAME, MAX_ANSWER, MESSAGE, SUFFIX, TRAILERS, Framed
from collectord_client.talk import Ended

from tests.client.fakedaemon import FakeDaemon
from tests.client.test_sender import numbers, send, wait

GOODBYE = b"grpc-status: 0\r\ngrpc-message: \r\n"


class Script:
    """A sender that says these messages and hears what comes."""

    def __init__(self, messages: Sequence[bytes] = (), leaving: bool = False) -> None:
        self.bell = Bell()
        self.exit_timeout = 5.0
        self.alive = True
        self.leaving = leaving
        self.waiting = True
        self.heard: list[bytes] = []
        self._messages = list(messages)

    def hello(self) -> bytes:
        return b"hello"

    def next(self) -> tuple[bytes | None, float]:
        return (self._messages.pop(0), 0.0) if self._messages else (None, 10.0)

    def receive(self, raw: bytes) -> None:
        self.heard.append(raw)


@pytest.fixture
def pair() -> Iterator[tuple[Framed, socket.socket]]:
    """A carrier and the daemon's end of its connection."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(10)
    carrier = Framed(near)
    with far:
        yield carrier, far
    carrier.close()


@pytest.fixture
def talk() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def make(*given: Any, **options: Any) -> Script:
        made.append(Script(*given, **options))
        return made[-1]

    yield make
    for one in made:
        one.bell.close()


def carry(carrier: Framed, script: Script) -> tuple[threading.Thread, list[Ended]]:
    """Runs it in a thread; why it ended."""
    ends: list[Ended] = []

    def run() -> None:
        try:
            carrier.run(script, alone=False)
        except Ended as ended:
            ends.append(ended)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def frame(content: bytes, flags: int = MESSAGE) -> bytes:
    return FRAME.pack(flags, len(content)) + content


def take(far: socket.socket, size: int) -> bytes:
    taken = b""
    while len(taken) < size:
        piece = far.recv(size - len(taken))
        assert piece, "the client has gone"
        taken += piece
    return taken


def said(far: socket.socket) -> bytes:
    """The client's next message."""
    flags, size = FRAME.unpack(take(far, FRAME.size))
    assert flags == MESSAGE
    return take(far, size)


@pytest.mark.parametrize("step", [1, 3, 4, 7, 1000])
def test_answers_are_heard_whatever_pieces_they_come_in(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script], step: int
) -> None:
    carrier, far = pair
    answers = [b"one", b"", b"x" * 300, b"\x80\x00four"]
    stream = b"".join(map(frame, answers)) + frame(GOODBYE, TRAILERS)
    script = talk()

    def answer() -> None:
        assert said(far) == b"hello"
        for at in range(0, len(stream), step):
            far.sendall(stream[at : at + step])

    daemon = threading.Thread(target=answer)
    daemon.start()
    with pytest.raises(Ended) as ended:
        carrier.run(script, alone=False)
    daemon.join()
    assert script.heard == answers
    assert (ended.value.status, str(ended.value)) == ("OK", "the daemon ended the stream")


def test_a_message_that_the_socket_does_not_take_at_once_arrives_whole_and_answers_are_heard_meanwhile(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script]
) -> None:
    """Nobody reads for a while, and both sides have something to say."""
    carrier, far = pair
    big = [os.urandom(3 << 20), os.urandom(1 << 20)]
    script = talk(big)
    carrying, ends = carry(carrier, script)
    far.sendall(frame(b"answer"))
    assert wait(lambda: script.heard == [b"answer"]), "it listens while it cannot send"
    assert said(far) == b"hello"
    assert [said(far), said(far)] == big
    far.sendall(frame(GOODBYE, TRAILERS))
    carrying.join(10)
    assert [ended.status for ended in ends] == ["OK"]


@pytest.mark.parametrize(
    ("last", "status", "words"),
    [
        (frame(b"grpc-status: 16\r\ngrpc-message: who%20are%0Ayou%3F\r\n", TRAILERS), "UNAUTHENTICATED", "UNAUTHENTICATED: who are\nyou?"),
        (frame(b"grpc-status: 8\r\ngrpc-message: full: really\r\n", TRAILERS), "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED: full: really"),
        (frame(b"grpc-status: 99\r\n", TRAILERS), "status 99", "status 99: the daemon ended the stream"),
        (frame(b"\xff\xfe", TRAILERS), "status ", "status : the daemon ended the stream"),
        (b"", "UNAVAILABLE", "UNAVAILABLE: the daemon has gone"),
        (frame(b"cut short")[:-1], "UNAVAILABLE", "UNAVAILABLE: the daemon has gone"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "INTERNAL", "INTERNAL: what answers at the daemon's socket does not speak as a daemon does"),
        (FRAME.pack(MESSAGE, MAX_ANSWER + 1), "INTERNAL", "INTERNAL: what answers at the daemon's socket does not speak as a daemon does"),
    ],
)  # fmt: skip
def test_the_end_of_a_stream_is_told_with_its_reason(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script], last: bytes, status: str, words: str
) -> None:
    carrier, far = pair
    far.sendall(frame(b"before") + last)
    far.shutdown(socket.SHUT_WR)
    script = talk()
    with pytest.raises(Ended) as ended:
        carrier.run(script, alone=False)
    assert (ended.value.status, str(ended.value)) == (status, words)
    assert script.heard == [b"before"]


def test_the_last_word_of_a_daemon_that_does_not_listen_any_more_is_read(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script]
) -> None:
    """It ends the stream while messages are on their way: its reason says more than the broken pipe."""
    carrier, far = pair
    far.sendall(frame(b"grpc-status: 10\r\ngrpc-message: another\r\n", TRAILERS))
    far.close()
    with pytest.raises(Ended, match=r"^ABORTED: another$"):
        carrier.run(talk([b"x" * (1 << 20)]), alone=False)


def test_who_has_said_all_says_so_and_reads_to_the_end(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script]
) -> None:
    carrier, far = pair
    script = talk([b"last words"], leaving=True)
    carrying, ends = carry(carrier, script)
    assert [said(far), said(far)] == [b"hello", b"last words"]
    assert far.recv(1) == b"", "the client's side is shut"
    far.sendall(frame(b"heard") + frame(GOODBYE, TRAILERS))
    carrying.join(10)
    assert [ended.status for ended in ends] == ["OK"]
    assert script.heard == [b"heard"]


@pytest.mark.parametrize("busy", [False, True])
def test_a_connection_is_cut_from_another_thread_at_once(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script], busy: bool
) -> None:
    """Also while it waits for room to send. Nothing is an error that we wanted."""
    carrier, far = pair
    script = talk([b"x" * (8 << 20)] if busy else [])
    carrying, _ = carry(carrier, script)
    assert said(far) == b"hello"
    script.alive = False
    carrier.cancel()
    script.bell.ring()
    carrying.join(10)
    assert not carrying.is_alive()
    carrier.close()
    carrier.cancel()


def test_alone_it_ends_when_nothing_is_due_and_at_the_latest_after_the_timeout(
    pair: tuple[Framed, socket.socket], talk: Callable[..., Script]
) -> None:
    carrier, far = pair
    script = talk([b"rows"])
    script.exit_timeout = 60.0

    def receive(raw: bytes) -> None:
        script.heard.append(raw)
        script.waiting = False

    script.receive = receive  # type: ignore[method-assign]

    def answer() -> None:
        assert [said(far), said(far)] == [b"hello", b"rows"]
        far.sendall(frame(b"ack"))

    daemon = threading.Thread(target=answer)
    daemon.start()
    carrier.run(script, alone=True)
    daemon.join()
    assert script.heard == [b"ack"]
    mute = talk()
    mute.exit_timeout = 0.05
    carrier.run(mute, alone=True)
    assert mute.waiting


def test_a_bell_that_was_rung_before_somebody_waits_is_heard() -> None:
    """And one that was rung a thousand times is heard once."""
    bell = Bell()
    near, far = socket.socketpair()
    with near, far:
        hearing = bell.hearing(near)
        bell.ring()
        assert bell.wait(60.0, hearing) == 0
        bell.clear()
        for _ in range(1000):
            bell.ring()
        assert bell.wait(60.0, hearing) == 0
        bell.clear()
        far.send(b"x")
        assert bell.wait(60.0, hearing) == READ
        ringing = threading.Timer(0.02, bell.ring)
        ringing.start()
        alone = bell.hearing()
        assert bell.wait(60.0, alone) == 0
        ringing.join()
        bell.close()
        bell.ring()
        bell.close()


def test_a_bell_that_rings_already_is_not_rung_again() -> None:
    """Who waits may have been woken and not have the interpreter yet; ringing again would hand it over in the middle of a request."""
    bell = Bell()
    hearing = bell.hearing()
    assert bell._ends is not None
    bell._waiting = True
    for _ in range(3):
        bell.ring()
    assert bell._ends[0].recv(64) == b"!"
    bell._waiting = False
    assert bell.wait(60.0, hearing) == 0
    bell.clear()
    bell._waiting = True
    bell.ring()
    assert bell._ends[0].recv(64) == b"!"
    bell.close()


def test_rows_arrive_without_grpc_being_loaded(daemon: FakeDaemon) -> None:
    program = (
        "import sys\n"
        "from collectord_client import Client\n"
        f"client = Client(model='m', endpoint={daemon.endpoint!r}, linger=0.05)\n"
        "client.collect([[1.0]])\n"
        "assert client.flush(10)\n"
        "print(client.stats()['transport'], any(name.partition('.')[0] == 'grpc' for name in sys.modules))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "framed False\n", "")


@pytest.mark.parametrize("beside", ["nothing", "stale", "file"])
def test_where_nobody_listens_without_http2_the_client_speaks_grpc(make: Any, daemon: FakeDaemon, beside: str) -> None:
    """A daemon of an earlier version, or what one left behind."""
    path = Path(daemon.endpoint.removeprefix("unix:") + SUFFIX)
    daemon.stop()
    daemon.framed = False
    daemon.start()
    if beside == "stale":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    elif beside == "file":
        path.touch()
    client = make()
    assert client.stats()["transport"] == ""
    send(client, [1])
    assert client.flush(10)
    assert client.stats()["transport"] == "grpc"
    assert numbers(daemon) == [1]


@pytest.mark.parametrize("says", [b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_where_somebody_else_listens_the_client_speaks_grpc(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, says: bytes
) -> None:
    """Who talks otherwise, or never answers."""
    monkeypatch.setattr(link, "WELCOME_WITHIN", 0.1)
    path = Path(daemon.endpoint.removeprefix("unix:") + SUFFIX)
    daemon.stop()
    daemon.framed = False
    daemon.start()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()
        client = make()
        send(client, [1])
        connected, _ = stranger.accept()
        with connected:
            connected.sendall(says)
            assert client.flush(10)
    assert client.stats()["transport"] == "grpc"
    assert numbers(daemon) == [1]


def test_where_more_come_than_the_daemon_lets_in_the_client_comes_again(make: Any, daemon: FakeDaemon) -> None:
    """It does not turn to gRPC, which it would keep to."""
    path = Path(daemon.endpoint.removeprefix("unix:") + SUFFIX)
    daemon.stop()
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(path))
        full.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(str(path))
            client = make()
            send(client, [1])
            assert wait(lambda: client.stats()["last_error"] == "too many clients connect at once")
        finally:
            for one in waiting:
                one.close()
    daemon.start()
    assert client.flush(10)
    assert client.stats()["transport"] == "framed"


def test_an_error_in_the_middle_of_a_message_ends_the_connection(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as want of memory in the kernel: the daemon is not left waiting for the rest, and everything comes once."""
    client = make(page_bytes=2048)
    send(client, [0])
    assert client.flush(10)
    left = [b"nothing", b"a part", b"all of it"]

    class Failing(socket.socket):
        def sendmsg(self, pieces: Any, *more: Any) -> int:  # type: ignore[override]
            if left:
                left.pop()
                sent = super().sendmsg([pieces[0]]) if len(left) % 2 else 0
                if sent:
                    return sent
                raise OSError(105, "No buffer space available")
            return super().sendmsg(pieces, *more)

    connect = framed.connect

    def failing(path: str) -> Framed | None:
        made = connect(path)
        assert made is not None
        plain = made._socket
        made._socket = Failing(fileno=plain.detach())
        made._socket.setblocking(False)
        return made

    monkeypatch.setattr(framed, "connect", failing)
    daemon.break_streams()
    send(client, range(1, 200))
    assert client.flush(20)
    assert not left
    assert numbers(daemon) == list(range(200))


@pytest.mark.parametrize("endpoint", ["unix:{}/absent.sock", "dir:{}/store"])
def test_without_unix_sockets_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    """As on Windows."""
    from collectord_client import Client, embedded

    monkeypatch.delattr(socket, "AF_UNIX")
    monkeypatch.setattr(embedded, "serve", lambda directory, sender: None)
    (tmp_path / "absent.sock").touch()
    client = Client(model="m", endpoint=endpoint.format(tmp_path), linger=0.05)
    send(client, [1])
    try:
        assert wait(
            lambda: "unix sockets" in client.stats()["last_error"] or "no socket" in client.stats()["last_error"]
        )
    finally:
        client.close(0)


def test_a_token_that_cannot_be_read_is_no_matter_where_there_is_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collectord_client import Client

    monkeypatch.setenv("COLLECTORD_TOKEN_FILE", str(tmp_path / "absent"))
    client = Client(model="m", endpoint=f"unix:{tmp_path}/d.sock", linger=0.05)
    send(client, [1])
    try:
        assert wait(lambda: "no socket" in client.stats()["last_error"])
    finally:
        client.close(0)


def test_a_path_that_is_too_long_for_a_socket_is_not_tried(tmp_path: Path) -> None:
    assert framed.connect("/" + "x" * 100) is None
    assert framed.connect(str(tmp_path / "absent")) is None


def test_descriptors_are_let_go_of(make: Any, daemon: FakeDaemon) -> None:
    """Of connections that broke, and of clients that were closed."""
    client = make()
    send(client, [0])
    assert client.flush(10)
    there = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(1, 6):
        before = client.stats()["reconnects"]
        daemon.break_streams()
        send(client, [number])
        assert client.flush(10)
        assert wait(lambda before=before: client.stats()["reconnects"] > before)
    assert wait(lambda: len(os.listdir("/proc/self/fd")) <= there)  # noqa: PTH208
    client.close(5)
    assert wait(lambda: len(os.listdir("/proc/self/fd")) < there)  # noqa: PTH208
    assert numbers(daemon) == list(range(6))


def test_a_child_has_none_of_the_parents_sockets(make: Any, daemon: FakeDaemon) -> None:
    """Else the daemon would hold the parent for alive as long as its children are. Python leaves those of the bell open over a fork."""
    client = make()
    send(client, [1])
    assert client.flush(10)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        found = [
            name for name in os.listdir("/proc/self/fd")  # noqa: PTH208
            if os.path.realpath(f"/proc/self/fd/{name}").partition(":")[0].endswith("socket")
        ]  # fmt: skip
        ours = 0
        for name in found:
            with socket.socket(fileno=os.dup(int(name))) as copy:
                try:
                    ours += copy.family == socket.AF_UNIX and copy.getpeername() == daemon.endpoint[5:] + SUFFIX
                except OSError:
                    ours += 0
        os.write(writing, struct.pack("i", ours))
        os._exit(0)
    os.waitpid(child, 0)
    assert struct.unpack("i", os.read(reading, 4)) == (0,)
    os.close(reading)
    os.close(writing)
    send(client, [2])
    assert client.flush(10)
    assert numbers(daemon) == [1, 2]


def test_switches_come_over_it(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    send(client, [1])
    assert client.flush(10)
    daemon.settings(collect=False)
    assert wait(lambda: not client.stats()["collecting"])
    daemon.say(pb.ServerMessage(settings=pb.Settings(collect=True)))
    assert wait(lambda: client.stats()["collecting"])


def test_a_connection_wakes_for_what_comes_and_sleeps_until_something_else_does(make: Any, daemon: FakeDaemon) -> None:
    """It neither looks every now and then, nor spins where it has heard something."""
    client = make()
    send(client, [1])
    assert client.flush(10)
    bell = client._outbox.carrier.bell
    waits: list[float] = []
    wait_for = bell.wait

    def counted(seconds: float, hearing: Any) -> int:
        waits.append(seconds)
        return int(wait_for(seconds, hearing))

    bell.wait = counted
    for collecting in (False, True) * 10:
        daemon.settings(collect=collecting)
        assert wait(lambda collecting=collecting: client.stats()["collecting"] is collecting)
        bell.ring()
    # A piece of news may come in two; between them lie the pauses of `wait`, in which a thread that spins is seen.
    assert 20 <= len(waits) <= 100
    assert min(waits) > 1
