"""The parts of a daemon as its settings want them. `daemon.py` says when each of them begins and ends."""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from collectord import config, cores, exporters, files
from collectord.buffer.seal import SealRules
from collectord.certificates import Certificates
from collectord.clock import Clock
from collectord.destination import layout_of, open_store
from collectord.encode import frame_reader
from collectord.errors import ConfigError
from collectord.ingest.admission import Admission
from collectord.ingest.marks import Marks
from collectord.ingest.validate import DAY_NS, Window
from collectord.listeners import group_id
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.outputs import Outputs
from collectord.patterns import StreamPatterns
from collectord.pipeline import Pipeline, parking
from collectord.pipeline.exports import Destinations
from collectord.pipeline.lag import Limits
from collectord.quarantine import ROWS_DIRECTORY
from collectord.settings import Settings
from collectord.spool import RESERVE_BYTES, Opened
from collectord.spoolfiles import FRAMES_DIRECTORY, RESERVE_FILE
from collectord.switches import Rules
from collectord.tenants import Tenants
from collectord.upload.appender import Appender
from collectord.upload.documents import DocumentStore
from collectord.upload.location import Location
from collectord.upload.naming import Layout
from collectord.upload.schemas import SchemaPublisher
from collectord.upload.store import BlobStore
from collectord.wal.reader import LogReader
from collectord.wal.recovery import Recovered, recover
from collectord.wal.writer import LogWriter

LOG_SHARE = 0.8
"""Of the spool's budget, for the log and what is parked of it; the rest is for quarantine, frames, ledger and reserve."""
INGEST_SHARE = 4
"""A fourth of the memory budget may be received and not yet durable."""
FRAME_PAYLOAD_SHARE = 128

_log = logging.getLogger("collectord.daemon")


def rules_of(settings: Settings) -> Rules:
    """What is collected, as far as the settings say."""
    return Rules(
        settings.collect_default,
        StreamPatterns(settings.collect_on),
        StreamPatterns(settings.collect_only),
        telemetry=settings.telemetry_default,
    )


def window_of(settings: Settings) -> Window:
    """Which times are accepted, and the form and period of what lands."""
    return Window(
        int(settings.late_days * DAY_NS),
        int(settings.early_days * DAY_NS),
        settings.boundary_minutes,
        Outputs(settings.mdc_output),
    )


def admission_of(settings: Settings) -> Admission:
    """How much may be received and not yet durable."""
    return Admission(settings.memory_budget // INGEST_SHARE)


def recover_log(directory: Path, opened: Opened) -> Recovered:
    """The log of an opened spool, which says what was damaged."""
    parked, ledger = opened.parked, opened.ledger
    recovered = recover(
        directory, ledger.spool_id, max(ledger.lsn_floor(), parked.end), needed_from=ledger.needed_from()
    )
    if parked.damages:
        event(_log, logging.ERROR, "parked entries were damaged", files=parked.damages)
    if recovered.damages or recovered.set_aside:
        event(
            _log, logging.ERROR, "the log was damaged; what could not be read is in quarantine",
            ranges=len(recovered.damages), files=len(recovered.set_aside),
        )  # fmt: skip
    return recovered


def log_of(settings: Settings, directory: Path, opened: Opened, recovered: Recovered) -> LogWriter:
    """The log of an opened spool, to be written to."""
    return LogWriter(
        directory,
        opened.ledger.spool_id,
        recovered,
        segment_bytes=settings.segment_bytes,
        budget_bytes=int(settings.spool_budget * LOG_SHARE),
        durability=settings.durability,
    )


def pipeline_of(
    settings: Settings,
    *,
    spool: Path,
    opened: Opened,
    recovered: Recovered,
    layout: Layout,
    store: BlobStore,
    documents: DocumentStore,
    log: LogWriter,
    marks: Marks,
    metrics: Metrics,
    clock: Clock,
    connected: Callable[[], frozenset[bytes]],
) -> Pipeline:
    """From the log to the `store`. `documents`: the same without regard to who may upload, for what exporters set aside."""
    frames = spool / FRAMES_DIRECTORY
    files.make_private_directory(frames)
    return Pipeline(
        log=log,
        reader=LogReader(
            log.catalog,
            opened.reads_from(recovered.segments[0].base if recovered.segments else recovered.end),
        ),
        ledger=opened.ledger,
        appender=Appender(
            store, opened.ledger, frames, layout, frame_reader, clock, random.Random(opened.ledger.writer_id)
        ),
        schemas=SchemaPublisher(store),
        reserve=files.Reserve(spool / RESERVE_FILE, RESERVE_BYTES),
        layout=layout,
        marks=marks,
        metrics=metrics,
        clock=clock,
        rules=SealRules(
            settings.flush_bytes,
            max(256 << 10, settings.memory_budget // FRAME_PAYLOAD_SHARE),
            settings.flush_interval,
            opened.ledger.writer_id,
        ),
        codec=settings.codec,
        level=settings.level,
        lowercase_workspace=settings.layout == "sdk-v1",
        workers=settings.uploads,
        # One core is left for what people wait for.
        makers=max(1, math.ceil(cores.usable()) - 1),
        max_streams=settings.max_streams,
        share=settings.tenant_share,
        mark_seconds=settings.mark_days * 86_400,
        connected=connected,
        received=opened.received({key: counts.rows for key, counts in recovered.counts.snapshot().items()}),
        received_to=recovered.end,
        parked=opened.parked,
        parked_budget=parking.budget_of(int(settings.spool_budget * LOG_SHARE), settings.segment_bytes),
        quarantine=spool / ROWS_DIRECTORY,
        quarantine_budget=settings.most_quarantined,
        destinations=Destinations(
            exporters.open_exporters(settings), documents,
            Limits(settings.export_max_lag_hours * 3600, settings.export_max_lag_bytes),
        ),
        node=settings.node,
    )  # fmt: skip


def check(settings: Settings) -> None:
    """Refuses what only the rooms can judge: the layout, the names in the store, the socket's group.

    Raises:
        CallHuman: naming the setting.
    """
    layout_of(settings, "0" * 32)
    if settings.socket_group is not None:
        group_id(settings.socket_group)
    config.read_columns_key(settings)
    exporters.check(settings)
    certificates_of(settings)
    Tenants(settings.tenants, settings.reachable)


def look_around(settings: Settings) -> Iterator[str]:
    """What `serve` would find here beyond the settings: notes, for people.

    Raises:
        ConfigError: it would not start, or could not write: a credential's file, the store or the spool.
    """
    open_store(settings).close()
    for name, path in (("store", Location.parse(settings.store).directory), ("spool", settings.spool)):
        if path is None:
            continue
        there = files.nearest(path.resolve())
        if not there.is_dir():
            raise ConfigError(f"{name}: {there} is not a directory")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(
                f"{name}: {there} belongs to user {there.stat().st_uid}, and this one, {os.geteuid()}, may not write there"
            )
        if there != path.resolve():
            yield f"{name}: {path} does not exist yet; the daemon makes it"


def certificates_of(settings: Settings) -> Certificates | None:
    """What the ports speak TLS with. Raises ConfigError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
