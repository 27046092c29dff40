"""Items of a lost ledger are counted once, in quarantine or in the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collectord import quarantine
from collectord.pipeline.rebuild import Options
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.ledger import Ledger
from collectord.upload.store import Blocked
from collectord.wal.identity import spool_of
from tests.pipeline.node import Client, Node, schema, wait_until
from tests.pipeline.set_aside import Switch, poisoned

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


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
    running.settle()
    (id_,) = quarantine.ids(running.quarantine)
    wait_until(lambda: running.log.catalog.segments()[0].base > quarantine.read(running.quarantine, id_).entries[0].lsn)
    running.stop()
    store.heal()
    for file in running.spool.glob("ledger.sqlite*"):
        file.unlink()
    monkeypatch.setattr("tests.pipeline.node.Ledger", lambda spool: Ledger(spool, spool_of(spool / "log")))
    for start in range(2):
        again = node(segment_bytes=64 << 10)
        assert (again.pipeline.shelf.ids(), quarantine.ids(again.quarantine)) == ([], [id_])
        received, _, waiting, held = again.numbers()
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
        assert quarantine.ids(again.quarantine) == [now]
        assert (now == id_) is found
        item = quarantine.read(again.quarantine, now)
        assert item.id == now
        assert again.numbers() == ((2700, 0, 0, 2700) if found else (2700, 0, waiting, held))
        assert item.rows == (2700 if found else held)
        again.stop()
        again = node(segment_bytes=64 << 10)


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
        running.settle()
    wait_until(lambda: len(running.log.catalog.segments()) <= 1)
    running.stop()
    again = node()
    assert again.pipeline.shelf.ids() == [id_]
    assert again.numbers()[3] == 8
