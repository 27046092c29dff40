"""Entries that leave the quarantine through the log are counted once, whatever is not known of them for a while."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectord import quarantine
from collectord.errors import SpoolFull, TryAgain
from collectord.pipeline.returning import Returning
from collectord.pipeline.shelf import Shelf
from collectord.pipeline.sources import Sources
from collectord.quarantine import BadItem
from collectord.testing.store import MemoryStore
from collectord.upload.held import Held
from collectord.wal.damage import DamagedEntry
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until
from tests.pipeline.set_aside import Kill, Switch, killed, landed_once, mended, poisoned, refused, retried_and_killed

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.mark.parametrize(
    ("of", "method", "when"),
    [
        (Returning, "_append", "before"), (Returning, "recognise", "before"), (Held, "put_again", "before"),
        (Held, "put_again", "after"), (Shelf, "settle", "before"), (Held, "forget", "before"), (Held, "forget", "after"),
    ],
)  # fmt: skip
def test_a_kill_at_any_step_of_a_retry(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch,
    of: type, method: str, when: str,
) -> None:  # fmt: skip
    """Before the log has it, the item stays; from then on it counts as waiting. Trying once more doubles nothing."""
    monkeypatch.setattr("collectord.pipeline.returning.COMMIT_PATIENCE", 0.3)
    running = node()
    client = Client(schema())
    id_ = mended(running, client, encoder)
    with monkeypatch.context() as patch:
        fired = killed(patch, of, method, when)
        try:
            running.pipeline.shelf.retry(id_)
        except (Kill, TryAgain):
            fired.append(1)
        wait_until(lambda: bool(fired))
        running.stop()
    again = node()
    assert again.numbers()[0] == 13
    try:
        assert again.pipeline.shelf.retry(id_) == 8
        assert method == "_append"
    except BadItem:
        assert method != "_append"
    landed_once(again, node, store, client)


def test_a_ledger_without_room_keeps_the_segment_until_it_knows(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retried entry was read, but the ledger cannot say so: nothing of the log goes before it can."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    running = node()
    client = Client(schema())
    id_ = mended(running, client, encoder)
    put_again, full = Held.put_again, [True]

    def sometimes(self: Held, *arguments: Any) -> None:
        if full[0]:
            raise SpoolFull("no room")
        put_again(self, *arguments)

    monkeypatch.setattr(Held, "put_again", sometimes)
    running.pipeline.shelf.retry(id_)
    running.settle()
    assert not running.pipeline.shelf.returning.settled
    assert quarantine.ids(running.quarantine) == [id_]
    assert running.numbers() == (13, 13, 0, 0)
    full[0] = False
    wait_until(lambda: running.pipeline.shelf.returning.settled)
    landed_once(running, node, store, client)


@pytest.mark.parametrize("told", [False, True], ids=["the ledger knows of none", "of the first"])
def test_a_kill_between_two_entries_of_an_item(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None, told: bool
) -> None:
    """One was recognised and the other was not: neither counts twice, at this start or the next."""
    running = node()
    client = Client(schema())
    id_ = refused(running, client, store, 2, 3)
    assert running.numbers() == (5, 0, 0, 5)
    recognise = Returning.recognise

    def second(self: Returning, stored: Any) -> bool:
        if stored.sequence == 2:
            raise Kill
        return recognise(self, stored)

    with monkeypatch.context() as patch:
        patch.setattr(Returning, "recognise", second)
        with pytest.raises(TryAgain):
            running.pipeline.shelf.retry(id_)
        if told:
            running.pipeline.shelf.settle()
        (item,) = running.ledger.held.items()
        assert (item.again, item.rows) == ((1, 3) if told else (0, 5))
        running.stop()
    again = node()
    assert again.numbers() == (5, 0, 5, 0)
    landed_once(again, node, store, client)
    assert landed_ids(store) == client.ids


def test_a_retry_reads_its_item_once_and_tells_the_ledger_a_round_at_a_time(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """Both happen where ingest waits: an item of many entries must not cost a file and a transaction for each."""
    running = node()
    client = Client(schema())
    id_ = refused(running, client, store, *[1] * 40)
    monkeypatch.setattr("collectord.pipeline.returning.COMMIT_PATIENCE", 30.0)
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
    landed_once(running, node, store, client)
    assert landed_ids(store) == client.ids


def test_what_is_recognised_while_the_ledger_is_told_is_told_next(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """The reader need not wait for the ledger's transaction, and what it finds meanwhile is not taken for told."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 3600)
    running = node()
    id_ = refused(running, Client(schema()), store, 2, 3)
    returning, put_again = running.pipeline.shelf.returning, Held.put_again

    def meanwhile(self: Held, one: bytes, sequence: int, rows: int) -> None:
        put_again(self, one, sequence, rows)
        with running.pipeline._state.lock:
            returning._written_later[one] = (2, 5 if sequence == 1 else rows)

    monkeypatch.setattr(Held, "put_again", meanwhile)
    with running.pipeline._state.lock:
        returning._written_later[id_] = (1, 2)
    for told, item in ((False, (1, 3)), (True, (2, 0))):
        returning.settle_round()
        assert returning.settled is told
        assert [(one.again, one.rows) for one in running.ledger.held.items()] == [item]


def test_a_client_that_calls_itself_by_an_items_id_takes_nothing_from_it(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    """Ids are chosen by clients; only an entry with the item's own bytes is the item's."""
    running = node()
    id_ = poisoned(running, Client(schema()))
    other = Client(schema())
    other.id = id_
    running.append(other.batch(4))
    running.settle()
    assert running.numbers() == (17, 9, 0, 8)
    running.append(other.batch(1))
    running.stop()
    again = node()
    assert again.pipeline.shelf.ids() == [id_]
    assert again.numbers()[0] == 18 and again.numbers()[3] == 8


@pytest.mark.parametrize("what", ["the entry", "the item's file"])
def test_what_cannot_be_read_is_not_known_yet_and_taken_off_its_item_once_it_can(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Taken for a stranger's, the rows would land from the log and a second time from the item."""
    monkeypatch.setattr("collectord.pipeline.upkeep.RETIRE_EVERY", 0.01)
    running = node()
    client = Client(schema())
    id_ = mended(running, client, encoder)
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
        received, landed, waiting, held = again.numbers()
        assert (received, landed + waiting, held) == (21, 13, 8), "both are counted, for they may be two"
        with pytest.raises(TryAgain, match="cannot be read"):
            again.pipeline.shelf.retry(id_)
        assert not again.pipeline.shelf.returning.settled, "no segment goes before it is known"
    wait_until(lambda: again.pipeline.shelf.returning.settled)
    assert again.pipeline.shelf.ids() == []
    landed_once(again, node, store, client)


def test_of_several_entries_none_is_taken_off_before_the_one_that_cannot_be_read(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """The ledger counts an item's entries from the first on."""
    running = node()
    client = Client(schema())
    id_ = refused(running, client, store, 2, 3, 4)
    retried_and_killed(running, id_)
    is_ours, broken = Returning._is_ours, [2]

    def sometimes(self: Returning, stored: Any) -> bool:
        if stored.sequence in broken:
            raise OSError(errno.EIO, "the disk fails")
        return is_ours(self, stored)

    monkeypatch.setattr(Returning, "_is_ours", sometimes)
    again = node()
    (item,) = again.ledger.held.items()
    assert (item.again, item.rows) == (1, 7)
    broken.clear()
    again.pipeline.shelf.settle()
    assert again.pipeline.shelf.ids() == []
    landed_once(again, node, store, client)
    assert landed_ids(store) == client.ids


def test_an_entry_whose_bytes_have_changed_is_waited_for_until_it_is_set_aside_itself(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can never land then, so the item may be tried again; the rows are counted twice, and land once."""
    running = node()
    client = Client(schema())
    id_ = mended(running, client, encoder)
    retried_and_killed(running, id_)
    length = len(quarantine.read(running.quarantine, id_).entries[0].payload)
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
        again.settle()
        again.pipeline.shelf.settle()
        assert again.numbers() == (21, 5, 0, 16)
    assert again.pipeline.shelf.retry(id_) == 8
    again.settle()
    assert sorted(landed_ids(store)) == sorted(client.ids)
    assert again.numbers() == (21, 13, 0, 8)


def test_an_item_whose_entries_cannot_be_told_may_still_be_dropped(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way out where the disk never gives them back: nothing waits for it any more."""
    running = node()
    id_ = mended(running, Client(schema()), encoder)
    retried_and_killed(running, id_)

    def broken(self: Returning, stored: Any) -> bool:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(Returning, "_is_ours", broken)
    again = node()
    assert again.pipeline.shelf.drop(id_) == 8
    assert again.pipeline.shelf.returning.settled
    again.settle()
    assert again.balanced()
    assert again.numbers()[1:] == (13, 0, 0)
