"""What goes into quarantine and out of it is counted once, whenever the process dies."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectord import quarantine
from collectord.errors import SpoolFull, TryAgain
from collectord.pipeline.framer import Framer
from collectord.pipeline.rebuild import Options
from collectord.pipeline.shelf import Shelf
from collectord.pipeline.sources import Sources
from collectord.quarantine import BadItem
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.held import Held
from collectord.upload.ledger import Ledger
from collectord.upload.store import Blocked
from collectord.wal.damage import DamagedEntry
from collectord.wal.identity import spool_of
from tests.pipeline.node import Client, Node, landed_ids, node, schema, store, wait_until

__all__ = ["node", "store"]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Kill(BaseException):
    """The process ends here."""


class Switch:
    """Whether the encoder fails with the batches of more than `limit` rows."""

    def __init__(self) -> None:
        self.limit = 5


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    switch, make = Switch(), Framer.make

    def some(self: Framer, of: Any, plan: Any, slices: Any, payloads: Any) -> Any:
        if any(piece.rows > switch.limit for piece in slices):
            raise ValueError("too many for today")
        return make(self, of, plan, slices, payloads)

    monkeypatch.setattr(Framer, "make", some)
    yield switch


def numbers(running: Node) -> tuple[int, int, int, int]:
    """Received, landed, waiting and quarantined, which balance."""
    (book,) = running.pipeline.overview.books()
    assert book.missing == 0, book
    return book.received, book.landed, book.in_log, book.quarantined


def settled(running: Node) -> None:
    wait_until(lambda: running.pipeline.flush(0.2))


def directory(running: Node) -> Path:
    return running.spool / quarantine.ROWS_DIRECTORY


def poisoned(running: Node, client: Client, rows: int = 8) -> bytes:
    """Puts an entry of so many rows into quarantine, between two that land."""
    before = set(quarantine.ids(directory(running)))
    running.append(client.batch(2), client.batch(rows), client.batch(3))
    settled(running)
    (id_,) = set(quarantine.ids(directory(running))) - before
    return id_


def test_a_retried_item_lands_once_and_is_received_once(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    """The log counts its rows a second time; the books do not, now or after a restart."""
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    assert numbers(running) == (13, 5, 0, 8)
    encoder.limit = 100
    assert running.pipeline.shelf.retry(id_) == 8
    assert numbers(running)[0] == 13 and numbers(running)[3] == 0
    settled(running)
    assert numbers(running) == (13, 13, 0, 0)
    assert sorted(landed_ids(store)) == sorted(client.ids)
    assert not quarantine.ids(directory(running))
    running.stop()
    again = node()
    assert numbers(again) == (13, 13, 0, 0)


def test_an_item_that_fails_again_is_an_item_again(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    running = node()
    id_ = poisoned(running, Client(schema()))
    running.pipeline.shelf.retry(id_)
    settled(running)
    (other,) = quarantine.ids(directory(running))
    assert other != id_
    assert numbers(running) == (13, 5, 0, 8)
    running.stop()
    assert numbers(node()) == (13, 5, 0, 8)


def test_dropped_rows_are_counted_as_such(node: Callable[..., Node], store: MemoryStore, encoder: Switch) -> None:
    running = node()
    id_ = poisoned(running, Client(schema()))
    assert running.pipeline.shelf.drop(id_) == 8
    for one in (running, None):
        if one is None:
            running.stop()
            one = node()
        (book,) = one.pipeline.overview.books()
        assert (book.quarantined, book.dropped_from_quarantine, book.missing) == (0, 8, 0)
        with pytest.raises(BadItem):
            one.pipeline.shelf.drop(id_)
        with pytest.raises(BadItem):
            one.pipeline.shelf.retry(id_)


def killed(monkeypatch: pytest.MonkeyPatch, of: type, name: str, when: str) -> list[int]:
    """The process dies in this method, before or after it has done its work. Returns how often it did."""
    original, fired = getattr(of, name), list[int]()

    def dying(*arguments: Any, **named: Any) -> Any:
        if when == "after" and not fired:
            original(*arguments, **named)
        fired.append(1)
        raise Kill

    monkeypatch.setattr(of, name, dying)
    return fired


@pytest.mark.parametrize(
    ("method", "when"), [("put", "before"), ("put", "after")], ids=["file, no ledger", "ledger, no memory"]
)
def test_a_kill_while_an_item_goes_in(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch,
    method: str, when: str,
) -> None:  # fmt: skip
    """The file without the ledger's word is made again; the ledger's word is enough."""
    running = node()
    client = Client(schema())
    with monkeypatch.context() as patch:
        fired = killed(patch, Held, method, when)
        running.append(client.batch(2), client.batch(8), client.batch(3))
        wait_until(lambda: running.pipeline.flush(0.05) or bool(fired))
        running.stop()
    assert len(quarantine.ids(directory(running))) == 1
    again = node()
    settled(again)
    assert numbers(again) == (13, 5, 0, 8)
    (id_,) = quarantine.ids(directory(again))
    encoder.limit = 100
    again.pipeline.shelf.retry(id_)
    settled(again)
    assert sorted(landed_ids(store)) == sorted(client.ids)
    assert numbers(again) == (13, 13, 0, 0)


@pytest.mark.parametrize(
    ("of", "method", "when"),
    [
        (Shelf, "_append", "before"), (Shelf, "recognise", "before"), (Held, "put_again", "before"),
        (Held, "put_again", "after"), (Shelf, "settle", "before"), (Held, "forget", "before"), (Held, "forget", "after"),
    ],
)  # fmt: skip
def test_a_kill_at_any_step_of_a_retry(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch,
    of: type, method: str, when: str,
) -> None:  # fmt: skip
    """Before the log has it, the item stays; from then on it counts as waiting. Trying once more doubles nothing."""
    monkeypatch.setattr("collectord.pipeline.shelf.COMMIT_PATIENCE", 0.3)
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    encoder.limit = 100
    with monkeypatch.context() as patch:
        fired = killed(patch, of, method, when)
        try:
            running.pipeline.shelf.retry(id_)
        except (Kill, TryAgain):
            fired.append(1)
        wait_until(lambda: bool(fired))
        running.stop()
    again = node()
    assert numbers(again)[0] == 13
    try:
        assert again.pipeline.shelf.retry(id_) == 8
        assert method == "_append"
    except BadItem:
        assert method != "_append"
    settled(again)
    assert numbers(again) == (13, 13, 0, 0)
    assert sorted(landed_ids(store)) == sorted(client.ids)
    assert not quarantine.ids(directory(again))
    again.stop()
    assert numbers(node()) == (13, 13, 0, 0)


@pytest.mark.parametrize(("method", "when"), [("drop", "before"), ("drop", "after"), ("forget", "before")])
def test_a_kill_at_any_step_of_a_drop(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch,
    method: str, when: str,
) -> None:  # fmt: skip
    running = node()
    id_ = poisoned(running, Client(schema()))
    with monkeypatch.context() as patch:
        killed(patch, Held, method, when)
        with pytest.raises(Kill):
            running.pipeline.shelf.drop(id_)
        running.stop()
    again = node()
    done = (method, when) != ("drop", "before")
    (book,) = again.pipeline.overview.books()
    assert (book.quarantined, book.dropped_from_quarantine, book.missing) == ((0, 8, 0) if done else (8, 0, 0))
    assert bool(quarantine.ids(directory(again))) is not done


def test_a_ledger_without_room_keeps_the_segment_until_it_knows(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retried entry was read, but the ledger cannot say so: nothing of the log goes before it can."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    encoder.limit = 100
    put_again, full = Held.put_again, [True]

    def sometimes(self: Held, *arguments: Any) -> None:
        if full[0]:
            raise SpoolFull("no room")
        put_again(self, *arguments)

    monkeypatch.setattr(Held, "put_again", sometimes)
    running.pipeline.shelf.retry(id_)
    settled(running)
    assert not running.pipeline.shelf.settled
    assert numbers(running) == (13, 13, 0, 0)
    full[0] = False
    wait_until(lambda: running.pipeline.shelf.settled)
    running.stop()
    assert numbers(node()) == (13, 13, 0, 0)


def test_two_retries_at_once_put_it_into_the_log_once(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    """The second finds nothing, or that it is on its way."""
    from concurrent.futures import ThreadPoolExecutor

    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    encoder.limit = 100
    outcomes = []
    with ThreadPoolExecutor(4) as pool:
        for attempt in [pool.submit(running.pipeline.shelf.retry, id_) for _ in range(4)]:
            error = attempt.exception()
            assert error is None or isinstance(error, (BadItem, TryAgain))
            outcomes.append(error is None)
    assert outcomes.count(True) == 1
    settled(running)
    assert sorted(landed_ids(store)) == sorted(client.ids)


def refused(running: Node, client: Client, store: MemoryStore, *rows: int) -> bytes:
    """Puts entries of so many rows into quarantine as one item, because the store refuses their frame."""
    store.plan("append", Fault(Blocked("bad_name", "no")))
    running.append(*(client.batch(number) for number in rows))
    settled(running)
    (id_,) = quarantine.ids(directory(running))
    return id_


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is given up at its first refusal; a retry that nobody comes to ends soon."""
    monkeypatch.setattr("collectord.pipeline.poison.GIVE_UP_TRIES", 1)
    monkeypatch.setattr("collectord.pipeline.poison.GIVE_UP_SECONDS", 0.0)
    monkeypatch.setattr("collectord.pipeline.shelf.COMMIT_PATIENCE", 0.3)


@pytest.mark.parametrize("told", [False, True], ids=["the ledger knows of none", "of the first"])
def test_a_kill_between_two_entries_of_an_item(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None, told: bool
) -> None:
    """One was recognised and the other was not: neither counts twice, at this start or the next."""
    running = node()
    client = Client(schema())
    id_ = refused(running, client, store, 2, 3)
    assert numbers(running) == (5, 0, 0, 5)
    recognise = Shelf.recognise

    def second(self: Shelf, stored: Any) -> bool:
        if stored.sequence == 2:
            raise Kill
        return recognise(self, stored)

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "recognise", second)
        with pytest.raises(TryAgain):
            running.pipeline.shelf.retry(id_)
        if told:
            running.pipeline.shelf.settle()
        (item,) = running.ledger.held.items()
        assert (item.again, item.rows) == ((1, 3) if told else (0, 5))
        running.stop()
    again = node()
    assert numbers(again) == (5, 0, 5, 0)
    settled(again)
    again.stop()
    third = node()
    assert numbers(third) == (5, 5, 0, 0)
    assert landed_ids(store) == client.ids


def test_a_retry_reads_its_item_once_and_tells_the_ledger_a_round_at_a_time(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """Both happen where ingest waits: an item of many entries must not cost a file and a transaction for each."""
    running = node()
    client = Client(schema())
    id_ = refused(running, client, store, *[1] * 40)
    monkeypatch.setattr("collectord.pipeline.shelf.COMMIT_PATIENCE", 30.0)
    read, put_again, reads, told = quarantine.read, Held.put_again, list[bytes](), list[int]()

    def reading(of: Path, one: bytes) -> quarantine.Item:
        reads.append(one)
        return read(of, one)

    def telling(self: Held, one: bytes, sequence: int, rows: int) -> None:
        told.append(rows)
        put_again(self, one, sequence, rows)

    monkeypatch.setattr(quarantine, "read", reading)
    monkeypatch.setattr(Held, "put_again", telling)
    assert running.pipeline.shelf.retry(id_) == 40
    assert reads == [id_]
    assert sum(told) == 40 and len(told) < 10
    settled(running)
    running.stop()
    assert numbers(node()) == (40, 40, 0, 0)
    assert landed_ids(store) == client.ids


def test_two_parts_of_one_entry_are_two_items(
    node: Callable[..., Node], store: MemoryStore, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut, both begin with row 0: they must not be taken for the same rows."""
    monkeypatch.setattr("collectord.pipeline.shelf.COMMIT_PATIENCE", 30.0)
    running = node()
    running.pipeline.shelf.budget = 64 << 20
    client = Client(schema())
    store.plan("append", *[Fault(Blocked("bad_name", "no"))] * 100)
    running.append(client.batch(32768))
    settled(running)
    assert numbers(running) == (32768, 0, 0, 32768)
    found = quarantine.ids(directory(running))
    assert len(found) > 1
    assert sum(quarantine.read(directory(running), id_).rows for id_ in found) == 32768
    store.heal()
    for id_ in found:
        running.pipeline.shelf.retry(id_)
    settled(running)
    assert numbers(running) == (32768, 32768, 0, 0)
    assert sorted(landed_ids(store)) == sorted(client.ids)


def test_an_item_that_is_counted_is_not_overwritten(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    content = quarantine.path_of(directory(running), id_).read_bytes()
    monkeypatch.setattr(quarantine, "item_id", lambda *_: id_)
    running.append(client.batch(9))
    wait_until(lambda: running.pipeline.flush(0.05) or "already" in running.pipeline.last_error)
    assert quarantine.path_of(directory(running), id_).read_bytes() == content
    assert numbers(running) == (22, 5, 9, 8)


def test_nothing_is_dropped_while_the_ledger_does_not_know_what_has_left(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """It would count the rows that are in the log again as dropped as well."""
    running = node()
    id_ = refused(running, Client(schema()), store, 2, 3)
    shelf = running.pipeline.shelf

    def full(self: Held, *arguments: Any) -> None:
        raise SpoolFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Held, "put_again", full)
        with running.pipeline._state.lock:
            shelf._written_later[id_] = (1, 2)
        with pytest.raises(TryAgain, match="does not know"):
            shelf.drop(id_)
    assert shelf.drop(id_) == 3


@pytest.mark.parametrize("found", [True, False], ids=["the rebuild finds it", "the rebuild finds nothing"])
def test_after_a_lost_ledger_an_item_counts_as_far_as_its_entries_wait_nowhere(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None, found: bool
) -> None:
    """It spans two segments and the first has gone: its rows are in the file alone, the others in the log too. Of these the
    rebuild says whose they are: the item's, which is whole again, or the log's, and the item is what is left of it."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    running = node(segment_bytes=64 << 10)
    client = Client(schema(columns=("x",)))
    # No flush between them, so that all become one frame.
    store.plan("append", *[Fault(Blocked("bad_name", "no"))] * 100)
    for _ in range(9):
        running.append(client.batch(300))
    settled(running)
    (id_,) = quarantine.ids(directory(running))
    wait_until(lambda: running.log.catalog.segments()[0].base > quarantine.read(directory(running), id_).entries[0].lsn)
    running.stop()
    store.heal()
    for file in running.spool.glob("ledger.sqlite*"):
        file.unlink()
    monkeypatch.setattr("tests.pipeline.node.Ledger", lambda spool: Ledger(spool, spool_of(spool / "log")))
    for start in range(2):
        again = node(segment_bytes=64 << 10)
        assert (again.pipeline.shelf.ids(), quarantine.ids(directory(again))) == ([], [id_])
        received, _, waiting, held = numbers(again)
        assert received == waiting + held == 2700 and 0 < held < 2700
        if not start:
            again.stop()
    search = again.pipeline.search_for_landed(store, Options())
    again.pipeline.rebuild(
        search.look_for(partition, again.pipeline.overview.waiting_entries(partition))
        for partition, _ in again.pipeline.overview.waiting_partitions()
        if found
    )
    for _ in range(2):
        (now,) = again.pipeline.shelf.ids()
        assert quarantine.ids(directory(again)) == [now]
        assert (now == id_) is found
        item = quarantine.read(directory(again), now)
        assert item.id == now
        assert numbers(again) == ((2700, 0, 0, 2700) if found else (2700, 0, waiting, held))
        assert item.rows == (2700 if found else held)
        again.stop()
        again = node(segment_bytes=64 << 10)


def test_a_client_that_calls_itself_by_an_items_id_takes_nothing_from_it(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    """Ids are chosen by clients; only an entry with the item's own bytes is the item's."""
    running = node()
    id_ = poisoned(running, Client(schema()))
    other = Client(schema())
    other.id = id_
    running.append(other.batch(4))
    settled(running)
    assert numbers(running) == (17, 9, 0, 8)
    running.append(other.batch(1))
    running.stop()
    again = node()
    assert again.pipeline.shelf.ids() == [id_]
    assert numbers(again)[0] == 18 and numbers(again)[3] == 8


def test_after_a_lost_ledger_an_item_is_taken_in_again(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are in no log any more: the file is all there is, and it is counted."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    with running.ledger._database.transaction() as db:
        db.execute("DELETE FROM held")
        db.execute("DELETE FROM quarantined")
    for _ in range(8):
        encoder.limit = 10**6
        running.append(client.batch(10_000))
        settled(running)
    wait_until(lambda: len(running.log.catalog.segments()) <= 1)
    running.stop()
    again = node()
    assert again.pipeline.shelf.ids() == [id_]
    assert numbers(again)[3] == 8


def retried_and_killed(running: Node, id_: bytes) -> None:
    """The log has the item's entries again, and the process dies before the ledger hears of it."""

    def dead(*_: Any) -> None:
        raise Kill

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "put_again", dead)
        patch.setattr("collectord.pipeline.shelf.COMMIT_PATIENCE", 0.3)
        with pytest.raises((Kill, TryAgain)):
            running.pipeline.shelf.retry(id_)
        running.stop()
    assert not Ledger(running.spool).held.items()[0].again


@pytest.mark.parametrize("what", ["the entry", "the item's file"])
def test_what_cannot_be_read_is_not_known_yet_and_taken_off_its_item_once_it_can(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Taken for a stranger's, the rows would land from the log and a second time from the item."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    encoder.limit = 100
    retried_and_killed(running, id_)
    failed = list[int]()

    def broken(*_: Any) -> Any:
        failed.append(1)
        raise OSError(errno.EIO, "the disk fails")

    with monkeypatch.context() as patch:
        if what == "the entry":
            patch.setattr(Sources, "read_payload", broken)
        else:
            patch.setattr(quarantine, "read", broken)
        again = node()
        assert failed
        received, landed, waiting, held = numbers(again)
        assert (received, landed + waiting, held) == (21, 13, 8), "both are counted, for they may be two"
        with pytest.raises(TryAgain, match="cannot be read"):
            again.pipeline.shelf.retry(id_)
        assert not again.pipeline.shelf.settled, "no segment goes before it is known"
    wait_until(lambda: again.pipeline.shelf.settled)
    assert again.pipeline.shelf.ids() == []
    settled(again)
    assert numbers(again) == (13, 13, 0, 0)
    assert sorted(landed_ids(store)) == sorted(client.ids)
    again.stop()
    assert numbers(node()) == (13, 13, 0, 0)


def test_of_several_entries_none_is_taken_off_before_the_one_that_cannot_be_read(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """The ledger counts an item's entries from the first on."""
    running = node()
    client = Client(schema())
    id_ = refused(running, client, store, 2, 3, 4)
    retried_and_killed(running, id_)
    is_ours, broken = Shelf._is_ours, [2]

    def sometimes(self: Shelf, stored: Any) -> bool:
        if stored.sequence in broken:
            raise OSError(errno.EIO, "the disk fails")
        return is_ours(self, stored)

    monkeypatch.setattr(Shelf, "_is_ours", sometimes)
    again = node()
    (item,) = again.ledger.held.items()
    assert (item.again, item.rows) == (1, 7)
    broken.clear()
    again.pipeline.shelf.settle()
    assert again.pipeline.shelf.ids() == []
    settled(again)
    assert numbers(again) == (9, 9, 0, 0)
    assert landed_ids(store) == client.ids


def test_an_entry_whose_bytes_have_changed_is_waited_for_until_it_is_set_aside_itself(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can never land then, so the item may be tried again; the rows are counted twice, and land once."""
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    encoder.limit = 100
    retried_and_killed(running, id_)
    length = len(quarantine.read(directory(running), id_).entries[0].payload)
    with monkeypatch.context() as patch:
        read_payload = Sources.read_payload

        def changed(self: Sources, place: Any) -> memoryview:
            if place.length == length:
                raise DamagedEntry("it does not fit its checksum")
            return read_payload(self, place)

        patch.setattr(Sources, "read_payload", changed)
        again = node()
        with pytest.raises(TryAgain, match="cannot be read"):
            again.pipeline.shelf.retry(id_)
        settled(again)
        again.pipeline.shelf.settle()
        assert numbers(again) == (21, 5, 0, 16)
    assert again.pipeline.shelf.retry(id_) == 8
    settled(again)
    assert sorted(landed_ids(store)) == sorted(client.ids)
    assert numbers(again) == (21, 13, 0, 8)


def test_an_item_whose_entries_cannot_be_told_may_still_be_dropped(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way out where the disk never gives them back: nothing waits for it any more."""
    running = node()
    id_ = poisoned(running, Client(schema()))
    encoder.limit = 100
    retried_and_killed(running, id_)

    def broken(self: Shelf, stored: Any) -> bool:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(Shelf, "_is_ours", broken)
    again = node()
    assert again.pipeline.shelf.drop(id_) == 8
    assert again.pipeline.shelf.settled
    settled(again)
    assert again.balanced()
    assert numbers(again)[1:] == (13, 0, 0)


def test_a_retry_says_what_stands_in_its_way(node: Callable[..., Node], store: MemoryStore, encoder: Switch) -> None:
    """A damaged file is no item; what is not there cannot be tried."""
    running = node()
    id_ = poisoned(running, Client(schema()))
    with pytest.raises(BadItem, match="no item"):
        running.pipeline.shelf.retry(b"?" * 16)
    path = quarantine.path_of(directory(running), id_)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadItem, match="checksum"):
        running.pipeline.shelf.retry(id_)
    assert numbers(running) == (13, 5, 0, 8)
    assert running.pipeline.shelf.drop(id_) == 8
