"""Where the gauges of a daemon are read from, at each scrape."""

from __future__ import annotations

from collectord.certificates import Certificates
from collectord.claiming import Claiming
from collectord.door import Door
from collectord.machine import Machine
from collectord.metrics import Metrics
from collectord.pipeline import Pipeline
from collectord.reloading import Reloading
from collectord.switchboard import Switchboard
from collectord.tenants import Tenants
from collectord.upload.ledger import Ledger
from collectord.wal.writer import LogWriter


def set_gauges(
    metrics: Metrics, *, pipeline: Pipeline, log: LogWriter, ledger: Ledger, door: Door, claiming: Claiming | None,
    switchboard: Switchboard, reloading: Reloading | None, log_lost: bool, certificates: Certificates | None,
    tenants: Tenants, machine: Machine,
) -> None:  # fmt: skip
    """All gauges of the table but those that `Gate` and `Metrics` set themselves."""
    overview, shelf, gauge = pipeline.overview, pipeline.shelf, metrics.gauge
    gauge("collectord_waiting_records", lambda: overview.waiting().rows)
    gauge("collectord_past_records", overview.past_rows)
    gauge("collectord_open_partitions", lambda: overview.waiting().partitions)
    gauge("collectord_tenant_log_bytes", lambda: max((size for _, _, size in overview.holders()), default=0))
    gauge("collectord_freshness_seconds", lambda: overview.waiting().oldest_seconds)
    gauge("collectord_wal_oldest_seconds", lambda: overview.waiting().oldest_seconds)
    gauge("collectord_blocked_partitions", lambda: sum(trouble.blocked for _, trouble in overview.troubles()))
    gauge("collectord_queue_depth", overview.queue_depth)
    gauge("collectord_parked_records", lambda: overview.parked()["rows"])
    gauge("collectord_parked_bytes", lambda: overview.parked()["bytes"])
    gauge("collectord_refused_partitions", lambda: overview.parked()["refused_partitions"])
    gauge("collectord_quarantine_records", lambda: shelf.totals()[1])
    gauge("collectord_quarantine_bytes", lambda: shelf.used_bytes)
    gauge("collectord_wal_segments", lambda: len(log.catalog.segments()))
    gauge("collectord_wal_bytes", lambda: log.used_bytes)
    gauge("collectord_wal_budget_bytes", lambda: log.budget)
    gauge("collectord_wal_callback_failures", lambda: log.callback_failures)
    gauge("collectord_ledger_rebuild_needed", lambda: ledger.rebuild_needed)
    gauge("collectord_claim_held", lambda: claiming is None or claiming.claim.held)
    gauge("collectord_switches_version", lambda: switchboard.rules.switches.version)
    gauge("collectord_switches_problem", lambda: bool(switchboard.problem))
    gauge("collectord_settings_problem", lambda: reloading is not None and bool(reloading.problem))
    gauge("collectord_settings_pending", lambda: 0 if reloading is None else len(reloading.pending))
    gauge("collectord_tls_expires_seconds", lambda: 0.0 if certificates is None else certificates.expires)
    gauge("collectord_tls_problem", lambda: certificates is not None and bool(certificates.problem))
    gauge("collectord_tenants_problem", lambda: bool(tenants.problem))
    gauge("collectord_machine_problem", lambda: bool(machine.look()))
    gauge("collectord_log_lost", lambda: log_lost)
    gauge("collectord_draining", lambda: door.draining)
    gauge("collectord_sessions", lambda: len(door.sessions()))
    gauge("collectord_unacknowledged_bytes", lambda: door.unacknowledged)
