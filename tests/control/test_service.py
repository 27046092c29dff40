"""What an operator asks over the admin socket, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import grpc.aio
import pytest

from collectord._pb import collector_pb2 as pb
from collectord.books import StreamBooks
from collectord.control.client import ControlClient, NoDaemon
from collectord.control.service import FLUSHES, LONGEST_FLUSH, LONGEST_WAIT, MOST_NOTES, TEXT_BYTES, ControlService
from collectord.errors import CallHuman, TryAgain
from collectord.model import Partition, Stream, StreamKind
from collectord.pipeline.rebuilding import Account
from collectord.pipeline.snapshot import WaitingEnd, WaitingPiece, WaitingStream

T = TypeVar("T")


BOOKS = StreamBooks(
    "a/b", received=30, landed=5, in_log=3, parked=6, quarantined=1, expired=7, dropped_from_quarantine=8,
    rejected={"no_rows": 2}, dropped_by_clients={"outbox_full": 4},
)  # fmt: skip


class FakeDaemon:
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.complete = True
        self.error = ""
        self.timeouts: list[float] = []
        self.asked: list[tuple[object, ...]] = []
        self.hold: threading.Event | None = None
        self.entered = threading.Semaphore(0)

    def status(self) -> dict[str, Any]:
        return {"state": "ready", "clients": [{"pid": 1, "sdk": "ä\n"}]}

    def page(self) -> dict[str, Any]:
        return self.status() | {"history": {}}

    def flush(self, timeout: float) -> bool:
        self.timeouts.append(timeout)
        self.entered.release()
        if self.hold is not None:
            self.hold.wait(20)
        return self.complete

    def waiting_rows(self) -> int:
        return 0 if self.complete else 7

    def last_error(self) -> str:
        return self.error

    def books(self) -> list[StreamBooks]:
        return [BOOKS, replace(BOOKS, stream="c", rejected={})]

    def where(self, needles: Sequence[bytes]) -> tuple[list[tuple[str, int, int]], int, bool]:
        return [(needle.hex(), 1 << 62, 7) for needle in needles], 1 << 33, False

    def rebuild(self, begin: bool, skip_doubtful: bool, everywhere: bool, dry_run: bool, wait: float) -> Account:
        self.asked.append((begin, skip_doubtful, everywhere, dry_run, wait))
        return Account(
            done=not begin, error="e", applied=dry_run, rows=9, looked_for=4, blob_bytes=1 << 40, landed=3, waiting=5,
            given_up=6, again=7, notes=[f"note {n}" for n in range(MOST_NOTES + 2)],
        )  # fmt: skip

    def drain(self, on: bool, wait: float) -> tuple[bool, bool, int, str]:
        self.asked.append((on, wait))
        return on, False, 7 if on else 0, "the store is down" if on else ""

    def switches(self) -> dict[str, Any]:
        return {"version": 1}

    def switch(self, webservice: str, patch: Mapping[str, Any], here: bool) -> dict[str, Any]:
        self.asked.append((webservice, patch, here))
        if not here:
            self.entered.release()
            if self.hold is not None:
                self.hold.wait(20)
        return {"version": 2}

    def quarantined(self) -> list[bytes]:
        return [b"a" * 16, b"b" * 16]

    def retry_quarantined(self, id_: bytes) -> int:
        if id_ == b"a" * 16:
            raise TryAgain("the spool is full")
        return 5

    def drop_quarantined(self, id_: bytes) -> int:
        return 6

    def waiting_streams(self) -> list[WaitingStream]:
        return [WaitingStream(Stream(model="m", kind=StreamKind.TRACE), 7)]

    def waiting(
        self, streams: frozenset[str], first_hour: int, last_hour: int, most_bytes: int
    ) -> Iterator[WaitingPiece | WaitingEnd]:
        self.asked.append((streams, first_hour, last_hour, most_bytes))
        text = bytes(range(256)) * (2 * TEXT_BYTES // 256) + b"rest"
        partition = Partition(b"", -5, 60)
        yield WaitingPiece(Stream(model="m"), partition, "b.csv", "csv", b"h\n", b"{}", {0: 1 << 40, 2: 0}, 9, text)
        if self.error:
            raise ValueError(self.error)
        yield WaitingEnd(b"w", 3)


@contextlib.asynccontextmanager
async def serving(path: Path, daemon: FakeDaemon) -> AsyncIterator[Path]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ControlService(daemon).handler(),))
    server.add_insecure_port(f"unix:{quote(str(path / 'admin.sock'))}")
    await server.start()
    try:
        yield path / "admin.sock"
    finally:
        await server.stop(None)


def ask(path: Path, daemon: FakeDaemon, question: Callable[[ControlClient], T]) -> T:
    """Puts a question to a daemon from another thread, as the command line does from another process."""

    def put(socket: Path) -> T:
        with ControlClient(socket) as client:
            return question(client)

    async def scenario() -> T:
        async with serving(path, daemon) as socket:
            return await asyncio.to_thread(put, socket)

    return asyncio.run(scenario())


def test_status_is_the_daemons_document(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    assert ask(tmp_path, daemon, lambda client: client.status()) == daemon.status()


def test_who_may_not_enter_the_spool_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user than the daemon's: nothing has to be started."""

    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with ControlClient(tmp_path / "admin.sock") as client:
        monkeypatch.setattr(Path, "stat", closed)
        with pytest.raises(
            NoDaemon, match=rf"^user {os.geteuid()} may not reach {tmp_path}/admin.sock: ask as the user"
        ):
            client.status()


@pytest.mark.parametrize("name", ["a,b", "a b%2C,", ",a?#"])
def test_a_spool_whose_path_has_a_comma_is_reached(tmp_path: Path, name: str) -> None:
    """gRPC by itself cuts the path there. Nothing stays open."""
    daemon = FakeDaemon()
    folder = tmp_path / name
    with pytest.raises(NoDaemon, match="no daemon answers at"):
        ControlClient(folder / "admin.sock")
    folder.mkdir()

    def held() -> list[Path]:
        return [fd for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == folder.resolve()]

    with ControlClient(folder / "admin.sock") as client:
        assert held()
        with pytest.raises(NoDaemon, match="no daemon answers at"):
            client.status()
    assert ask(folder, daemon, lambda client: client.status()) == daemon.status()
    assert not held()


def test_what_waits_is_told_in_messages_of_a_bounded_size(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    request = pb.WaitingRequest(streams=["a", "b"], first_hour=-7, last_hour=8, most_bytes=1 << 33)
    *pieces, end = ask(tmp_path, daemon, lambda client: list(client.waiting(request)))
    assert daemon.asked == [(frozenset(("a", "b")), -7, 8, 1 << 33)]
    assert [len(one.rows.text) for one in pieces] == [TEXT_BYTES, TEXT_BYTES, 4]
    assert [one.rows.more for one in pieces] == [True, True, False]
    first = pieces[0].rows
    assert (first.start_hour, first.boundary_minutes, first.base, first.rows) == (-5, 60, "b.csv", 9)
    assert (dict(first.known), first.header, first.schema) == ({0: 1 << 40, 2: 0}, b"h\n", b"{}")
    assert (end.end.writer, end.end.left_out) == (b"w", 3)
    (stream,) = ask(tmp_path, daemon, lambda client: list(client.waiting(pb.WaitingRequest(names_only=True))))
    assert (stream.stream.key, stream.stream.rows, stream.stream.stream.kind) == (
        "trace:default/default/default/default/m/default/default/default", 7, StreamKind.TRACE,
    )  # fmt: skip
    daemon.error = "broken"
    with pytest.raises(TryAgain, match="did not answer Waiting: UNKNOWN"):
        ask(tmp_path, daemon, lambda client: list(client.waiting(request)))
    with ControlClient(tmp_path / "nobody.sock") as client, pytest.raises(NoDaemon):
        list(client.waiting(request))


def test_a_complete_flush_says_so(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    answer = ask(tmp_path, daemon, lambda client: client.flush(5.0))
    assert (answer.complete, answer.rows_waiting, answer.reason) == (True, 0, "")
    assert daemon.timeouts == [5.0]


@pytest.mark.parametrize(
    ("error", "reason"), [("", "the timeout has passed"), ("the store is down", "the store is down")]
)
def test_an_incomplete_flush_says_why(tmp_path: Path, error: str, reason: str) -> None:
    daemon = FakeDaemon()
    daemon.complete, daemon.error = False, error
    answer = ask(tmp_path, daemon, lambda client: client.flush(5.0))
    assert (answer.complete, answer.rows_waiting, answer.reason) == (False, 7, reason)


@pytest.mark.parametrize(("asked", "given"), [(0.0, 60.0), (-1.0, 60.0), (float("nan"), 60.0), (1e18, LONGEST_FLUSH)])
def test_a_flush_never_waits_for_ever(tmp_path: Path, asked: float, given: float) -> None:
    daemon = FakeDaemon()

    async def scenario() -> None:
        answer = await ControlService(daemon).flush(pb.FlushRequest(timeout_seconds=asked), None)
        assert answer.complete

    asyncio.run(scenario())
    assert daemon.timeouts == [given]


def test_the_books_arrive_in_full(tmp_path: Path) -> None:
    assert all(getattr(BOOKS, field.name) for field in fields(StreamBooks)), "each number has to be seen to arrive"
    daemon = FakeDaemon()
    assert ask(tmp_path, daemon, lambda client: client.ledger()) == daemon.books()


def test_what_waits_is_searched_for_all_needles_but_empty_ones(tmp_path: Path) -> None:
    """An empty one would be in every entry."""
    answer = ask(tmp_path, FakeDaemon(), lambda client: client.where([b"\xff\x00", b"", b"id"]))
    assert [(one.stream, one.lsn, one.rows) for one in answer.entries] == [("ff00", 1 << 62, 7), ("6964", 1 << 62, 7)]
    assert (answer.bytes_searched, answer.complete) == (1 << 33, False)


def test_flushes_that_wait_hold_up_neither_status_nor_the_loops_own_threads(tmp_path: Path) -> None:
    """The daemon's end runs on those threads."""
    daemon = FakeDaemon()
    daemon.hold = threading.Event()

    async def scenario() -> None:
        async with serving(tmp_path, daemon) as socket:
            clients = [ControlClient(socket) for _ in range(FLUSHES + 2)]
            waiting = [asyncio.create_task(asyncio.to_thread(client.flush, 20.0)) for client in clients[:FLUSHES]]
            for _ in range(FLUSHES):
                while not daemon.entered.acquire(blocking=False):
                    await asyncio.sleep(0)
            assert (await asyncio.to_thread(clients[-1].status))["state"] == "ready"
            assert daemon.hold is not None
            daemon.hold.set()
            assert all(answer.complete for answer in await asyncio.gather(*waiting))
            for client in clients:
                client.__exit__(None, None, None)

    asyncio.run(scenario())


def test_changes_that_wait_for_the_store_hold_up_neither_flushes_nor_this_nodes_own(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    hold = threading.Event()

    async def scenario() -> None:
        run = asyncio.get_running_loop().run_in_executor
        async with serving(tmp_path, daemon) as socket:
            clients = [ControlClient(socket) for _ in range(FLUSHES + 1)]
            daemon.hold = hold
            waiting = [run(pool, client.switch, "s", {}) for client in clients[:FLUSHES]]
            while not daemon.entered.acquire(blocking=False):
                await asyncio.sleep(0)
            daemon.hold = None
            assert (await run(pool, clients[-1].flush, 5.0)).complete
            assert (await run(pool, clients[-1].switch, "s", {}, True)) == {"version": 2}
            assert not any(task.done() for task in waiting)
            hold.set()
            assert await asyncio.gather(*waiting) == [{"version": 2}] * FLUSHES
            for client in clients:
                client.__exit__(None, None, None)

    with ThreadPoolExecutor(FLUSHES + 1) as pool:
        asyncio.run(scenario())


def test_nobody_there_is_said_with_the_path_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with ControlClient(path) as client, pytest.raises(NoDaemon, match="collectord serve") as error:
        client.status()
    assert str(path) in str(error.value)


def test_an_error_of_the_daemon_is_not_mistaken_for_its_absence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = FakeDaemon()
    daemon.status = None  # type: ignore[assignment, method-assign]
    with pytest.raises(TryAgain, match="did not answer Status: UNKNOWN"):
        ask(tmp_path, daemon, lambda client: client.status())


def test_a_daemon_of_an_earlier_version_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    def question(client: ControlClient) -> None:
        client._call("Later", pb.StatusRequest(), pb.StatusResponse, 30.0)

    with pytest.raises(CallHuman, match="of an earlier version: it does not know Later"):
        ask(tmp_path, FakeDaemon(), question)


def test_what_the_status_of_a_daemon_of_an_earlier_version_lacks_is_said_in_words(tmp_path: Path) -> None:
    answer = ask(tmp_path, FakeDaemon(), lambda client: client.status())
    assert answer.get("later") is None
    with pytest.raises(CallHuman, match="of an earlier version: its status does not tell 'later'"):
        answer["later"]
    with pytest.raises(CallHuman, match="does not tell 'later'"):
        answer["clients"][0]["later"]


def test_each_item_of_the_quarantine_is_answered_for_itself(tmp_path: Path) -> None:
    """What cannot be done with one does not keep the next from being done; without ids nothing is done."""
    daemon = FakeDaemon()
    answer = ask(tmp_path, daemon, lambda client: client.retry_quarantined(daemon.quarantined()))
    assert [(one.rows, one.problem) for one in answer.results] == [(0, "the spool is full"), (5, "")]
    answer = ask(tmp_path, daemon, lambda client: client.drop_quarantined([b"b" * 16]))
    assert [(one.id, one.rows) for one in answer.results] == [(b"b" * 16, 6)]
    for question in (ControlClient.retry_quarantined, ControlClient.drop_quarantined):
        answer = ask(tmp_path, daemon, lambda client, question=question: question(client, []))  # type: ignore[misc]
        assert [(one.id, one.rows, one.problem) for one in answer.results] == [(b"a" * 16, 0, ""), (b"b" * 16, 0, "")]


def test_a_rebuild_is_begun_once_and_then_asked_for(tmp_path: Path) -> None:
    daemon = FakeDaemon()
    request = pb.RebuildLedgerRequest(begin=True, doubtful="skip", everywhere=True, wait_seconds=0.5)
    answer = ask(tmp_path, daemon, lambda client: client.rebuild_ledger(request))
    assert (answer.done, answer.applied, answer.error) == (False, False, "e")
    assert (answer.rows, answer.looked_for, answer.blob_bytes) == (9, 4, 1 << 40)
    assert (answer.landed, answer.waiting, answer.given_up, answer.again) == (3, 5, 6, 7)
    assert answer.notes[-1] == "and 2 notes more"
    assert len(answer.notes) == MOST_NOTES + 1
    answer = ask(tmp_path, daemon, lambda client: client.rebuild_ledger(pb.RebuildLedgerRequest(dry_run=True)))
    assert answer.done and answer.applied
    assert daemon.asked == [(True, True, True, False, 0.5), (False, False, False, True, 0.0)]


@pytest.mark.parametrize(("asked", "given"), [(0.5, 0.5), (-1.0, 0.0), (float("nan"), 0.0), (1e18, LONGEST_WAIT)])
def test_a_drain_says_what_is_left_and_why_and_never_holds_its_answer_for_long(
    tmp_path: Path, asked: float, given: float
) -> None:
    daemon = FakeDaemon()

    async def scenario() -> None:
        answer = await ControlService(daemon).drain(pb.DrainRequest(wait_seconds=asked), None)
        assert (answer.draining, answer.empty, answer.rows_waiting, answer.reason) == (
            True,
            False,
            7,
            "the store is down",
        )

    asyncio.run(scenario())
    answer = ask(tmp_path, daemon, lambda client: client.drain(0.0, cancel=True))
    assert (answer.draining, answer.rows_waiting) == (False, 0)
    assert daemon.asked == [(True, given), (False, 0.0)]
