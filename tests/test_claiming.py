"""The thread that keeps a spool's claim: uploads follow it, ingest does not."""

from __future__ import annotations

from pathlib import Path

from collectord.claiming import HOLD, Claiming
from collectord.errors import SpoolFull
from collectord.testing.clock import ManualClock
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.claim import Claim
from collectord.upload.store import Blocked, Unknown
from tests.pipeline.node import Node
from tests.upload.test_claim import SPOOL, Memory, settle


def test_the_pipeline_is_held_back_exactly_while_the_claim_is_not_held(tmp_path: Path) -> None:
    store, clock = MemoryStore(), ManualClock()
    node = Node(tmp_path / "spool", store)
    claim = Claim(store, SPOOL, Memory(), clock, node="n", place="here", interval=60.0)
    claiming = Claiming(claim, node.pipeline, clock)
    assert node.pipeline.dispatch.held == claim.why == claiming.await_claim(0.0)
    assert claiming.troubles() == []
    store.plan("get_document", Fault(Blocked("forbidden", "403")))
    settle(claim)
    ((name, trouble),) = claiming.troubles()
    assert (name, trouble.blocked, trouble.detail) == (claim.document, True, "forbidden: 403")
    settle(claim)
    claiming.tell()
    assert claiming.troubles() == []
    assert claiming.await_claim(0.0) == node.pipeline.dispatch.held == ""
    clock.advance(120)
    claiming.tell()
    assert node.pipeline.dispatch.is_held(HOLD)
    node.stop()


def test_a_claim_thread_claims_renews_and_releases(tmp_path: Path) -> None:
    store, clock = MemoryStore(), ManualClock()
    node = Node(tmp_path / "spool", store)
    store.plan("get_document", Fault(Unknown("down")))

    class Full(Memory):
        left = 1

        def remember(self, key: str, value: str) -> None:
            if self.left and key == "claim_intended":
                self.left -= 1
                raise SpoolFull("no room for a moment")
            super().remember(key, value)

    claim = Claim(store, SPOOL, Full(), clock, node="n", place="here", interval=1e-3)
    claiming = Claiming(claim, node.pipeline, clock)
    claiming.start()
    for _ in range(2000):
        claiming.hurry()
        if not node.pipeline.flush(0.01):
            continue
        if sum(request[0] == "put_document" for request in store.requests) > 3:
            break
    assert claiming.stop(release=True, patience=20)
    heir = Claim(store, SPOOL, Memory(claim_any="1"), clock, node="m", place="", interval=60.0)
    settle(heir)
    assert heir.held, "it was released"
    node.stop()
