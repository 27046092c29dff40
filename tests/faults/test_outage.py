"""A store that is black-holed while clients collect at full speed: memory and spool stay within their budgets, and the books
balance to the row when it is back."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, environment
from tests.e2e.waiting import eventually

FLOOD = Path(__file__).with_name("flood.py")
MIB = 1 << 20
MEMORY, SPOOL = 256 * MIB, 256 * MIB
CLIENTS = 2


def _peak_rss(daemon: Daemon) -> int:
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _spool_bytes(daemon: Daemon) -> int:
    """What the spool takes of its disk; files may go while it is looked at."""
    total = 0
    for path in daemon.spool.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def _is_full(daemon: Daemon) -> bool:
    log = daemon.status()["log"]
    return bool(log["bytes"] > log["budget_bytes"] - 32 * MIB)


def _dropped(daemon: Daemon) -> float:
    return daemon.metrics().get('collectord_client_dropped_total{reason="outbox_full"}', 0.0)


def _flood(daemon: Daemon, who: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FLOOD), daemon.endpoint, str(who)], env=environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _end(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    stats: dict[str, Any] = json.loads(said)
    return stats


@pytest.mark.timeout(300)
def test_memory_and_spool_stay_within_their_budgets_through_an_outage(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """Every request of the store hangs until the log is full and the clients drop; then the store is back."""
    container = new_container()
    with FaultProxy(azurite.port, rate=1.0, faults=("slow",), delay=60.0) as proxy:
        daemon = make_daemon(
            store=f"az://{container}", memory_budget=MEMORY, spool_budget=SPOOL, segment_bytes=16 * MIB, tenant_share=1,
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
            impatience=2.0, flush_interval=0.5,
        ).start()  # fmt: skip
        floods = [_flood(daemon, who) for who in range(1, CLIENTS + 1)]
        try:
            eventually(lambda: proxy.injected(), "the store was tried")
            eventually(lambda: _is_full(daemon), "the log is full", 120)
            before = _dropped(daemon)
            eventually(lambda: _dropped(daemon) > before, "the outboxes are full, and clients drop and say so")
            assert _spool_bytes(daemon) <= SPOOL
            assert not any(book.landed for book in daemon.books().values())
            proxy.rate = 0.0
            eventually(lambda: any(book.landed for book in daemon.books().values()), "the backlog drains", 60)
            for flood in floods:
                assert flood.stdin is not None
                flood.stdin.close()
                flood.stdin = None
            stats = [_end(flood) for flood in floods]
        finally:
            for flood in floods:
                flood.kill()
                flood.communicate()
        daemon.flush(120)
        assert _spool_bytes(daemon) <= SPOOL
        assert _peak_rss(daemon) <= MEMORY, f"{_peak_rss(daemon) / MIB:.0f} MiB"
        (book,) = daemon.books().values()
        assert daemon.terminate() == 0
    acknowledged = sum(one["acknowledged"] for one in stats)
    assert all(one["settled"] and one["collected"] == one["acknowledged"] for one in stats), stats
    assert (book.received, book.landed) == (acknowledged, acknowledged)
    lost = sum(sum(one["dropped"].values()) for one in stats)
    assert sum(book.dropped_by_clients.values()) == lost > 0, (book, stats)
    assert sum(one["rows"] for one in stats) == acknowledged + lost
    _each_once(landed.container(azurite.connection_string(), container), acknowledged)


def _each_once(blobs: dict[str, bytes], rows: int) -> None:
    """So many rows, no two of which are the same one, each with its own values."""
    tables = [pyarrow.csv.read_csv(io.BytesIO(landed.decode(name, data).encode())) for name, data in blobs.items()]
    table = pyarrow.concat_tables(tables)
    assert table.num_rows == rows
    key = pc.add(pc.multiply(table["who"], 1e12), table["n"])
    assert pc.count_distinct(key).as_py() == rows
    assert pc.all(pc.equal(pc.divide(table["n"], 7.0), table["a"])).as_py()
