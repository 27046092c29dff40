"""What a running daemon answers to whoever operates it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from heapq import nlargest
from typing import Any
from urllib.parse import unquote

from collectord import __version__
from collectord.address import framed_beside
from collectord.books import StreamBooks
from collectord.certificates import Certificates
from collectord.claiming import Claiming
from collectord.clock import Clock
from collectord.cost import Cost, Prices, advice, cost_of
from collectord.door import Door
from collectord.history import History
from collectord.ingest.gate import Party
from collectord.kinds import EVENTS
from collectord.listeners import socket_path
from collectord.logline import TABLES, LogLine
from collectord.machine import Machine
from collectord.model import HOUR_NS, Buffer, Entry, Lsn, Schema, Stream, StreamKind, stream_of_key
from collectord.notes import Notes
from collectord.peers import Peer, Peers, connected
from collectord.pipeline import Pipeline, typeset
from collectord.pipeline.overview import LOOK_PATIENCE
from collectord.pipeline.rebuild import Options
from collectord.pipeline.rebuilding import Account, Rebuilding
from collectord.pipeline.snapshot import WaitingEnd, WaitingPiece, WaitingStream
from collectord.pipeline.traffic import Flow
from collectord.reloading import Reloading
from collectord.settings import Settings
from collectord.switchboard import Switchboard
from collectord.switches import Patch, Rules
from collectord.tenants import Tenants
from collectord.upload.ledger import Ledger
from collectord.upload.store import BlobStore
from collectord.wal.writer import LogWriter

MOST_STREAMS = 200
"""In one status; those in trouble and those that cost most come first."""
MOST_HOLDERS = 20
"""Of whom something waits; those that have most."""
MOST_TROUBLES = 50
"""On the page; the blocked ones come first."""
WHERE_BYTES = 64 << 20
"""Of the log that one `collectord where` has the daemon search."""
WAITING_BYTES = 256 << 20
"""Of the log that one question makes text of, at most."""


class Answers:
    """Answers `control.service.Questions`, from any thread but the event loop's."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        pipeline: Pipeline,
        log: LogWriter,
        ledger: Ledger,
        store: BlobStore,
        door: Door,
        claiming: Claiming | None,
        switchboard: Switchboard,
        rebuilding: Rebuilding,
        reloading: Reloading | None,
        notes: Notes,
        log_lost: bool,
        started: float,
        certificates: Certificates | None = None,
        tenants: Tenants | None = None,
        history: History,
        machine: Machine,
    ) -> None:
        """`started`: by the clock that nobody sets."""
        self._settings = settings
        self._clock = clock
        self._pipeline = pipeline
        self._log = log
        self._ledger = ledger
        self._store = store
        self._door = door
        self._claiming = claiming
        self._switchboard = switchboard
        self._rebuilding = rebuilding
        self._reloading = reloading
        self._notes = notes
        self._log_lost = log_lost
        self._started = started
        self._certificates = certificates
        self._tenants = tenants or Tenants()
        self._history = history
        self._machine = machine
        self._prices = Prices(settings.price_write_10k, settings.price_gb_month)

    # ------------------------------------------------------------------ how it stands

    def status(self) -> dict[str, Any]:
        """What the daemon is doing, as JSON values; docs/operations.md describes the fields."""
        settings, pipeline, claiming = self._settings, self._pipeline, self._claiming
        waiting = pipeline.overview.waiting()
        peers, clients = self._clients()
        flows, seconds = pipeline.traffic.view()
        whole = cost_of(
            sum(flow.bytes for flow in flows.values()),
            sum(flow.operations for flow in flows.values()),
            seconds,
            self._prices,
        )
        streams = self._streams(flows, seconds)
        complaints = self._machine.look()
        memory = self._machine.memory
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_seconds": round(self._clock.monotonic() - self._started, 1),
            "state": self._door.state,
            "listen": list(settings.listen),
            "mdc": settings.mdc,
            "store": self._store.describe(),
            "spool": str(settings.spool.resolve()),
            "writer": self._ledger.writer_id.hex(),
            "layout": settings.layout,
            "mdc_output": list(settings.mdc_output),
            "node": settings.node,
            "clients": [
                {
                    "pid": session.pid,
                    "sdk": session.sdk,
                    "rows": session.rows,
                    "listener": session.listener,
                    "tenant": session.tenant.name or None,
                    "peer": None if peer is None else {"pid": peer.pid or None, "uid": peer.uid, "gid": peer.gid},
                }
                for session, peer in clients
            ],
            "peers": [
                {
                    "listener": peer.listener,
                    "pid": peer.pid or None,
                    "uid": peer.uid,
                    "gid": peer.gid,
                    "connections": count,
                }
                for peer, count in peers.connections.items()
            ],
            "tls": self._tls(),
            "tenants": {"names": self._tenants.names, "problem": self._tenants.problem or None},
            "waiting": {
                "rows": waiting.rows,
                "partitions": waiting.partitions,
                "oldest_seconds": round(waiting.oldest_seconds, 3),
                "most": [
                    {"of": of, "partitions": partitions, "bytes": size}
                    for of, partitions, size in nlargest(
                        MOST_HOLDERS, pipeline.overview.holders(), key=lambda one: one[2]
                    )
                ],
            },
            "rates": self._history.rates(),
            "latency": self._history.latency(),
            "memory": {
                "resident_bytes": memory.resident,
                "budget_bytes": settings.memory_budget,
                "limit_bytes": memory.limit,
                "unacknowledged_bytes": self._door.unacknowledged,
            },
            "log": {"bytes": self._log.used_bytes, "budget_bytes": self._log.budget},
            "parked": pipeline.overview.parked(),
            "quarantine": self._quarantine(),
            "troubles": [
                {
                    "blob": base,
                    "blocked": trouble.blocked,
                    "detail": trouble.detail,
                    "again_in_seconds": round(max(0.0, trouble.until - self._clock.monotonic()), 1),
                }
                for base, trouble in [*pipeline.overview.troubles(), *(claiming.troubles() if claiming else ())]
            ],
            "exports": pipeline.exports.status(),
            "errors": [
                {"time": round(error.at, 3), "what": error.what, "times": error.times}
                for error in pipeline.overview.errors()
            ],
            "totals": {
                name: sum(row[name] for row in streams)
                for name in ("received", "landed", "in_log", "parked", "quarantined", "rejected", "dropped")
            },
            "streams": streams[:MOST_STREAMS],
            "streams_in_all": len(streams),
            "cost": self._cost_of_all(whole, seconds),
            "events": pipeline.event_minutes.recent(),
            "held": pipeline.dispatch.held or None,
            "draining": self._door.draining,
            "claim": None if claiming is None else {"held": claiming.claim.held, "why": claiming.claim.why},
            "switches": self._switches(),
            "settings": {
                "problem": None if self._reloading is None else self._reloading.problem or None,
                "pending": [] if self._reloading is None else list(self._reloading.pending),
            },
            "machine": [{"about": one.about, "what": one.what, "todo": one.todo} for one in complaints],
            "ledger_rebuild_needed": self._ledger.rebuild_needed,
            "ledger_rebuilt": self._ledger.was_rebuilt,
            "log_lost": self._log_lost,
            "last_error": pipeline.last_error or None,
        }

    def _clients(self) -> tuple[Peers, list[tuple[Party, Peer | None]]]:
        """Who is connected to the sockets, and who of them each client is."""
        sessions = self._door.sessions()
        peers = connected(
            (address, path)
            for address in self._settings.listen if address.startswith("unix:")
            for path in (socket_path(address), framed_beside(socket_path(address))) if path is not None
        )  # fmt: skip
        who = peers.of([(session.listener, session.pid) for session in sessions])
        return peers, list(zip(sessions, who, strict=True))

    def _tls(self) -> dict[str, Any] | None:
        found = self._certificates
        return None if found is None else {"expires": found.expires, "problem": found.problem or None}

    def page(self) -> dict[str, Any]:
        """The status with the last hour's curves, for the status page."""
        minutes = self._pipeline.event_minutes.series()
        status = self.status()
        # Somebody on a phone looks, every two seconds.
        status["troubles"] = sorted(status["troubles"], key=lambda trouble: not trouble["blocked"])[:MOST_TROUBLES]
        return {**status, "history": {**self._history.series(), "events": minutes}}

    def _cost_of_all(self, whole: Cost, seconds: float) -> dict[str, Any]:
        return {
            **_cost(whole),
            "observed_seconds": round(seconds, 1),
            "price_write_10k": self._prices.write_10k,
            "price_gb_month": self._prices.gb_month,
            "advice": advice(whole),
        }

    def _streams(self, flows: dict[str, Flow], seconds: float) -> list[dict[str, Any]]:
        """A row for each stream: its books as they are now, its blob, its cost. The worst come first."""
        rules = self._switchboard.rules
        rows = []
        for book in self._pipeline.overview.books(LOOK_PATIENCE):
            flow = flows.get(book.stream, Flow(0, 0, "", ""))
            rows.append({
                "stream": book.stream,
                "received": book.received,
                "landed": book.landed,
                "in_log": book.in_log,
                "parked": book.parked,
                "quarantined": book.quarantined,
                "rejected": sum(book.rejected.values()),
                "dropped": sum(book.dropped_by_clients.values()) + book.dropped_from_quarantine,
                "collected": collected(rules, book.stream),
                "blob": flow.blob or None,
                "last_error": flow.error or None,
                "cost": _cost(cost_of(flow.bytes, flow.operations, seconds, self._prices)),
            })  # fmt: skip
        return sorted(
            rows,
            key=lambda row: (row["last_error"] is None, -row["cost"]["per_month"], -row["received"], row["stream"]),
        )

    def _switches(self) -> dict[str, Any]:
        board = self._switchboard
        return {
            "version": board.rules.switches.version,
            "services": len(board.rules.switches.services),
            "here": sorted(board.here),
            "age_seconds": None if board.age is None else round(board.age, 1),
            "problem": board.problem or None,
            "telemetry_default": board.rules.telemetry,
        }

    def _quarantine(self) -> dict[str, int]:
        shelf = self._pipeline.shelf
        items, rows = shelf.totals()
        return {"items": items, "rows": rows, "bytes": shelf.used_bytes, "budget_bytes": shelf.budget}

    def waiting_rows(self) -> int:
        return self._pipeline.overview.waiting().rows

    def last_error(self) -> str:
        return self._pipeline.dispatch.held or self._pipeline.last_error

    def books(self) -> list[StreamBooks]:
        return self._pipeline.overview.books()

    def where(self, needles: Sequence[bytes]) -> tuple[list[tuple[str, Lsn, int]], int, bool]:
        return self._pipeline.overview.search(needles, WHERE_BYTES)

    def waiting_streams(self) -> list[WaitingStream]:
        return self._pipeline.snapshots.streams()

    def waiting(
        self, streams: frozenset[str], first_hour: int, last_hour: int, most_bytes: int
    ) -> Iterator[WaitingPiece | WaitingEnd]:
        return self._pipeline.snapshots.take(
            lambda stream: stream.key() in streams, first_hour, last_hour, min(most_bytes, WAITING_BYTES)
        )

    # ------------------------------------------------------------------ what services say

    def waiting_events(self, webservice: str, since_ns: int, after: Lsn) -> Iterator[tuple[Schema, Buffer]]:
        """The batches of a service's log that have not landed, the newest first."""
        return self._pipeline.overview.newest(lambda stream: self.says(stream, webservice), since_ns // HOUR_NS, after)

    def position(self) -> Lsn:
        """How far the log is durable."""
        return self._log.durable

    @staticmethod
    def says(stream: Stream, webservice: str) -> bool:
        """Whether a service's log is made of such a stream."""
        kind = EVENTS.get(stream.kind)
        named = (stream.webservice or "default") == (webservice or "default")
        return named and kind is not None and kind.table in TABLES

    def notes(self, webservice: str, after: int) -> tuple[list[LogLine], int]:
        """Our messages about a service behind a number, oldest first, and the number of the newest."""
        return self._notes.lines(webservice, after)

    def services(self) -> list[str]:
        """The names of the services that this daemon has heard of."""
        keys = (book.stream.split("/") for book in self._pipeline.overview.books())
        heard = {unquote(parts[3]) for parts in keys if len(parts) == 8}
        return sorted(heard | self._switchboard.rules.switches.services.keys())

    def text(self, entry: Entry, form: str) -> tuple[bytes, bytes]:
        """A batch that has arrived, as header and text: `csv` or `jsonl`."""
        if form == "jsonl":
            return b"", typeset.jsonl_of(entry)
        return typeset.csv_of(entry, lowercase_workspace=self._settings.layout == "sdk-v1")

    def switches(self) -> dict[str, Any]:
        """What is switched on for which service, as JSON values; docs/switches.md describes the fields."""
        board = self._switchboard
        rules = board.rules
        return {
            **self._switches(),
            "services": dict(rules.switches.raw.get("services", {})),
            "here": board.here,
            "collect_default": rules.collect,
            "collect_on": list(rules.on.patterns),
            "collect_only": list(rules.only.patterns),
        }

    # ------------------------------------------------------------------ what it is to do

    def switch(self, webservice: str, patch: Patch, here: bool) -> dict[str, Any]:
        """Changes what is switched on for a service. Raises BadSwitches, CallHuman, TryAgain."""
        if here:
            self._switchboard.change_here(webservice, patch)
        else:
            self._switchboard.change(webservice, patch)
        return self.switches()

    def flush(self, timeout: float, *, insist: bool = True) -> bool:
        """`insist`: see `Pipeline.flush`."""
        if self._claiming is not None:
            self._claiming.hurry()
        return self._pipeline.flush(timeout, insist=insist)

    def deliver(self, timeout: float) -> str | None:
        """Waits for the exporters. None: they have delivered what there is; a text: why they cannot, empty: not yet."""
        return None if self._pipeline.exports.drain(timeout) else self._pipeline.exports.trouble

    def drain(self, on: bool, wait: float) -> tuple[bool, bool, int, str]:
        door = self._door
        if not door.can_drain:
            return False, False, self.waiting_rows(), door.state
        begins = door.drain(on)
        if not on:
            return False, False, self.waiting_rows(), ""
        deadline = self._clock.monotonic() + wait
        complete = self._pipeline.flush(wait, insist=begins)
        # What was under way to the log when the door was shut.
        while complete and door.unacknowledged and self._clock.monotonic() < deadline:
            time.sleep(0.01)
            complete = self._pipeline.flush(min(0.1, wait), insist=False)
        why = self.last_error()
        if complete and not self._pipeline.exports.drain(max(0.0, deadline - self._clock.monotonic())):
            complete, why = False, f"events wait to be delivered to {self._pipeline.exports.left}"
        return True, complete, self.waiting_rows(), "" if complete else why

    def rebuild(self, begin: bool, skip_doubtful: bool, everywhere: bool, dry_run: bool, wait: float) -> Account:
        options = Options("skip" if skip_doubtful else "repeat", everywhere)
        return self._rebuilding.ask(begin, options, dry_run, wait)

    def quarantined(self) -> list[bytes]:
        return self._pipeline.shelf.ids()

    def retry_quarantined(self, id_: bytes) -> int:
        return self._pipeline.shelf.retry(id_)

    def drop_quarantined(self, id_: bytes) -> int:
        return self._pipeline.shelf.drop(id_)


def collected(rules: Rules, key: str) -> str:
    """Whether a stream is to be collected, in a word; what its own host says beside that is not known here."""
    try:
        stream = stream_of_key(key)
    except ValueError:
        return "unknown"
    service = rules.switches.of(stream.webservice)
    if stream.kind is not StreamKind.ROWS:
        if rules.sends_events(stream.webservice):
            return "on"
        return "unset" if service.enable_app_insights is None else "off"
    if not rules.collects(stream):
        return "off"
    share = service.share(stream.designation)
    return "on" if share == 1 else f"{share * 100:g} %"


def _cost(cost: Cost) -> dict[str, float]:
    return {
        "bytes_per_hour": round(cost.bytes_per_hour),
        "operations_per_hour": round(cost.operations_per_hour, 1),
        "per_month": round(cost.per_month, 4),
    }
