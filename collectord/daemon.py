"""The life of a daemon: what is opened in which order, who is let in when, and what happens on SIGTERM.

Start: spool lock, ledger, log, replay, listeners. Stop, on the first signal: listeners close, the log commits what is
queued, the pipeline uploads what fits into the drain deadline, the rest stays in the log. A second signal stops at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
from pydantic import SecretStr

from collectord import __version__, files
from collectord._pb import collector_pb2 as pb
from collectord.books import StreamBooks
from collectord.buffer.seal import SealRules
from collectord.claiming import Claiming
from collectord.clock import SystemClock
from collectord.config import Settings, split_address, unknown_environment
from collectord.control.service import ControlService
from collectord.encode import frame
from collectord.errors import ConfigError, SpoolUnusable
from collectord.ingest.admission import Admission
from collectord.ingest.intake import Intake
from collectord.ingest.marks import Marks
from collectord.ingest.service import CollectorService, server_options
from collectord.ingest.session import Gate
from collectord.ingest.validate import DAY_NS, Window
from collectord.listeners import Listeners, group_id, new_server
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Lsn
from collectord.pipeline import Pipeline, parking
from collectord.pipeline.rebuild import Options
from collectord.pipeline.rebuilding import Account, Rebuilding
from collectord.quarantine import ROWS_DIRECTORY
from collectord.spool import open_ledger, take_lock
from collectord.upload.appender import Appender
from collectord.upload.claim import Claim, place_of
from collectord.upload.documents import DocumentStore
from collectord.upload.guarded import Guarded
from collectord.upload.location import Location
from collectord.upload.naming import Layout
from collectord.upload.schemas import SchemaPublisher
from collectord.wal.reader import LogReader
from collectord.wal.recovery import recover
from collectord.wal.writer import LogWriter

LOG_DIRECTORY = "log"
FRAMES_DIRECTORY = "frames"
RESERVE_FILE = "reserve"
RESERVE_BYTES = 12 << 20
"""A frame of 4 MiB for two workers, and what the ledger needs meanwhile."""
LOG_SHARE = 0.8
"""Of the spool's budget, for the log and what is parked of it; the rest is for quarantine, frames, ledger and reserve."""
QUARANTINE_SHARE = 0.05
"""Of the spool's budget."""
INGEST_SHARE = 4
"""A fourth of the memory budget may be received and not yet durable."""
FRAME_PAYLOAD_SHARE = 128
WHERE_BYTES = 64 << 20
"""Of the log that one `collectord where` has the daemon search."""
DRAINING = "draining"
CLAIM_PATIENCE = 10.0
STOP_GRACE = 0.25
STOP_PATIENCE = 2.0
"""Seconds beyond the drain deadline for an upload that is under way."""

_log = logging.getLogger("collectord.daemon")


def open_store(settings: Settings) -> DocumentStore:
    """The store that the settings name."""

    def plain(value: SecretStr | None) -> str | None:
        return value.get_secret_value() if value is not None else None

    return Location.parse(settings.store).open(
        connection_string=plain(settings.azure_connection_string),
        account_url=plain(settings.azure_account_url),
        sas_token=plain(settings.azure_sas),
    )


def tune_malloc() -> None:
    """Keeps freed memory of message size in the process: a fresh 1 MB message else costs twice its copy in page faults.

    All three limits have to be raised together (docs/architecture.md, "Memory"). Does nothing where libc has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_trim_threshold, 64 << 20)
        mallopt(m_top_pad, 16 << 20)


class Daemon:
    """One running collectord."""

    def __init__(self, settings: Settings, *, adopting: bool = False, force: bool = False) -> None:
        """`adopting`: the spool is another's, left behind, and its claim is taken over; `force`: from whomever."""
        self.settings = settings
        self._adopting = adopting
        self._force = force
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._listeners = Listeners(settings.socket_mode, settings.socket_group)
        self._started = time.time()
        self._not_ready: str | None = "starting"
        self._gate: Gate | None = None
        self._draining = False

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Everything but the listeners; blocks while the log is replayed.

        Raises:
            CallHuman: the spool, the ledger or a setting needs somebody.
        """
        settings = self.settings
        spool = settings.spool.resolve()
        try:
            files.make_private_directory(spool)
            self._spool_lock = take_lock(spool / "lock", f"another daemon runs on the spool {spool}")
        except OSError as error:
            raise SpoolUnusable(
                f"spool: {spool} cannot be written ({error.strerror}); make it a directory that user "
                f"{os.getuid()} owns, or choose another with --spool"
            ) from None
        log_directory = spool / LOG_DIRECTORY
        opened = open_ledger(spool, log_directory)
        self._ledger, self._log_lost = opened.ledger, opened.log_lost
        self._layout = Layout(
            settings.layout,
            suffix=frame.FrameEncoder(settings.codec, settings.level).suffix,
            node=settings.node,
            writer=self._ledger.writer_id.hex(),
            prefix=Location.parse(settings.store).prefix,
        )
        parked = opened.parked
        recovered = recover(log_directory, self._ledger.spool_id, max(self._ledger.lsn_floor(), parked.end))
        if parked.damages:
            event(_log, logging.ERROR, "parked entries were damaged", files=parked.damages)
        if recovered.damages or recovered.set_aside:
            event(
                _log, logging.ERROR, "the log was damaged; what could not be read is in quarantine",
                ranges=len(recovered.damages), files=len(recovered.set_aside),
            )  # fmt: skip
        counted = {stream: counts.rows for stream, counts in recovered.counts.snapshot().items()}
        self._log_writer = LogWriter(
            log_directory,
            self._ledger.spool_id,
            recovered,
            segment_bytes=settings.segment_bytes,
            budget_bytes=int(settings.spool_budget * LOG_SHARE),
            durability=settings.durability,
        )
        self._store = open_store(settings)
        self._marks = Marks()
        self._marks.restore((mark.client, mark.mark, mark.seen_ns) for mark in self._ledger.clients())
        claim = self._make_claim(spool)
        store = self._store if claim is None else Guarded(self._store, claim)
        frames = spool / FRAMES_DIRECTORY
        files.make_private_directory(frames)
        self._appender = Appender(
            store,
            self._ledger,
            frames,
            self._layout,
            frame,
            self._clock,
            random.Random(self._ledger.writer_id),
        )
        self._pipeline = Pipeline(
            log=self._log_writer,
            reader=LogReader(
                self._log_writer.catalog,
                opened.reads_from(recovered.segments[0].base if recovered.segments else recovered.end),
            ),
            ledger=self._ledger,
            appender=self._appender,
            schemas=SchemaPublisher(store),
            reserve=files.Reserve(spool / RESERVE_FILE, RESERVE_BYTES),
            layout=self._layout,
            marks=self._marks,
            metrics=self._metrics,
            clock=self._clock,
            rules=SealRules(
                settings.flush_bytes,
                max(256 << 10, settings.memory_budget // FRAME_PAYLOAD_SHARE),
                settings.flush_interval,
                self._ledger.writer_id,
            ),
            codec=settings.codec,
            level=settings.level,
            lowercase_workspace=settings.layout == "sdk-v1",
            workers=settings.uploads,
            max_streams=settings.max_streams,
            mark_seconds=settings.mark_days * 86_400,
            connected=self._connected,
            received=opened.received(counted),
            received_to=recovered.end,
            parked=parked,
            parked_budget=parking.budget_of(int(settings.spool_budget * LOG_SHARE), settings.segment_bytes),
            quarantine=spool / ROWS_DIRECTORY,
            quarantine_budget=int(settings.spool_budget * QUARANTINE_SHARE),
            log_lost=opened.log_lost,
        )
        self._pipeline.replay(
            bool(recovered.damages or recovered.losses), [(loss.stream, loss.rows) for loss in recovered.losses]
        )
        self.claiming = None if claim is None else Claiming(claim, self._pipeline, self._clock)
        self._rebuilding = Rebuilding(self._pipeline, self._store, lambda: self._ledger.rebuild_needed, self._hindrance)
        if self._ledger.rebuild_needed:
            self._tell_rebuild()
        self._declare_gauges()
        self._log_writer.start()
        self._pipeline.start()
        if self.claiming is not None and not self._adopting:
            self.claiming.start()
        event(
            _log, logging.INFO, "log replayed", entries=recovered.entries, waiting_rows=self._pipeline.waiting()[0],
            spool=str(spool), store=self._store.describe(),
        )  # fmt: skip

    def _make_claim(self, spool: Path) -> Claim | None:
        settings = self.settings
        if not settings.claim_interval:
            return None
        return Claim(
            self._store, self._ledger.spool_id, self._ledger, self._clock, node=settings.node,
            place="" if self._adopting else place_of(spool / "lock"), interval=settings.claim_interval,
            unknown_past=self._ledger.rebuild_needed, force=self._force,
        )  # fmt: skip

    def _hindrance(self) -> str:
        """Why what has landed cannot be found out now."""
        return "" if self.claiming is None else self.claiming.await_claim(CLAIM_PATIENCE)

    def _tell_rebuild(self) -> None:
        rows = self._pipeline.waiting()[0]
        if not rows:
            # Nothing in the log could land twice.
            self._pipeline.rebuild(())
            return
        event(
            _log, logging.ERROR, "the ledger is gone; nothing is uploaded until `collectord ledger rebuild`",
            rows_in_log=rows, spool=str(self.settings.spool.resolve()),
        )  # fmt: skip

    def _connected(self) -> frozenset[bytes]:
        gate = self._gate
        return frozenset(session.client for session in list(gate.sessions)) if gate else frozenset()

    def _declare_gauges(self) -> None:
        metrics, pipeline, log = self._metrics, self._pipeline, self._log_writer
        metrics.gauge("collectord_waiting_records", lambda: pipeline.waiting()[0])
        metrics.gauge("collectord_open_partitions", lambda: pipeline.waiting()[1])
        metrics.gauge("collectord_freshness_seconds", lambda: pipeline.waiting()[2])
        metrics.gauge("collectord_blocked_partitions", lambda: sum(t.blocked for _, t in pipeline.troubles()))
        metrics.gauge("collectord_queue_depth", pipeline.queue_depth)
        metrics.gauge("collectord_wal_segments", lambda: len(log.catalog.segments()))
        metrics.gauge("collectord_wal_oldest_seconds", lambda: pipeline.waiting()[2])
        metrics.gauge("collectord_wal_bytes", lambda: log.used_bytes)
        metrics.gauge("collectord_wal_budget_bytes", lambda: log.budget)
        metrics.gauge("collectord_wal_callback_failures", lambda: log.callback_failures)
        metrics.gauge("collectord_parked_records", lambda: pipeline.parked()["rows"])
        metrics.gauge("collectord_parked_bytes", lambda: pipeline.parked()["bytes"])
        metrics.gauge("collectord_refused_partitions", lambda: pipeline.parked()["refused_partitions"])
        metrics.gauge("collectord_quarantine_records", lambda: pipeline.shelf.totals()[1])
        metrics.gauge("collectord_quarantine_bytes", lambda: pipeline.shelf.used_bytes)
        metrics.gauge("collectord_ledger_rebuild_needed", lambda: self._ledger.rebuild_needed)
        metrics.gauge("collectord_claim_held", lambda: self.claiming is None or self.claiming.claim.held)
        metrics.gauge("collectord_draining", lambda: self._draining)
        metrics.gauge("collectord_log_lost", lambda: self._log_lost)
        metrics.gauge("collectord_sessions", lambda: len(self._gate.sessions) if self._gate else 0)
        metrics.gauge("collectord_unacknowledged_bytes", lambda: self._gate.admission.used if self._gate else 0)

    # ------------------------------------------------------------------ serving

    async def run(self) -> None:
        """Serves until a signal, then drains. `open` came before."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def on_signal() -> None:
            if stop.is_set():
                event(_log, logging.WARNING, "second signal: stopping at once, the rest stays in the log")
                logging.shutdown()
                os._exit(1)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        self._loop = loop
        self._intake = Intake(self._log_writer, loop)
        self._gate = gate = Gate(
            log=self._intake,
            streams=self._pipeline,
            marks=self._marks,
            admission=Admission(settings.memory_budget // INGEST_SHARE),
            window=Window(
                int(settings.late_days * DAY_NS), int(settings.early_days * DAY_NS), settings.boundary_minutes
            ),
            spool_id=self._ledger.spool_id,
            collect=settings.collect_default,
            clock=self._clock,
            metrics=self._metrics,
            loop=loop,
        )
        async with AsyncExitStack() as undo:
            server = await new_server(
                pb.DESCRIPTOR.services_by_name["Collector"].full_name, server_options(settings.max_clients)
            )
            undo.push_async_callback(server.stop, None)
            server.add_generic_rpc_handlers((CollectorService(gate, settings.max_clients).handler(),))
            for address in settings.listen:
                self._listeners.bind(server, address)
            admin = await new_server(pb.DESCRIPTOR.services_by_name["Control"].full_name)
            undo.push_async_callback(admin.stop, None)
            admin.add_generic_rpc_handlers((ControlService(self).handler(),))
            self._listeners.bind_admin(admin, settings.admin_socket)
            await server.start()
            await admin.start()
            self._listeners.open()
            runner = None
            if settings.admin is not None:
                from collectord.admin import http

                host, port = split_address(settings.admin)
                try:
                    runner = await http.serve(
                        host, port, self._metrics, lambda: self._not_ready, lambda: self._pipeline.held
                    )
                except OSError as error:
                    raise ConfigError(f"admin: {settings.admin} cannot be bound: {error.strerror}") from None
            undo.pop_all()
        self._not_ready = None
        event(
            _log, logging.INFO, "ready", version=__version__, pid=os.getpid(), listen=list(settings.listen),
            store=self._store.describe(), admin=settings.admin,
        )  # fmt: skip
        await stop.wait()
        await self._drain(server, admin)
        if runner is not None:
            await runner.cleanup()

    async def _drain(self, server: grpc.aio.Server, admin: grpc.aio.Server) -> None:
        deadline = self._clock.monotonic() + self.settings.drain_deadline
        self._not_ready = "stopping"
        event(_log, logging.INFO, "stopping", deadline_seconds=self.settings.drain_deadline)
        await server.stop(STOP_GRACE)
        await asyncio.to_thread(self._log_writer.close)
        complete = await asyncio.to_thread(self._pipeline.flush, max(0.0, deadline - self._clock.monotonic()))
        left = self._pipeline.waiting()[0]
        idle = await asyncio.to_thread(self._pipeline.stop, STOP_PATIENCE)
        if self.claiming is not None:
            # What is still under way may land yet, so then the next one has to wait.
            idle = await asyncio.to_thread(self.claiming.stop, idle, STOP_PATIENCE) and idle
        # After the pipeline, whose end answers the flushes that wait for it.
        await admin.stop(STOP_GRACE)
        event(_log, logging.INFO, "stopped", complete=complete, rows_left_in_log=left)
        if not idle:
            # A request to a store that does not answer holds its thread, and the interpreter would wait for it. What it
            # does or does not do is settled by the next start, as after a crash.
            event(_log, logging.WARNING, "an upload was under way; the next start settles it")
            logging.shutdown()
            os._exit(0)
        self._store.close()
        self._ledger.close()

    # ------------------------------------------------------------------ what Control may ask

    def status(self) -> dict[str, Any]:
        """What the daemon is doing, as JSON values; docs/operations.md describes the fields."""
        rows, partitions, age = self._pipeline.waiting()
        gate = self._gate
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_seconds": round(time.time() - self._started, 1),
            "state": self._not_ready or "ready",
            "listen": list(self.settings.listen),
            "store": self._store.describe(),
            "spool": str(self.settings.spool.resolve()),
            "writer": self._ledger.writer_id.hex(),
            "layout": self.settings.layout,
            "node": self.settings.node,
            "clients": [
                {"pid": session.pid, "sdk": session.sdk, "rows": session.rows}
                for session in (list(gate.sessions) if gate else [])
            ],
            "waiting": {"rows": rows, "partitions": partitions, "oldest_seconds": round(age, 3)},
            "log": {"bytes": self._log_writer.used_bytes, "budget_bytes": self._log_writer.budget},
            "parked": self._pipeline.parked(),
            "quarantine": self._quarantine(),
            "troubles": [
                {
                    "blob": base,
                    "blocked": trouble.blocked,
                    "detail": trouble.detail,
                    "again_in_seconds": round(max(0.0, trouble.until - self._clock.monotonic()), 1),
                }
                for base, trouble in [*self._pipeline.troubles(), *(self.claiming.troubles() if self.claiming else ())]
            ],
            "held": self._pipeline.held or None,
            "draining": self._draining,
            "claim": None
            if self.claiming is None
            else {"held": self.claiming.claim.held, "why": self.claiming.claim.why},
            "ledger_rebuild_needed": self._ledger.rebuild_needed,
            "ledger_rebuilt": self._ledger.was_rebuilt,
            "log_lost": self._log_lost,
            "last_error": self._pipeline.last_error or None,
        }

    def _quarantine(self) -> dict[str, int]:
        items, rows = self._pipeline.shelf.totals()
        shelf = self._pipeline.shelf
        return {"items": items, "rows": rows, "bytes": shelf.used_bytes, "budget_bytes": shelf.budget}

    def quarantined(self) -> list[bytes]:
        return self._pipeline.shelf.ids()

    def retry_quarantined(self, id_: bytes) -> int:
        return self._pipeline.shelf.retry(id_)

    def drop_quarantined(self, id_: bytes) -> int:
        return self._pipeline.shelf.drop(id_)

    @property
    def rebuild_needed(self) -> bool:
        """Whether the ledger was lost and has not been rebuilt."""
        return self._ledger.rebuild_needed

    def close(self) -> bool:
        """Ends what `open` began, without listeners. Returns whether nothing is under way any more; if not, the claim
        is kept, and what was under way is settled by whoever comes next."""
        self._log_writer.close()
        idle = self._pipeline.stop(STOP_PATIENCE)
        if self.claiming is not None:
            idle = self.claiming.stop(idle, STOP_PATIENCE) and idle
        if idle:
            self._store.close()
            self._ledger.close()
            # Else what is under way still writes to the spool: the lock goes with the process.
            os.close(self._spool_lock)
        return idle

    def flush(self, timeout: float, *, insist: bool = True) -> bool:
        if self.claiming is not None:
            self.claiming.hurry()
        return self._pipeline.flush(timeout, insist=insist)

    def waiting_rows(self) -> int:
        return self._pipeline.waiting()[0]

    def last_error(self) -> str:
        return self._pipeline.held or self._pipeline.last_error

    def drain(self, on: bool, wait: float) -> tuple[bool, int, str]:
        """See `control.service.Daemon`. The end of a drain is told by the rows that wait: none."""
        if self._gate is None or self._not_ready == "stopping":
            return False, self.waiting_rows(), self._not_ready or "starting"
        begins = on != self._draining
        if begins:
            asyncio.run_coroutine_threadsafe(self._set_draining(on), self._loop).result()
            event(_log, logging.INFO, "draining: nothing new is taken in" if on else "taking in again")
        if not on:
            return False, self.waiting_rows(), ""
        deadline = self._clock.monotonic() + wait
        complete = self._pipeline.flush(wait, insist=begins)
        # What was under way to the log when the door was shut.
        while complete and self._gate.admission.used and self._clock.monotonic() < deadline:
            time.sleep(0.01)
            complete = self._pipeline.flush(min(0.1, wait), insist=False)
        rows = max(self.waiting_rows(), int(not complete))
        return True, rows, self.last_error() if rows else ""

    async def _set_draining(self, on: bool) -> None:
        self._draining = on
        assert self._gate is not None
        if on:
            self._intake.shut()
        else:
            self._intake.open()
        self._gate.close("the daemon is draining" if on else "")
        if self._not_ready in (None, DRAINING):
            self._not_ready = DRAINING if on else None

    def rebuild(self, begin: bool, skip_doubtful: bool, everywhere: bool, dry_run: bool, wait: float) -> Account:
        options = Options("skip" if skip_doubtful else "repeat", everywhere)
        return self._rebuilding.ask(begin, options, dry_run, wait)

    def books(self) -> list[StreamBooks]:
        return self._pipeline.books()

    def where(self, needles: Sequence[bytes]) -> tuple[list[tuple[str, Lsn, int]], int, bool]:
        return self._pipeline.search(needles, WHERE_BYTES)


def check(settings: Settings) -> None:
    """Refuses what only the rooms can judge: the layout, the names in the store, the socket's group.

    Raises:
        CallHuman: naming the setting.
    """
    prefix = Location.parse(settings.store).prefix
    Layout(
        settings.layout, suffix=frame.FrameEncoder(settings.codec, settings.level).suffix, node=settings.node,
        writer="0" * 32, prefix=prefix,
    )  # fmt: skip
    if settings.socket_group is not None:
        group_id(settings.socket_group)


def serve(settings: Settings) -> None:
    """Runs a daemon until a signal ends it.

    Raises:
        CallHuman: it cannot start.
    """
    tune_malloc()
    # Pure-Python work must not hold the GIL for 5 ms while batches wait.
    sys.setswitchinterval(0.0005)
    for name in unknown_environment():
        event(_log, logging.WARNING, "an environment variable looks like a setting and is none", name=name)
    # While the log is replayed nothing can be lost, so a signal ends it; as PID 1 nobody else would see to that.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    daemon = Daemon(settings)
    daemon.open()
    asyncio.run(daemon.run())
