"""Frames made while the one before them is on its way: used once, in order, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from collectord.buffer.index import Index, Slice
from collectord.buffer.seal import SealRules
from collectord.model import Cursor, EntryKind, FrameTag, Lsn, Partition, Schema, Stored
from collectord.pipeline.ahead import Ahead, Made
from collectord.pipeline.framer import Frame, Framer
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import Blocked, Unknown
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until
from tests.pipeline.set_aside import Switch

RULES = SealRules(flush_bytes=100, frame_payload=10_000, flush_interval=60.0, salt=b"s")
A, B, C = (Partition(bytes([at]) * 16, 24, 1440) for at in range(3))


def index(entries: int, *partitions: Partition) -> Index:
    """Entries of ten rows and 100 bytes; two of them make a frame."""
    made = Index(RULES, {})
    for at in range(entries):
        for of in partitions:
            stored = Stored(
                Lsn(at * 100), Lsn(at * 100 + 100), EntryKind.BATCH, bytes(16), 1, 10, of.schema_id, of.start_hour,
                of.boundary_minutes, 100,
            )  # fmt: skip
            made.add(stored, 0.0)
    return made


def made_of(slices: Sequence[Slice]) -> Made:
    return Made(slices, Frame(b"", b"", b"frame", FrameTag(bytes(16), 1, 1)))


def sends(ahead: Ahead, of: Partition, slices: Sequence[Slice]) -> bool:
    rows, payload_bytes = sum(piece.stop - piece.start for piece in slices), sum(piece.bytes for piece in slices)
    return ahead.sends(of, rows, payload_bytes, slices[-1].after)


def test_the_frame_behind_one_that_is_sent_is_made_once() -> None:
    waiting = index(5, A)
    ahead = Ahead(waiting, 4)
    assert not ahead.wanted()
    first = waiting.take(A)
    assert sends(ahead, A, first)
    assert ahead.wanted() == [A]
    second = ahead.begin(A)
    assert [piece.place.lsn for piece in second] == [200, 300]
    assert ahead.is_making(A) and ahead.making == 1 and not ahead.wanted()
    ahead.sent(A)
    waiting.landed(A, first[-1].after, 0.0)
    ahead.end(A, made := made_of(second))
    assert not ahead.making
    assert ahead.take(A) is made
    assert ahead.take(A) is None
    assert not sends(ahead, A, second), "behind it waits half a frame"


def test_a_frame_of_rows_that_do_not_come_next_is_not_used() -> None:
    """Something else has moved the partition on: by a row, by all that waited."""
    for after in (Cursor(Lsn(0), 1), Cursor(Lsn(200), 1), Cursor(Lsn(1000), 0)):
        waiting = index(5, A)
        ahead = Ahead(waiting, 4)
        sends(ahead, A, waiting.take(A))
        slices = ahead.begin(A)
        waiting.landed(A, after, 0.0)
        ahead.end(A, made_of(slices))
        assert ahead.take(A) is None


def test_nothing_is_made_behind_what_has_to_be_sent_again() -> None:
    waiting = index(5, A)
    ahead = Ahead(waiting, 4)
    sends(ahead, A, waiting.take(A))
    ahead.sent(A)
    assert not ahead.wanted()


def test_only_so_many_frames_are_kept() -> None:
    """Of partitions that never come to their next frame the oldest is given up."""
    waiting = index(5, A, B, C)
    ahead = Ahead(waiting, 2)
    for of in (A, B, C):
        sends(ahead, of, first := waiting.take(of))
        ahead.end(of, made_of(ahead.begin(of)))
        waiting.landed(of, first[-1].after, 0.0)
    assert ahead.take(A) is None
    assert ahead.take(B) is not None and ahead.take(C) is not None


class Held(MemoryStore):
    """Whose appends wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.asked = 0

    def append(self, *given: Any) -> Any:
        self.asked += 1
        assert self.open.wait(30)
        return super().append(*given)


@pytest.fixture
def store() -> Iterator[Held]:
    made = Held()
    yield made
    made.open.set()


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each frame that is made."""
    made, make = list[int](), Framer.make

    def counted(*given: Any) -> Frame:
        frame = make(*given)
        made.append(frame.tag.rows)
        return frame

    monkeypatch.setattr(Framer, "make", counted)
    return made


def test_one_frame_is_made_while_another_is_on_its_way(
    node: Callable[..., Node], store: Held, frames: list[int]
) -> None:
    """And only one, which then lands as it was made."""
    running = node(flush_bytes=4096)
    client = Client(schema())
    running.append(client.batch(5000))
    wait_until(lambda: store.asked == 1 and len(frames) == 2)
    running.append(client.batch(10))
    assert len(frames) == 2
    store.open.set()
    assert running.pipeline.flush(20)
    assert landed_ids(store) == client.ids
    assert running.balanced()
    appends = [request for request in store.requests if request[0] == "append"]
    assert sum(frames) == len(client.ids) and len(frames) <= len(appends)


def test_a_stream_that_is_due_comes_before_a_frame_ahead(
    node: Callable[..., Node], store: Held, frames: list[int]
) -> None:
    """Four workers and four streams whose store hangs: nobody is left for what may come next."""
    running = node(flush_bytes=4096)
    clients = [Client(schema(name)) for name in ("a", "b", "c", "d")]
    running.append(*(client.batch(30) for client in clients))
    threading.Thread(target=running.pipeline.flush, args=(20,)).start()
    wait_until(lambda: store.asked == 4)
    running.append(*(client.batch(3000) for client in clients))
    assert len(frames) == 4
    store.open.set()
    running.settle()
    for client in clients:
        assert landed_ids(store, f"/{client.schema.stream.designation}/") == client.ids


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, no second frame of the stream `a` gets done."""
    go, make, first = threading.Event(), Framer.make, threading.Event()

    def waiting(self: Framer, of: Schema, *given: Any) -> Frame:
        if of.stream.designation == "a" and first.is_set():
            assert go.wait(30)
        first.set()
        return make(self, of, *given)

    monkeypatch.setattr(Framer, "make", waiting)
    yield go
    go.set()


def test_nobody_else_makes_a_frame_that_is_being_made(
    node: Callable[..., Node], store: Held, slow: threading.Event
) -> None:
    """The one before it has landed meanwhile."""
    running = node(flush_bytes=4096)
    client = Client(schema("a"))
    store.open.set()
    running.append(client.batch(1000))
    wait_until(lambda: running.numbers()[1] > 0)
    wait_until(lambda: running.pipeline.dispatch._running == 1)
    running.pipeline.dispatch.hand_out()
    assert running.pipeline.dispatch._running == 1
    slow.set()
    running.settle()
    assert landed_ids(store) == client.ids


def test_a_frame_ahead_takes_a_worker(node: Callable[..., Node], store: Held, slow: threading.Event) -> None:
    """Of four, one sends, one makes what is next, and two have other streams; the third of those waits."""
    running = node(flush_bytes=4096)
    clients = [Client(schema(name)) for name in ("a", "b", "c", "d")]
    running.append(clients[0].batch(1000))
    wait_until(lambda: store.asked == 1 and running.pipeline.dispatch._running == 2)
    running.append(*(client.batch(30) for client in clients[1:]))
    flush = threading.Thread(target=running.pipeline.flush, args=(20,))
    flush.start()
    wait_until(lambda: store.asked == 3)
    running.pipeline.dispatch.hand_out()
    assert running.pipeline.dispatch._running == 4
    slow.set()
    store.open.set()
    flush.join()
    running.settle()
    for client in clients:
        assert landed_ids(store, f"/{client.schema.stream.designation}/") == client.ids


def test_while_a_blob_refuses_nothing_is_made_for_it(node: Callable[..., Node], store: Held, frames: list[int]) -> None:
    running = node(flush_bytes=4096)
    client = Client(schema())
    store.open.set()
    store.plan("append", *[Fault(Blocked("authorization", "no"))] * 1000)
    running.append(client.batch(5))
    wait_until(lambda: running.pipeline.flush(0.1) or store.fired > 1)
    running.append(client.batch(3000))
    wait_until(lambda: running.numbers()[0] == 3005)
    tried = store.fired
    wait_until(lambda: running.pipeline.flush(0.1) or store.fired > tried + 2)
    assert frames == [5]
    store.heal()
    running.settle()
    assert landed_ids(store) == client.ids


def test_a_frame_lands_once_though_the_one_before_it_was_sent_again(node: Callable[..., Node], store: Held) -> None:
    """Its append took place, the answer did not arrive, and behind it another one was ready."""
    running = node(flush_bytes=4096)
    client = Client(schema())
    store.plan("append", None, *[Fault(Unknown("reset"), when="after"), None] * 5)
    running.append(client.batch(5000))
    store.open.set()
    running.settle()
    assert store.fired == 5
    assert landed_ids(store) == client.ids
    assert running.balanced()


def test_what_cannot_be_made_ahead_is_dealt_with_in_its_turn(
    node: Callable[..., Node], store: Held, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is poison no earlier than it would have been, and what lies before and behind it lands."""
    monkeypatch.setattr("collectord.pipeline.poison.FIRST_PAUSE", 0.01)
    running = node(flush_bytes=4096)
    client = Client(schema())
    encoder.limit = 400
    running.append(*(client.batch(400) for _ in range(5)), client.batch(401), *(client.batch(400) for _ in range(5)))
    wait_until(lambda: store.asked == 1)
    store.open.set()
    running.settle()
    assert running.numbers() == (4401, 4000, 0, 401)
    assert landed_ids(store) == client.ids[:2000] + client.ids[2401:]
