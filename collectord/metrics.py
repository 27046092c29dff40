"""Every metric, declared once: name, unit, labels, meaning. Counted per batch, never per row.

Labels come from short fixed lists (reasons, outcomes, causes), so the number of series is bounded whatever clients send.
What belongs to a stream is in `collectord ledger` and `collectord status`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import Metric as Family

from collectord import __version__


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the table that `docs/operations.md` shows."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the buckets of every histogram but the last, which has none."""

TABLE: tuple[Metric, ...] = (
    Metric("collectord_build_info", "gauge", "Always 1; the version is a label.", ("version",)),
    Metric("collectord_records_received_total", "counter", "Rows made durable and acknowledged."),
    Metric("collectord_batches_received_total", "counter", "Batches made durable and acknowledged."),
    Metric("collectord_bytes_received_total", "counter", "Bytes of those batches."),
    Metric("collectord_records_repeated_total", "counter", "Rows sent again by clients and ignored."),
    Metric("collectord_records_rejected_total", "counter", "Rows refused for good.", ("reason",)),
    Metric("collectord_client_dropped_total", "counter", "Rows that clients gave up before sending.", ("reason",)),
    Metric(
        "collectord_reports_left_out_total",
        "counter",
        "Clients' reports of dropped rows that came too fast; the next one has their numbers too.",
    ),
    Metric("collectord_records_landed_total", "counter", "Rows that are in their blobs."),
    Metric("collectord_bytes_landed_total", "counter", "Bytes appended to blobs."),
    Metric("collectord_frames_landed_total", "counter", "Frames appended to blobs."),
    Metric("collectord_frames_sealed_total", "counter", "Frames cut from the log, by cause.", ("cause",)),
    Metric("collectord_records_quarantined_total", "counter", "Rows that were put into quarantine, or lost."),
    Metric("collectord_mdc_answers_total", "counter", "Answers to payloads of the v2 SDK, by HTTP status.", ("code",)),
    Metric(
        "collectord_mdc_payloads_repeated_total", "counter", "Those that had been stored before, by their trace id."
    ),
    Metric(
        "collectord_mdc_incomplete_total",
        "counter",
        "Payloads stored although something was missing: trace (a repeat would not be recognised) or correlation (they "
        "got an id of their own).",
        ("cause",),
    ),
    Metric("collectord_mdc_held_bytes", "gauge", "Bytes of such payloads' bodies that have not been read into rows."),
    Metric("collectord_mdc_open_connections", "gauge", "Connections of their senders."),
    Metric(
        "collectord_machine_problem",
        "gauge",
        "1 while the machine below needs somebody (the spool's mode, a full disk, memory, the clock), else 0.",
    ),
    Metric("collectord_tls_failures_total", "counter", "Connections to the v2 door whose TLS handshake failed."),
    Metric(
        "collectord_tls_expires_seconds", "gauge", "When the daemon's certificate expires, since 1970; 0 without one."
    ),
    Metric(
        "collectord_tls_problem", "gauge", "1 while the certificate's files cannot be used or it is not valid, else 0."
    ),
    Metric(
        "collectord_tenants_problem",
        "gauge",
        "1 while the tenants' file is wrong, and the last good one counts, else 0.",
    ),
    Metric("collectord_mdc_remembered_payloads", "gauge", "Payloads whose repeat would be recognised."),
    Metric("collectord_streams_refused_total", "counter", "Streams refused or ended, by reason.", ("reason",)),
    Metric(
        "collectord_credit_waits_total",
        "counter",
        "Batches held back: for their client, the daemon, a quota or a share of the spool.",
        ("cause",),
    ),
    Metric("collectord_sessions", "gauge", "Clients that are connected."),
    Metric("collectord_remembered_sessions", "gauge", "Clients that are remembered, connected or not."),
    Metric(
        "collectord_stream_name_bytes", "gauge", "Bytes of the names of all streams that are told apart in the books."
    ),
    Metric("collectord_schema_bytes", "gauge", "Memory planned for the schemas of connected clients."),
    Metric("collectord_unacknowledged_bytes", "gauge", "Bytes received and not yet durable."),
    Metric("collectord_waiting_records", "gauge", "Rows in the log that have not landed."),
    Metric("collectord_past_records", "gauge", "Rows that have not landed of days, or hours, that are over."),
    Metric("collectord_open_partitions", "gauge", "Partitions with rows that have not landed."),
    Metric(
        "collectord_freshness_seconds",
        "gauge",
        "Age of the oldest row that has not landed; no more than since the start.",
    ),
    Metric("collectord_wal_bytes", "gauge", "Bytes of the log's segments."),
    Metric("collectord_wal_segments", "gauge", "Segments of the log that hold entries."),
    Metric("collectord_wal_oldest_seconds", "gauge", "Age of the oldest entry that the log keeps for uploading."),
    Metric("collectord_wal_budget_bytes", "gauge", "Most bytes that the log may use."),
    Metric(
        "collectord_tenant_log_bytes",
        "gauge",
        "Bytes of the log that the waiting rows of one tenant, or service where none is named, take: of the one that has most.",
    ),
    Metric("collectord_parked_records", "gauge", "Rows of blocked streams that were moved out of the log."),
    Metric("collectord_parked_bytes", "gauge", "Bytes of the files that hold them; taken from the log's budget."),
    Metric("collectord_refused_partitions", "gauge", "Blocked partitions whose rows are rejected: no more may wait."),
    Metric("collectord_quarantine_records", "gauge", "Rows that are kept in quarantine."),
    Metric("collectord_quarantine_bytes", "gauge", "Bytes of the quarantine's items."),
    Metric(
        "collectord_wal_failures_total",
        "counter",
        "Entries that the log could not make durable; their clients send them again.",
    ),
    Metric("collectord_sync_duration_seconds", "histogram", "Time to write and sync one group of entries of the log."),
    Metric("collectord_encode_duration_seconds", "histogram", "Time to assemble, encode and compress a frame."),
    Metric("collectord_upload_duration_seconds", "histogram", "Time of one attempt to append a frame."),
    Metric("collectord_flush_duration_seconds", "histogram", "Time from sealing a frame until it has landed."),
    Metric(
        "collectord_upload_failures_total",
        "counter",
        "Attempts that did not land: retry, or the reason why the store refuses.",
        ("code",),
    ),
    Metric(
        "collectord_blob_findings_total",
        "counter",
        "What was found at blobs: settled (a lost reply's append was there), races (another writer was first), replaced "
        "(deleted or replaced behind our back), rolled (the next part was taken).",
        ("finding",),
    ),
    Metric(
        "collectord_wal_callback_failures",
        "gauge",
        "Faults of collectord's own that its log has outlived; its log says where.",
    ),
    Metric("collectord_queue_depth", "gauge", "Partitions that are due and wait for a worker."),
    Metric(
        "collectord_ledger_rebuild_needed", "gauge", "1 while uploading waits for `collectord ledger rebuild`, else 0."
    ),
    Metric(
        "collectord_claim_held",
        "gauge",
        "1 while the spool's claim in the store is held, or none is wanted; nothing is uploaded at 0.",
    ),
    Metric("collectord_switches_version", "gauge", "Version of the switches that count; 0: there are none."),
    Metric(
        "collectord_switches_problem",
        "gauge",
        "1 while the switches cannot be read, and the last good ones count, else 0.",
    ),
    Metric(
        "collectord_settings_problem",
        "gauge",
        "1 while the file of settings is wrong, and the settings before it stay, else 0.",
    ),
    Metric("collectord_settings_pending", "gauge", "Settings that the file changes and that wait for a restart."),
    Metric("collectord_draining", "gauge", "1 while nothing new is taken in, because of `collectord drain`, else 0."),
    Metric("collectord_log_lost", "gauge", "1 if the log was gone at the start though the ledger knows of one."),
    Metric(
        "collectord_export_delivered_total", "counter", "Events that the exporter's endpoint has taken.", ("exporter",)
    ),
    Metric(
        "collectord_export_refused_total",
        "counter",
        "Events given up because the endpoint will never take them, by its reason; damaged: the log cannot be read.",
        ("exporter", "reason"),
    ),
    Metric("collectord_export_retried_total", "counter", "Events to be sent again, by reason.", ("exporter", "reason")),
    Metric(
        "collectord_export_expired_total",
        "counter",
        "Events given up because the exporter was too far behind.",
        ("exporter",),
    ),
    Metric(
        "collectord_export_doubtful_total",
        "counter",
        "Events sent again though they may have arrived: there may be so many duplicates.",
        ("exporter",),
    ),
    Metric("collectord_export_large_total", "counter", "Events that were stored whole in a blob.", ("exporter",)),
    Metric("collectord_export_cut_total", "counter", "Events sent with something cut to a limit.", ("exporter",)),
    Metric("collectord_export_lag_bytes", "gauge", "Bytes of the log that the exporter needs.", ("exporter",)),
    Metric(
        "collectord_export_lag_seconds", "gauge", "For how long its oldest event has waited, at least.", ("exporter",)
    ),
    Metric(
        "collectord_export_blocked", "gauge", "1 while it delivers nothing until somebody acts, else 0.", ("exporter",)
    ),
    Metric("collectord_blocked_partitions", "gauge", "Partitions whose blob refuses the append until someone acts."),
)


class _Registry(CollectorRegistry):
    """Without the time at which each series was made. The library's own switch for that is one for the whole process, which may
    be somebody else's."""

    def collect(self) -> Iterator[Family]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class Metrics:
    """The table, alive. One per daemon, with a registry of its own; safe from any thread."""

    def __init__(self) -> None:
        self.registry = _Registry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        for metric in TABLE:
            if metric.kind == "counter":
                self._made[metric.name] = Counter(metric.name, metric.help, metric.labels, registry=self.registry)
            elif metric.kind == "gauge":
                self._made[metric.name] = Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
            else:
                self._made[metric.name] = Histogram(
                    metric.name, metric.help, metric.labels, registry=self.registry, buckets=SECONDS
                )
        self.gauge("collectord_build_info", lambda: 1.0, version=__version__)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter of the table."""
        counter = self._made[name]
        assert isinstance(counter, Counter)
        (counter.labels(**labels) if labels else counter).inc(amount)

    def expect(self, name: str, **labels: str) -> None:
        """Has a counter of the table there at 0 with these labels, before anything is counted.

        Prometheus reckons an increase between two samples of a series: one that first appears with what it counted shows none, and
        no alert.
        """
        counter = self._made[name]
        assert isinstance(counter, Counter)
        counter.labels(**labels)

    def observe(self, name: str, seconds: float) -> None:
        """Adds an observation to a histogram of the table."""
        histogram = self._made[name]
        assert isinstance(histogram, Histogram)
        histogram.observe(seconds)

    def total(self, name: str) -> float:
        """A counter of the table, over all its labels."""
        return sum(
            sample.value for family in self._made[name].collect() for sample in family.samples if sample.name == name
        )

    def buckets(self, name: str) -> tuple[float, ...]:
        """Observations of a histogram of the table: how many there were in each of the buckets of `SECONDS`, and above."""
        upto = [
            sample.value
            for family in self._made[name].collect()
            for sample in family.samples
            if sample.name == f"{name}_bucket"
        ]
        return tuple(more - less for less, more in zip([0.0, *upto], upto, strict=False))

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Sets where a gauge of the table is read from, at each scrape."""
        gauge = self._made[name]
        assert isinstance(gauge, Gauge)
        (gauge.labels(**labels) if labels else gauge).set_function(read)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)
