"""Rows that end in quarantine, and processes that die beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collectord import quarantine
from collectord.errors import TryAgain
from collectord.pipeline.framer import Framer
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.held import Held
from collectord.upload.ledger import Ledger
from collectord.upload.store import Blocked
from tests.pipeline.node import Client, Node, landed_ids, wait_until


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


def poisoned(running: Node, client: Client, rows: int = 8) -> bytes:
    """Puts an entry of so many rows into quarantine, between two that land."""
    before = set(quarantine.ids(running.quarantine))
    running.append(client.batch(2), client.batch(rows), client.batch(3))
    running.settle()
    (id_,) = set(quarantine.ids(running.quarantine)) - before
    return id_


def mended(running: Node, client: Client, encoder: Switch) -> bytes:
    """Puts an entry into quarantine that could land by now."""
    id_ = poisoned(running, client)
    encoder.limit = 100
    return id_


def landed_once(running: Node, node: Callable[..., Node], store: MemoryStore, client: Client) -> None:
    """All that the client gave lands once, and nothing is held any more; the books say so, also after another start."""
    running.settle()
    wait_until(lambda: not quarantine.ids(running.quarantine))
    rows = len(client.ids)
    assert running.numbers() == (rows, rows, 0, 0)
    assert sorted(landed_ids(store)) == sorted(client.ids)
    running.stop()
    assert node().numbers() == (rows, rows, 0, 0)


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


def refused(running: Node, client: Client, store: MemoryStore, *rows: int) -> bytes:
    """Puts entries of so many rows into quarantine as one item, because the store refuses their frame."""
    store.plan("append", Fault(Blocked("bad_name", "no")))
    running.append(*(client.batch(number) for number in rows))
    running.settle()
    (id_,) = quarantine.ids(running.quarantine)
    return id_


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is given up at its first refusal; a retry that nobody comes to ends soon."""
    monkeypatch.setattr("collectord.pipeline.poison.GIVE_UP_TRIES", 1)
    monkeypatch.setattr("collectord.pipeline.poison.GIVE_UP_SECONDS", 0.0)
    monkeypatch.setattr("collectord.pipeline.returning.COMMIT_PATIENCE", 0.3)


def retried_and_killed(running: Node, id_: bytes) -> None:
    """The log has the item's entries again, and the process dies before the ledger hears of it."""

    def dead(*_: Any) -> None:
        raise Kill

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "put_again", dead)
        patch.setattr("collectord.pipeline.returning.COMMIT_PATIENCE", 0.3)
        with pytest.raises((Kill, TryAgain)):
            running.pipeline.shelf.retry(id_)
        running.stop()
    assert not Ledger(running.spool).held.items()[0].again
