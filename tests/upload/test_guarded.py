"""Whoever does not hold the claim changes nothing in the store, and may look at all of it."""

from __future__ import annotations

from collectord.testing.clock import ManualClock
from collectord.testing.store import MemoryStore
from collectord.upload.documents import Document, Written
from collectord.upload.guarded import Guarded
from collectord.upload.store import Absent, AlreadyExists, Created, Unknown
from tests.upload.test_claim import Memory, claim, settle


def test_a_guarded_store_changes_something_only_while_the_claim_is_held() -> None:
    clock, store = ManualClock(), MemoryStore(container=False)
    one = claim(store, clock, Memory())
    guarded = Guarded(store, one)

    def changes() -> list[object]:
        return [
            guarded.create_container(), guarded.append("a", b"x", 0), guarded.create("a", "text/csv", {}),
            guarded.put_document("d", b"{}", None),
        ]  # fmt: skip

    assert all(isinstance(outcome, Unknown) for outcome in changes())
    settle(one)
    made, absent, created, written = changes()
    assert (made, absent, created) == (AlreadyExists(), Absent(), Created()) and isinstance(written, Written)
    clock.advance(120)
    assert all(isinstance(outcome, Unknown) for outcome in changes())
    assert store.blobs["a"].content == b""
    assert (guarded.length("a"), guarded.read("a", 0, 1)) == (0, b"")
    assert isinstance(guarded.get_document("d"), Document)
