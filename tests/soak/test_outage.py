"""The store comes back after an outage: the backlog drains in order, not in a stampede."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy, Seen
from tests.e2e import landed, wire
from tests.e2e.conftest import folder
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

__all__ = ["folder"]

DAEMONS = 2
STREAMS = 12
UPLOADS = 2
RETRY_AFTER = 1.0
TRIES = 3
NOTES = "/_collectord/erased/"


@pytest.fixture
def daemons(
    azurite: Azurite, new_container: Callable[[], str], folder: Path
) -> Iterator[tuple[FaultProxy, list[Daemon], str]]:
    """Before a store that turns every request away, each with names of its own in one container."""
    container = new_container()
    with FaultProxy(azurite.port, rate=1.0, faults=["busy"], retry_after=f"{RETRY_AFTER:.0f}") as proxy:
        made = []
        for number in range(DAEMONS):
            place = folder / f"d{number}"
            place.mkdir()
            made.append(
                Daemon(
                    place, store=f"az://{container}/d{number}", flush_interval=0.2, uploads=UPLOADS, claim_interval=0,
                    env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
                )
            )  # fmt: skip
        yield proxy, made, container
        for daemon in made:
            daemon.clear_away()


def tries(seen: list[Seen], notes: bool = False) -> dict[str, list[float]]:
    """When each blob was tried, by its path; or, as `notes`, when it was asked whether its rows have been erased, which is where
    every try but a blob's first begins."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in seen:
        if NOTES in one.path if notes else one.operation == "append":
            found[one.path].append(one.at)
    return found


def test_a_backlog_drains_with_jitter_and_bounded_concurrency(
    daemons: tuple[FaultProxy, list[Daemon], str], azurite: Azurite
) -> None:
    """While the store asks to wait, each blob is tried no sooner than that, and not in step with the others; when it is
    back, no more requests are under way than `uploads` allows, each blob takes its backlog in few appends, and every
    row is there once."""
    proxy, running, container = daemons
    for daemon in running:
        daemon.spawn()
    clients = []
    schemas = [wire.schema(model=f"m{number}") for number in range(STREAMS)]
    for daemon in running:
        daemon.wait_ready()
        clients.append(wire.WireClient(daemon.endpoint).connect())
        for schema in schemas:
            clients[-1].declare(schema)
    rows = 0
    for _ in range(20):
        for client in clients:
            for schema in schemas:
                client.send(schema, range(rows, rows + 5), time.time_ns())
        rows += 5
        for client in clients:
            client.wait_acknowledged()

    def all_tried() -> bool:
        first, again = tries(proxy.seen()), tries(proxy.seen(), notes=True)
        return len(first) == len(again) == DAEMONS * STREAMS and min(map(len, again.values())) >= TRIES - 1

    eventually(all_tried, "every blob has been tried some times", 90.0)
    outage = tries(proxy.seen(), notes=True)
    gaps = [after - before for times in outage.values() for before, after in itertools.pairwise(times)]
    assert min(gaps) >= RETRY_AFTER, f"sooner than the store asked for: {sorted(gaps)[:5]}"
    assert max(gaps) - min(gaps) > 0.05, f"in step: {sorted(gaps)}"

    proxy.rate = 0.0
    back = time.monotonic()
    eventually(
        lambda: all(
            sum(book.landed for book in daemon.books().values()) == rows * STREAMS for daemon in running
        ),
        "all rows have landed", 90.0, step=0.2,
    )  # fmt: skip
    seen = proxy.seen()
    # One request beside the uploads: what a daemon asks for its own settings.
    assert max(one.under_way for one in seen) <= DAEMONS * (UPLOADS + 1)
    assert max(one.under_way for one in seen if one.operation == "append") > 1, "nothing was under way together"
    after = tries([one for one in seen if one.at > back])
    assert max(map(len, after.values())) <= 8, {path: len(times) for path, times in after.items()}
    begins = sorted(times[0] for times in after.values())
    assert begins[-1] - begins[0] > 0.1, "all blobs were tried at once"
    for client in clients:
        client.close()
    text = azurite.connection_string()
    found = landed.rows(landed.container(text, container))
    assert len(found) == rows * STREAMS * DAEMONS
