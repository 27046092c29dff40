"""What goes into quarantine and out of it is counted once, whenever the process dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collectord import quarantine
from collectord.errors import SpoolFull, TryAgain
from collectord.quarantine import BadItem
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.held import Held
from collectord.upload.store import Blocked
from tests.pipeline.node import Client, Node, schema, wait_until
from tests.pipeline.set_aside import Kill, Switch, killed, landed_once, mended, poisoned, refused

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def test_a_retried_item_lands_once_and_is_received_once(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    """The log counts its rows a second time; the books do not, now or after a restart."""
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    assert running.numbers() == (13, 5, 0, 8)
    encoder.limit = 100
    assert running.pipeline.shelf.retry(id_) == 8
    assert running.numbers()[0] == 13 and running.numbers()[3] == 0
    landed_once(running, node, store, client)


def test_an_item_that_fails_again_is_an_item_again(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    running = node()
    id_ = poisoned(running, Client(schema()))
    running.pipeline.shelf.retry(id_)
    running.settle()
    (other,) = quarantine.ids(running.quarantine)
    assert other != id_
    assert running.numbers() == (13, 5, 0, 8)
    running.stop()
    assert node().numbers() == (13, 5, 0, 8)


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
    assert len(quarantine.ids(running.quarantine)) == 1
    again = node()
    again.settle()
    assert again.numbers() == (13, 5, 0, 8)
    (id_,) = quarantine.ids(again.quarantine)
    encoder.limit = 100
    again.pipeline.shelf.retry(id_)
    landed_once(again, node, store, client)


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
    assert bool(quarantine.ids(again.quarantine)) is not done


def test_two_retries_at_once_put_it_into_the_log_once(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch
) -> None:
    """The second finds nothing, or that it is on its way."""
    from concurrent.futures import ThreadPoolExecutor

    running = node()
    client = Client(schema())
    id_ = mended(running, client, encoder)
    outcomes = []
    with ThreadPoolExecutor(4) as pool:
        for attempt in [pool.submit(running.pipeline.shelf.retry, id_) for _ in range(4)]:
            error = attempt.exception()
            assert error is None or isinstance(error, (BadItem, TryAgain))
            outcomes.append(error is None)
    assert outcomes.count(True) == 1
    landed_once(running, node, store, client)


def test_two_parts_of_one_entry_are_two_items(
    node: Callable[..., Node], store: MemoryStore, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut, both begin with row 0: they must not be taken for the same rows."""
    monkeypatch.setattr("collectord.pipeline.returning.COMMIT_PATIENCE", 30.0)
    running = node()
    running.pipeline.shelf.budget = 64 << 20
    client = Client(schema())
    store.plan("append", *[Fault(Blocked("bad_name", "no"))] * 100)
    running.append(client.batch(32768))
    running.settle()
    assert running.numbers() == (32768, 0, 0, 32768)
    found = quarantine.ids(running.quarantine)
    assert len(found) > 1
    assert sum(quarantine.read(running.quarantine, id_).rows for id_ in found) == 32768
    store.heal()
    for id_ in found:
        running.pipeline.shelf.retry(id_)
    landed_once(running, node, store, client)


def test_an_item_that_is_counted_is_not_overwritten(
    node: Callable[..., Node], store: MemoryStore, encoder: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = node()
    client = Client(schema())
    id_ = poisoned(running, client)
    content = quarantine.path_of(running.quarantine, id_).read_bytes()
    monkeypatch.setattr(quarantine, "item_id", lambda *_: id_)
    running.append(client.batch(9))
    wait_until(lambda: running.pipeline.flush(0.05) or "already" in running.pipeline.last_error)
    assert quarantine.path_of(running.quarantine, id_).read_bytes() == content
    assert running.numbers() == (22, 5, 9, 8)


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
            shelf.returning._written_later[id_] = (1, 2)
        with pytest.raises(TryAgain, match="does not know"):
            shelf.drop(id_)
    assert shelf.drop(id_) == 3


def test_a_retry_says_what_stands_in_its_way(node: Callable[..., Node], store: MemoryStore, encoder: Switch) -> None:
    """A damaged file is no item; what is not there cannot be tried."""
    running = node()
    id_ = poisoned(running, Client(schema()))
    with pytest.raises(BadItem, match="no item"):
        running.pipeline.shelf.retry(b"?" * 16)
    path = quarantine.path_of(running.quarantine, id_)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadItem, match="checksum"):
        running.pipeline.shelf.retry(id_)
    assert running.numbers() == (13, 5, 0, 8)
    assert running.pipeline.shelf.drop(id_) == 8
