"""A stream that cannot land leaves the log: others keep their room, its rows land once when it heals, the books balance."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectord.books import StreamBooks
from collectord.errors import SpoolFull
from collectord.pipeline import parking, troubles
from collectord.testing.store import MemoryStore
from collectord.upload.ledger import Ledger
from collectord.upload.store import AppendOutcome, Blocked, Unknown
from collectord.wal.disk import Disk
from collectord.wal.parked import ParkedLog
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until
from tests.pipeline.test_poison import waiting

SEGMENT = 128 << 10
LOG = 12 * SEGMENT


class PickyStore(MemoryStore):
    """Says no to every append whose blob's name has `word` in it."""

    def __init__(self) -> None:
        super().__init__()
        self.word = "inputs"
        self.answer: AppendOutcome = Blocked("forbidden", "403")

    def append(self, blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        if self.word and self.word in blob:
            return self.answer
        return super().append(blob, data, position)


@pytest.fixture
def store() -> PickyStore:
    return PickyStore()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep many times a second, and small parked files."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    monkeypatch.setattr(parking, "TIDY_SECONDS", 0.0)
    monkeypatch.setattr(parking, "PAUSE_SECONDS", 0.05)


@pytest.fixture
def node(tmp_path: Path, store: PickyStore) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(**settings: Any) -> Node:
        given = {"flush_interval": 0.05, "segment_bytes": SEGMENT, "log_bytes": LOG} | settings
        nodes.append(Node(tmp_path / "spool", store, **given))
        return nodes[-1]

    yield make
    for made in nodes:
        made.stop()


def blocked(running: Node, rows: int = 20) -> tuple[Client, Client]:
    """The clients of a bad stream and of a good one; rows of the bad one, until it is known to be bad."""
    sick, healthy = Client(schema("inputs")), Client(schema("labels"))
    running.append(sick.batch(rows))
    wait_until(lambda: any(one.blocked for _, one in running.pipeline.overview.troubles()))
    return sick, healthy


def fill(running: Node, healthy: Client, sick: Client | None, times: int, rows: int = 1000) -> None:
    """Much of one stream, and a little of the other; as soon as it may be."""
    for _ in range(times):
        wait_until(lambda: running.log.used_bytes + 2 * SEGMENT < running.log.budget)
        running.append(healthy.batch(rows))
        if sick is not None:
            running.append(sick.batch(5))


def parked(running: Node, healthy: Client, sick: Client, times: int) -> None:
    """So much of both streams that some of the bad one leaves the log."""
    fill(running, healthy, sick, times)
    wait_until(lambda: running.pipeline.overview.parked()["files"] > 0)


def heal(running: Node, store: PickyStore) -> None:
    store.word = ""
    wait_until(lambda: running.pipeline.flush(0.5))


def healed(running: Node, store: PickyStore, sick: Client) -> None:
    """The bad stream is good again, and its rows land, in their order and once."""
    heal(running, store)
    assert landed_ids(store, "inputs") == sick.ids


def book_of_the_sick(running: Node) -> StreamBooks:
    (book,) = (book for book in running.pipeline.overview.books() if "inputs" in book.stream)
    return book


def test_a_blocked_stream_is_parked_and_others_land(node: Callable[..., Node], store: PickyStore) -> None:
    """Four times the log's budget goes through while one stream waits; its rows land in order, once, when it heals."""
    running = node()
    sick, healthy = blocked(running)
    fill(running, healthy, sick, 4 * LOG // 40_000)
    assert running.log.used_bytes <= LOG
    # Between the copy and the end of its segments both are there, for a moment.
    wait_until(lambda: running.log.used_bytes + running.pipeline.overview.parked()["bytes"] <= LOG)
    assert not running.pipeline.overview.parked()["refused_partitions"]
    book = book_of_the_sick(running)
    assert (book.received, book.landed, book.missing) == (len(sick.ids), 0, 0)
    assert 0 < book.parked <= running.pipeline.overview.parked()["rows"]
    assert book.in_log == book.received - book.parked
    assert running.balanced()
    healed(running, store, sick)
    assert landed_ids(store, "labels") == healthy.ids
    wait_until(lambda: running.pipeline.overview.parked()["files"] == 0)
    assert running.log.budget == LOG
    assert running.balanced()


def test_a_restart_reads_what_is_parked_before_the_log(node: Callable[..., Node], store: PickyStore) -> None:
    """Half of it lands before the stop and half after it, nothing twice."""
    running = node(flush_bytes=2048)
    sick, healthy = blocked(running, rows=600)
    parked(running, healthy, sick, 40)
    rows = running.pipeline.overview.parked()["rows"]
    running.stop()
    again = node(flush_bytes=2048)
    assert again.pipeline.overview.parked()["rows"] == rows
    assert again.balanced()
    take = store.append
    lock, left = threading.Lock(), [3]

    def three(blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        with lock:
            if "inputs" in blob:
                left[0] -= 1
            return take(blob, data, position) if left[0] >= 0 else Blocked("forbidden", "403")

    store.word = ""
    store.append = three  # type: ignore[method-assign]
    wait_until(lambda: again.pipeline.flush(0.1) or left[0] < 0)
    assert again.balanced()
    again.stop()
    assert 0 < len(landed_ids(store, "inputs")) < len(sick.ids)
    store.append = take  # type: ignore[method-assign]
    third = node()
    assert third.balanced()
    healed(third, store, sick)
    wait_until(lambda: not list((third.spool / "parked").iterdir()))
    assert third.balanced()


def test_a_store_that_is_down_for_all_parks_nothing(node: Callable[..., Node], store: PickyStore) -> None:
    """Copying what is nearly all of a segment would gain nothing, whether the store refuses or says nothing."""
    for answer in (Blocked("forbidden", "403"), Unknown("no answer")):
        store.word, store.answer = "/", answer
        running = node()
        client = Client(schema("inputs"))
        running.append(client.batch(10))
        wait_until(lambda running=running: running.pipeline.overview.troubles())  # type: ignore[misc]
        while running.log.used_bytes + 2 * SEGMENT < LOG:
            running.append(client.batch(1000))
        looks = [0]
        look = running.pipeline._parking.maintain

        def counted(position: Any, looks: list[int] = looks, look: Any = look) -> None:
            looks[0] += 1
            look(position)

        running.pipeline._parking.maintain = counted  # type: ignore[method-assign]
        wait_until(lambda looks=looks: looks[0] > 10)  # type: ignore[misc]
        assert not running.pipeline.overview.parked()["files"]
        assert not running.pipeline.is_refused(running.pipeline._state.index.partitions()[0])
        heal(running, store)
        running.stop()


def test_a_store_that_begins_to_refuse_everybody_has_nobodys_rows_rejected(
    node: Callable[..., Node], store: PickyStore
) -> None:
    """A full disk, rights that were taken away: that rows landed a moment before does not make it the fault of a stream."""
    store.word = ""
    running = node(parked_budget=SEGMENT)
    client, partition = Client(schema("inputs")), None
    running.append(client.batch(10))
    wait_until(lambda: len(landed_ids(store, "inputs")) == 10)
    store.word = "/"
    while running.log.used_bytes + 2 * SEGMENT < LOG:
        batch = client.batch(1000)
        partition = batch.partition
        running.append(batch)
    wait_until(lambda: running.pipeline.overview.troubles())
    looks = [0]
    look = running.pipeline._parking.maintain

    def counted(position: Any) -> None:
        looks[0] += 1
        look(position)

    running.pipeline._parking.maintain = counted  # type: ignore[method-assign]
    wait_until(lambda: looks[0] > 10)
    assert partition is not None
    assert not running.pipeline.is_refused(partition)
    assert not running.pipeline.overview.parked()["files"]
    healed(running, store, client)


def test_what_was_mended_for_one_stream_is_tried_for_all_at_once(node: Callable[..., Node], store: PickyStore) -> None:
    """Until then it says nothing against the others that one of them lands again."""
    store.word = "/"
    running = node(parked_budget=1)
    clients = [Client(schema(name)) for name in ("inputs", "labels")]
    batches = [client.batch(10) for client in clients]
    for batch in batches:
        running.append(batch)
    wait_until(lambda: sum(one.blocked for _, one in running.pipeline.overview.troubles()) == 2)
    state, later = running.pipeline._state, time.monotonic() + 1000
    with state.lock:
        for base, one in state.troubles.all():
            one.until, one.failed = (later if "labels" in base else float("-inf")), float("-inf")
        state.wake()
    refused: list[frozenset[Any]] = []
    look = running.pipeline._parking.maintain

    def watched(position: Any) -> None:
        look(position)
        refused.append(running.pipeline._parking.refused)

    take, go = store.append, threading.Event()

    def slowly(blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        assert "labels" not in blob or go.wait(20)
        return take(blob, data, position)

    store.append = slowly  # type: ignore[method-assign]
    running.pipeline._parking.maintain = watched  # type: ignore[method-assign]
    store.word = ""
    wait_until(lambda: len(landed_ids(store, "inputs")) == 10)
    refused.clear()
    wait_until(lambda: len(refused) > 3)
    assert set(refused) == {frozenset()}
    go.set()
    wait_until(lambda: len(landed_ids(store, "labels")) == 10)


@pytest.mark.parametrize("answer", [Blocked("forbidden", "403"), Unknown("no answer")])
def test_a_store_that_takes_something_for_a_moment_has_nobodys_rows_rejected(
    node: Callable[..., Node], store: PickyStore, monkeypatch: pytest.MonkeyPatch, answer: AppendOutcome
) -> None:
    """One lands, and then everybody is refused again, or nobody answered: the others have not been alone with it."""
    monkeypatch.setattr(troubles, "STUCK_SECONDS", 0.0)
    store.word, store.answer = "/", answer
    running = node(parked_budget=1)
    lucky, other = Client(schema("inputs")), Client(schema("labels"))
    running.append(other.batch(10))
    running.append(lucky.batch(10))
    wait_until(lambda: len(running.pipeline.overview.troubles()) == 2)
    state, later = running.pipeline._state, time.monotonic() + 1000
    refused: list[frozenset[Any]] = []
    look = running.pipeline._parking.maintain

    def watched(position: Any) -> None:
        look(position)
        refused.append(running.pipeline._parking.refused)

    running.pipeline._parking.maintain = watched  # type: ignore[method-assign]
    with state.lock:
        for base, one in state.troubles.all():
            one.until = later if "labels" in base else float("-inf")
        store.word = "labels"
        state.wake()
    wait_until(lambda: len(running.pipeline.overview.troubles()) == 1)
    store.word = "/"
    (trouble,) = (one for _, one in running.pipeline.overview.troubles())
    with state.lock:
        trouble.until = float("-inf")
        state.wake()
    wait_until(lambda: all(one is not trouble for _, one in running.pipeline.overview.troubles()))
    running.append(lucky.batch(10))
    wait_until(lambda: len(running.pipeline.overview.troubles()) == 2)
    looks = len(refused)
    wait_until(lambda: len(refused) > looks + 3)
    assert set(refused) == {frozenset()}
    heal(running, store)
    assert (landed_ids(store, "inputs"), landed_ids(store, "labels")) == (lucky.ids, other.ids)


def test_when_no_more_may_wait_only_that_stream_is_refused(node: Callable[..., Node], store: PickyStore) -> None:
    """Others go on for as long as they like; the stream is let in again when it has healed."""
    running = node(parked_budget=5 * SEGMENT)
    sick, healthy = blocked(running)
    partition = sick.batch(1).partition
    del sick.ids[-1]
    sick.sequence -= 1
    assert partition is not None and healthy.batch(1).partition is not None
    del healthy.ids[-1]
    while not running.pipeline.is_refused(partition):
        fill(running, healthy, sick, 1, rows=200)
        running.append(sick.batch(100))
    assert not running.pipeline.is_refused(healthy.batch(0 + 1).partition)  # type: ignore[arg-type]
    del healthy.ids[-1]
    fill(running, healthy, None, 3 * LOG // 40_000)
    assert running.pipeline.is_refused(partition)
    assert running.pipeline.overview.parked()["bytes"] <= 5 * SEGMENT
    assert running.balanced()
    healed(running, store, sick)
    assert landed_ids(store, "labels") == healthy.ids
    wait_until(lambda: not running.pipeline.is_refused(partition))
    assert running.balanced()


class Kill(BaseException):
    """The process ends here."""


class FailingDisk(Disk):
    """Fails at one step, as often as told: with an error, or as if killed."""

    def __init__(self, step: str, error: BaseException) -> None:
        self.step, self.error, self.left, self.fired = step, error, 1, 0

    def _maybe(self, step: str) -> None:
        if self.fired and isinstance(self.error, Kill):
            raise self.error  # dead is dead
        if step == self.step and self.left:
            self.left -= 1
            self.fired += 1
            raise self.error

    def create(self, path: Path, size: int) -> int:
        self._maybe("create")
        return super().create(path, size)

    def write(self, fd: int, buffers: Any, offset: int) -> int:
        self._maybe("write")
        return super().write(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        self._maybe("sync")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._maybe("before rename")
        super().rename(source, target)
        self._maybe("after rename")

    def remove(self, path: Path) -> None:
        self._maybe("before remove")
        super().remove(path)
        self._maybe("after remove")


@pytest.mark.parametrize("step", ["create", "write", "sync", "before rename"])
def test_parking_that_fails_is_tried_again(node: Callable[..., Node], store: PickyStore, step: str) -> None:
    """A full or failing disk: nothing is left behind, nothing is lost, and it goes on later."""
    disk = FailingDisk(step, OSError(28, "no space"))
    running = node(parked_disk=disk)
    sick, healthy = blocked(running)
    parked(running, healthy, sick, 80)
    assert disk.fired == 1
    # The next file may be under way just now.
    wait_until(lambda: {path.suffix for path in (running.spool / "parked").iterdir()} == {".parked"})
    healed(running, store, sick)
    assert running.balanced()


@pytest.mark.parametrize("step", ["create", "write", "sync", "before rename", "after rename"])
def test_a_kill_at_any_step_of_parking_loses_and_doubles_nothing(
    node: Callable[..., Node], store: PickyStore, step: str
) -> None:
    """Between two steps of the copy, and between the copy and the end of the segment: entries that are in both count once."""
    disk = FailingDisk(step, Kill())
    running = node(parked_disk=disk)
    sick, healthy = blocked(running)
    while not disk.fired:
        # Who writes faster than is parked is refused at some point.
        wait_until(lambda: disk.fired or running.log.used_bytes + 2 * SEGMENT < running.log.budget)
        running.append(healthy.batch(500), sick.batch(5))
    running.stop()
    again = node()
    assert again.balanced()
    assert sum(book.received for book in again.pipeline.overview.books()) == len(sick.ids) + len(healthy.ids)
    assert bool(again.pipeline.overview.parked()["files"]) == (step == "after rename")
    again.append(sick.batch(3))
    healed(again, store, sick)
    assert landed_ids(store, "labels") == healthy.ids
    assert again.balanced()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("step", ["before remove", "after remove"])
def test_a_kill_while_a_parked_file_goes_doubles_nothing(
    node: Callable[..., Node], store: PickyStore, step: str
) -> None:
    disk = FailingDisk(step, Kill())
    running = node(parked_disk=disk)
    sick, healthy = blocked(running)
    parked(running, healthy, sick, 80)
    store.word = ""
    running.pipeline.flush(0.1)
    wait_until(lambda: disk.fired)
    running.stop()
    again = node()
    assert again.balanced()
    healed(again, store, sick)
    wait_until(lambda: again.pipeline.overview.parked()["files"] == 0)
    assert again.balanced()


def test_damage_in_a_parked_file_is_counted_and_the_rest_lands(node: Callable[..., Node], store: PickyStore) -> None:
    """A flipped bit in a payload while the daemon runs, and one in a header while it does not: each costs its entry."""
    running = node()
    sick, healthy = blocked(running)
    for _ in range(4):
        # Into its first file, however little of the log that is made of.
        running.append(sick.batch(5))
    parked(running, healthy, sick, 100)
    running.stop()
    path = sorted((running.spool / "parked").iterdir())[0]
    (file, *_) = ParkedLog(running.spool / "parked", running.ledger_spool_id).files()
    content = bytearray(path.read_bytes())
    content[file.offsets[2] + 40] ^= 1  # in a header
    content[file.offsets[4] + 96 + 30] ^= 1  # in a payload
    path.write_bytes(content)
    again = node()
    assert again.balanced()
    lost = {book.stream: book.quarantined for book in again.pipeline.overview.books()}
    assert sum(lost.values()) == 5
    heal(again, store)
    landed = landed_ids(store, "inputs")
    assert landed == [one for one in sick.ids if one in set(landed)] and len(landed) == len(sick.ids) - 10
    book = book_of_the_sick(again)
    assert (book.quarantined, book.missing) == (10, 0)
    assert again.balanced()


def test_an_entry_that_was_damaged_before_it_was_parked_stays_damaged(
    node: Callable[..., Node], store: PickyStore
) -> None:
    """Parking never makes good what was not: its rows are quarantined when their turn comes, with the bytes there were."""
    running = node()
    sick, healthy = blocked(running)
    segment = running.log.catalog.segments()[-1]
    running.append(sick.batch(7))
    del sick.ids[-7:]
    place = waiting(running, rows=7)
    with segment.path.open("r+b") as file:
        file.seek(place.lsn - segment.base + 96 + 60)
        file.write(os.urandom(8))
    parked(running, healthy, sick, 80)
    running.stop()
    again = node()
    assert again.balanced()
    healed(again, store, sick)
    book = book_of_the_sick(again)
    assert (book.quarantined, book.missing) == (7, 0)
    assert again.pipeline.shelf.totals() == (1, 7)


def test_a_parked_file_that_comes_back_after_a_power_loss_lands_nothing_twice(
    node: Callable[..., Node], store: PickyStore
) -> None:
    """It was removed, and the disk forgot that. All of it has landed, and the cursors that said so are gone by now."""
    running = node()
    sick, healthy = blocked(running)
    parked(running, healthy, sick, 40)
    path = sorted((running.spool / "parked").iterdir())[0]
    content = path.read_bytes()
    heal(running, store)
    wait_until(lambda: running.pipeline.overview.parked()["files"] == 0)
    fill(running, healthy, None, 20)
    wait_until(lambda: running.pipeline.flush(0.5))
    wait_until(lambda: len(running.log.catalog.segments()) == 1)
    with running.pipeline._state.lock:
        free = running.pipeline._upkeep._free_before()
    running.pipeline._upkeep._prune(free)
    assert not [one for one in running.ledger.cursors() if one.schema_id == sick.schema.id]
    running.stop()
    path.write_bytes(content)
    again = node()
    assert again.balanced()
    again.append(sick.batch(4))
    healed(again, store, sick)
    wait_until(lambda: again.pipeline.overview.parked()["files"] == 0)
    assert again.balanced()


def test_rows_of_a_parked_file_that_somebody_took_away_are_lost_and_told(
    node: Callable[..., Node], store: PickyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted once, at the next start; the rest lands, and the books balance."""
    running = node()
    sick, healthy = blocked(running)
    for _ in range(4):
        # Into its first file, however little of the log that is made of.
        running.append(sick.batch(5))
    parked(running, healthy, sick, 100)
    running.stop()
    path = sorted((running.spool / "parked").iterdir())[0]
    path.unlink()
    for start in range(2):
        again = node()
        told = [record for record in caplog.records if "parked files are gone" in record.getMessage()]
        assert len(told) == 1 and path.name in str(told[0].__dict__)
        assert again.balanced()
        book = book_of_the_sick(again)
        assert book.quarantined > 0
        if not start:
            again.stop()
    heal(again, store)
    landed = landed_ids(store, "inputs")
    assert landed == [one for one in sick.ids if one in set(landed)]
    assert len(landed) == len(sick.ids) - book.quarantined
    assert again.balanced()


def test_a_parked_file_that_goes_by_itself_is_missed_by_nobody(
    node: Callable[..., Node], store: PickyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger forgets it first: a kill in between leaves a file, and never a gap."""
    disk = FailingDisk("before remove", OSError(5, "the disk fails"))
    running = node(parked_disk=disk)
    sick, healthy = blocked(running)
    parked(running, healthy, sick, 80)
    there = {file.base for file in running.pipeline._parked.files()}
    assert there <= running.ledger.parked()
    heal(running, store)
    wait_until(lambda: disk.fired and running.pipeline.overview.parked()["files"] == 0)
    assert not running.ledger.parked()
    running.stop()
    assert node().balanced()
    assert not [record for record in caplog.records if "gone" in record.getMessage()]


def test_a_ledger_without_room_parks_nothing(
    node: Callable[..., Node], store: PickyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No segment goes for a file that would not be missed; it is tried again."""
    running = node()
    note, refused = Ledger.note_parked, [2]

    def full(self: Ledger, bases: Any) -> None:
        if refused[0] > 0:
            refused[0] -= 1
            assert not running.pipeline.overview.parked()["files"]
            raise SpoolFull("no room")
        note(self, bases)

    monkeypatch.setattr(Ledger, "note_parked", full)
    sick, healthy = blocked(running)
    parked(running, healthy, sick, 80)
    assert refused[0] == 0
    healed(running, store, sick)
    assert running.balanced()
    running.stop()
    assert {file.path for file in running.pipeline._parked.files()} == set((running.spool / "parked").iterdir())


def test_rows_of_a_quiet_stream_do_not_keep_the_log_full_of_what_has_landed(
    node: Callable[..., Node], store: PickyStore
) -> None:
    """Though it has an hour: three times the log's budget goes by, and its rows land when the log is nearly full."""
    store.word = ""
    running = node(flush_interval=3600, flush_bytes=64 << 10)
    quiet, busy = Client(schema("labels")), Client(schema("inputs"))
    running.append(quiet.batch(3))
    for _ in range(120):
        wait_until(lambda: running.log.used_bytes + 2 * SEGMENT < running.log.budget)
        running.append(busy.batch(1000))
    assert landed_ids(store, "labels") == quiet.ids
    assert running.balanced()


def test_of_blocked_streams_those_of_whoever_has_most_waiting_are_refused(
    node: Callable[..., Node], store: PickyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's that are blocked too, and are few, go on to be taken in."""
    store.word = "inputs"
    running = node(parked_budget=2 * SEGMENT)
    greedy, modest, healthy = (Client(schema(name)) for name in ("inputs-a", "inputs-b", "labels"))
    monkeypatch.setattr(
        running.pipeline._state.index,
        "whose",
        lambda one: "greedy" if one.schema_id == greedy.schema.id else "others",
    )
    for client in (greedy, modest):
        running.append(client.batch(5))
    wait_until(lambda: sum(one.blocked for _, one in running.pipeline.overview.troubles()) == 2)
    for _ in range(4):
        running.append(greedy.batch(2000))
    running.append(healthy.batch(1))
    partitions = [client.batch(1).partition for client in (greedy, modest)]
    wait_until(lambda: running.pipeline.is_refused(partitions[0]))
    assert not running.pipeline.is_refused(partitions[1])
    store.word = ""
