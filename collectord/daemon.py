"""The life of a daemon: what is opened in which order, who is let in when, and what happens on SIGTERM.

Start: spool lock, ledger, log, replay, listeners. Stop, on the first signal: clients that are not done yet have the late
window, listeners close, the log commits what is queued, the pipeline uploads what fits into the drain deadline, the rest
stays in the log. A second signal stops at once.
What concerns a whole process (signals, malloc, its end) is in `process.py`; `embedded.py` runs a daemon in somebody else's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from collectord import __version__
from collectord.answers import Answers
from collectord.assembly import admission_of, certificates_of, log_of, pipeline_of, recover_log, rules_of, window_of
from collectord.claiming import Claiming
from collectord.clock import SystemClock
from collectord.destination import keep_disk, layout_of, open_store
from collectord.door import Door
from collectord.errors import CollectordError, SpoolInUse
from collectord.gauges import set_gauges
from collectord.history import History, sample_of
from collectord.ingest.gate import Gate
from collectord.ingest.intake import Intake
from collectord.ingest.marks import Marks
from collectord.ingest.purses import Purses
from collectord.ingest.shares import Names
from collectord.ingest.validate import Shared
from collectord.listeners import Listeners
from collectord.logs import event
from collectord.machine import Machine
from collectord.metrics import Metrics
from collectord.model import Stream
from collectord.notes import FILE as NOTES_FILE
from collectord.notes import Notes
from collectord.pipeline.rebuilding import Rebuilding
from collectord.pipeline.workers import Workers
from collectord.reloading import Reloading
from collectord.servers import Servers
from collectord.settings import Settings
from collectord.spool import lock_spool, open_ledger
from collectord.spoolfiles import LOCK_FILE, LOG_DIRECTORY
from collectord.switchboard import Switchboard
from collectord.switches import Rules
from collectord.tenants import Tenants
from collectord.upload.claim import Claim, place_of
from collectord.upload.guarded import Guarded

CLAIM_PATIENCE = 10.0
SWITCHES_PATIENCE = 2.0
"""Seconds that a start waits for the store to say what is switched on."""
NAMES_SHARE = 4
"""Of a segment, a fourth may be the names of the streams, which stand in the header of each."""
STOP_GRACE = 0.25
STOP_PATIENCE = 2.0
"""Seconds beyond the drain deadline for an upload that is under way."""
LOOK_SECONDS = 0.1
"""How often it is looked whether the last client has gone."""

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("collectord.daemon")


class Daemon:
    """One running collectord."""

    def __init__(self, settings: Settings, *, adopting: bool = False, force: bool = False) -> None:
        """`adopting`: the spool is another's, left behind, and its claim is taken over; `force`: from whomever."""
        self.settings = settings
        """As they are now: some of them may change; see `tune`."""
        self.reloading: Reloading | None = None
        """Who watches the file of settings, if anybody does; set before `open`."""
        self._adopting = adopting
        self._force = force
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._certificates = certificates_of(settings)
        self._tenants = Tenants(settings.tenants, settings.reachable)
        self._listeners = Listeners(settings.socket_mode, settings.socket_group, self._certificates)
        self._started = self._clock.monotonic()
        self._door = Door()
        self._spool_lock: int | None = None
        self._widen: Callable[[Settings], None] = lambda _: None
        self._notes: Notes | None = None
        # Started before it is needed: while an interpreter ends, no thread starts any more.
        self._aside = Workers(1, "collectord-end")

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Everything but the listeners; blocks while the log is replayed.

        Raises:
            SpoolInUse: another daemon has the spool. Of the guests of one directory all but one hear that, so it is not logged.
            CallHuman: the spool, the ledger or a setting needs somebody.
        """
        settings = self.settings
        spool = settings.spool.resolve()
        try:
            self._spool_lock = lock_spool(spool)
        except SpoolInUse:
            raise
        except CollectordError as error:
            # Without notes: what another daemon writes there is not ours to add to.
            self._say_failed(error)
            raise
        self._notes = notes = Notes(settings.node, spool / NOTES_FILE)
        notes.open()
        try:
            self._open(spool, notes)
        except Exception as error:
            self._say_failed(error)
            raise

    def _say_failed(self, error: Exception) -> None:
        """For whoever asks later why nothing runs here."""
        event(_log, logging.ERROR, "the start failed", why=str(error))
        self._close_notes()

    def _close_notes(self) -> None:
        if self._notes is not None:
            self._notes.close()

    def _open(self, spool: Path, notes: Notes) -> None:
        settings = self.settings
        opened = open_ledger(spool, spool / LOG_DIRECTORY)
        self._ledger = opened.ledger
        layout = layout_of(settings, self._ledger.writer_id.hex())
        recovered = recover_log(spool / LOG_DIRECTORY, opened)
        self._log_writer = log_of(settings, spool / LOG_DIRECTORY, opened, recovered)
        self._store = open_store(settings)
        keep_disk(self._store, self._ledger)
        self._marks = Marks(settings.max_remembered)
        self._marks.restore((mark.client, mark.mark, mark.seen_ns) for mark in self._ledger.clients())
        claim = self._make_claim(spool)
        store = self._store if claim is None else Guarded(self._store, claim)
        self._pipeline = pipeline_of(
            settings, spool=spool, opened=opened, recovered=recovered, layout=layout, store=store, documents=self._store,
            log=self._log_writer, marks=self._marks, metrics=self._metrics, clock=self._clock,
            connected=self._door.connected,
        )  # fmt: skip
        self._pipeline.replay(
            bool(recovered.damages or recovered.losses), [(loss.stream, loss.rows) for loss in recovered.losses]
        )
        self._switchboard = Switchboard(
            self._store,
            spool,
            self._clock,
            rules_of(settings),
            settings.switches_interval,
        )
        self._switchboard.open()
        self._pipeline.upload_events.wanted = self._wants
        self.claiming = None if claim is None else Claiming(claim, self._pipeline, self._clock)
        if self.rebuild_needed:
            self._tell_rebuild()
        machine = self._machine = Machine(spool, settings.memory_budget, self._log_writer, lambda: self._store.skew)
        set_gauges(
            self._metrics, pipeline=self._pipeline, log=self._log_writer, ledger=self._ledger, door=self._door,
            claiming=self.claiming, switchboard=self._switchboard, reloading=self.reloading, log_lost=opened.log_lost,
            certificates=self._certificates, tenants=self._tenants, machine=machine,
        )  # fmt: skip
        self._history = History(
            lambda: sample_of(self._metrics, self._pipeline.overview.waiting(), self._clock.monotonic()), machine.look
        )
        self.answers = Answers(
            settings, clock=self._clock, pipeline=self._pipeline, log=self._log_writer, ledger=self._ledger,
            store=self._store, door=self._door, claiming=self.claiming, switchboard=self._switchboard,
            rebuilding=Rebuilding(self._pipeline, self._store, lambda: self.rebuild_needed, self._hindrance),
            reloading=self.reloading, notes=notes, log_lost=opened.log_lost, started=self._started,
            certificates=self._certificates, tenants=self._tenants, history=self._history, machine=machine,
        )  # fmt: skip
        self._log_writer.on_sync = partial(self._metrics.observe, "collectord_sync_duration_seconds")
        self._log_writer.start()
        # Whoever adopts a spool delivers its events when it has the claim: until then its daemon may.
        self._pipeline.start(exporting=not self._adopting)
        self._switchboard.start()
        self._history.start()
        if self.claiming is not None and not self._adopting:
            self.claiming.start()
        event(
            _log, logging.INFO, "log replayed", entries=recovered.entries, waiting_rows=self.answers.waiting_rows(),
            spool=str(spool), store=self._store.describe(),
        )  # fmt: skip

    def _wants(self, stream: Stream) -> bool:
        """Whether events of such a stream are wanted."""
        rules = self._switchboard.rules
        return rules.sends_events(stream.webservice) and rules.allows(stream)

    def _make_claim(self, spool: Path) -> Claim | None:
        settings = self.settings
        if not settings.claim_interval:
            return None
        return Claim(
            self._store, self._ledger.spool_id, self._ledger, self._clock, node=settings.node,
            place="" if self._adopting else place_of(spool / LOCK_FILE), interval=settings.claim_interval,
            unknown_past=self.rebuild_needed, force=self._force,
        )  # fmt: skip

    def export(self) -> None:
        """Begins to deliver events, where `open` did not."""
        self._pipeline.exports.start()

    @property
    def rebuild_needed(self) -> bool:
        """Whether the ledger was lost and has not been rebuilt."""
        return self._ledger.rebuild_needed

    def _hindrance(self) -> str:
        """Why what has landed cannot be found out now."""
        return "" if self.claiming is None else self.claiming.await_claim(CLAIM_PATIENCE)

    def _why_stuck(self) -> str:
        """What is to be said although clients are let in: a line for each reason why nothing lands."""
        return "\n".join(filter(None, (self._machine.misplaced, self._pipeline.dispatch.held)))

    def _tell_rebuild(self) -> None:
        rows = self._pipeline.overview.waiting().rows
        if not rows:
            # Nothing in the log could land twice.
            self._pipeline.rebuild(())
            return
        event(
            _log, logging.ERROR, "the ledger is gone; nothing is uploaded until `collectord ledger rebuild`",
            rows_in_log=rows, spool=str(self.settings.spool.resolve()),
        )  # fmt: skip

    # ------------------------------------------------------------------ serving

    async def run(self, stop: asyncio.Future[float | None], ready: Callable[[], None] = lambda: None) -> bool:
        """Serves until `stop`, whose result is how many seconds may go into uploading what there is; None: nothing is
        uploaded any more. `open` came before. `ready` is called once clients are let in.

        Returns whether nothing is under way any more; if not, what it does is settled by the next start.
        """
        settings = self.settings
        gate = self._make_gate(asyncio.get_running_loop())
        self._aside.start()
        # A fresh node must not collect what is switched off because it has not asked yet.
        await self._blocking(self._switchboard.await_look, SWITCHES_PATIENCE)
        if self.reloading is not None:
            self.reloading.start()
        servers = Servers(settings, self._listeners, self._metrics, self._certificates)
        try:
            await servers.open(gate, self.answers, lambda: self._door.why_closed, self._why_stuck)
        except CollectordError as error:
            self._say_failed(error)
            raise
        await self._door.open(servers.health.say)
        # Also while it drains: it is asked how far it is, and told to take in again.
        await servers.admin_health.say(True)
        event(
            _log, logging.INFO, "ready", version=__version__, pid=os.getpid(), listen=list(settings.listen),
            store=self._store.describe(), admin=settings.admin, mdc=settings.mdc,
        )  # fmt: skip
        ready()
        drain = await stop
        await servers.admin_health.say(False)
        idle = await self._stop(servers, drain)
        if idle:
            await servers.close_probes()
        return idle

    def _make_gate(self, loop: asyncio.AbstractEventLoop) -> Gate:
        settings = self.settings
        intake = Intake(self._log_writer, loop)
        gate = Gate(
            log=intake,
            streams=self._pipeline,
            marks=self._marks,
            admission=admission_of(settings),
            window=window_of(settings),
            spool_id=self._ledger.spool_id,
            rules=self._switchboard.rules,
            clock=self._clock,
            metrics=self._metrics,
            loop=loop,
            tenants=self._tenants,
            purses=Purses(settings.quota_bytes or 0, settings.quota_rows or 0),
            names=Names(settings.segment_bytes // NAMES_SHARE, settings.tenant_share, self._log_writer.counts().keys()),
            share=settings.tenant_share,
            schemas=Shared(
                settings.max_columns,
                settings.max_value_bytes,
                settings.max_name_bytes,
                settings.max_column_name_bytes,
            ),
            max_message_bytes=settings.max_message_bytes,
            max_clients=settings.most_clients,
        )
        self._door.lead_to(gate, intake)

        def tell(rules: Rules) -> None:
            loop.call_soon_threadsafe(gate.switch, rules)

        self._switchboard.lead_to(tell)

        def widen(settings: Settings) -> None:
            loop.call_soon_threadsafe(setattr, gate, "window", window_of(settings))

        self._widen = widen
        return gate

    def tune(self, settings: Settings) -> None:
        """Goes by these settings from now on, which differ from those before in `settings.AT_ONCE` only. From any thread, after
        `open`."""
        self.settings = settings
        logging.getLogger("collectord").setLevel(settings.log_level.upper())
        self._pipeline.tune(settings.flush_interval, settings.flush_bytes)
        self._switchboard.settle(rules_of(settings))
        self._widen(settings)

    # ------------------------------------------------------------------ the end

    async def _stop(self, servers: Servers, drain: float | None) -> bool:
        deadline = self._clock.monotonic() + (drain or 0.0)
        if self.reloading is not None:
            await self._blocking(self.reloading.stop)
        await self._door.shut()
        event(_log, logging.INFO, "stopping", deadline_seconds=drain)
        await self._wait_for_clients(servers, min(self.settings.late_window, drain or 0.0))
        # Before the log is closed: what has arrived is stored and answered.
        # Also where it stops at once: gRPC calls it an error if streams are cut off in their middle, and prints that in clients.
        await servers.close_doors(STOP_GRACE, STOP_PATIENCE)
        self._switchboard.lead_to(lambda _: None)
        await self._blocking(self._log_writer.close)
        complete = drain is not None and await self._blocking(
            self._pipeline.flush, max(0.0, deadline - self._clock.monotonic())
        )
        if drain is not None:
            await self._blocking(self._pipeline.exports.drain, max(0.0, deadline - self._clock.monotonic()))
        idle = await self._blocking(self._end_uploads)
        left = self.answers.waiting_rows()
        # After the pipeline, whose end answers the flushes that wait for it.
        await servers.close_admin(None if drain is None else STOP_GRACE)
        self._aside.stop(wait=True)
        event(_log, logging.INFO, "stopped", complete=complete, rows_left_in_log=left)
        if idle:
            self._let_go()
        return idle

    async def _wait_for_clients(self, servers: Servers, seconds: float) -> None:
        """Until the last one has gone, for so long at most: pods may have been told to end at the same moment, and take longer
        over it. What waits is uploaded meanwhile, since the time may be short."""
        if seconds <= 0 or self._door.draining:
            # Who drains takes nothing new in.
            return
        deadline = self._clock.monotonic() + seconds
        uploading = asyncio.ensure_future(self._blocking(self._pipeline.flush, seconds))
        while (self._door.sessions() or servers.anonymous) and self._clock.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        await uploading

    async def _blocking(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._aside.submit(do, *args, **kwargs))

    def close(self) -> bool:
        """Ends what `open` began, without listeners. Returns whether nothing is under way any more; if not, the claim
        is kept, and what was under way is settled by whoever comes next."""
        self._log_writer.close()
        idle = self._end_uploads()
        self._aside.stop(wait=True)
        if idle:
            self._let_go()
        return idle

    def _let_go(self) -> None:
        """The spool is free for the next one. While something is under way it is not: the locks go with the process."""
        # Opened anew by what was uploaded after the end of the log.
        self._log_writer.catalog.close()
        self._store.close()
        self._ledger.close()
        self.release_locks()

    def release_locks(self) -> None:
        """And writes no message into the spool any more. Also for a child of a fork, which would do so as long as it lives. May
        be repeated."""
        self._close_notes()
        self._listeners.release_locks()
        if self._spool_lock is not None:
            os.close(self._spool_lock)
            self._spool_lock = None

    def _end_uploads(self) -> bool:
        """Returns whether nothing is under way any more, at most twice `STOP_PATIENCE` later."""
        deadline = self._clock.monotonic() + STOP_PATIENCE
        self._history.stop(STOP_PATIENCE)
        idle = landed = self._pipeline.stop(STOP_PATIENCE)
        idle = self._switchboard.stop(max(0.0, deadline - self._clock.monotonic())) and idle
        if self.claiming is not None:
            # What is still under way may land yet, so then the next one has to wait. A look at the switches lands nothing.
            idle = self.claiming.stop(landed, STOP_PATIENCE) and idle
        return idle
