"""Where the clients of one listener come in: who still finds a place, how long anybody is waited for, whose stream ends for
want of memory. What carries the messages, `service.py` and `framed.py` know.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from heapq import nsmallest
from typing import Any, Protocol

from collectord.errors import (
    CollectordError,
    ProtocolError,
    TakenOver,
    TenantChanged,
    TooManyClients,
    Unauthenticated,
)
from collectord.ingest.gate import Gate
from collectord.ingest.pressure import CALM_SECONDS, LOOK_SECONDS, MemoryShort, Pressure
from collectord.ingest.session import Session
from collectord.logs import event
from collectord.model import Buffer

HELLO_SECONDS = 10.0
SPARE_CONNECTIONS = 64
"""Beyond `max_clients`: so many more get an answer that says why they are refused; the next find the door closed."""
SPARE_DESCRIPTORS = 256
"""For log, ledger, store and the command line."""
MAX_STRANGERS = 256
"""Streams of a listener that other machines reach, and that have not said who they are: they take no places from others."""
PRESSURE_SHARE = 1.5
"""Messages on their way may take so many times the budget of unacknowledged bytes before streams are ended."""
LOOKS = 8
"""So many times it is looked at least while what is allowed is used up by messages of which it is known."""

_log = logging.getLogger("collectord.ingest")


def most_connections(max_clients: int, descriptors: int, listeners: int = 1, beside: bool = False) -> tuple[int, int]:
    """How many connections each of so many listeners may take, and the socket without HTTP/2 `beside` it, so that the daemon's own
    files find descriptors. Where those are few, three of four are for the latter, to which our clients come. Pure."""
    room = max(2, (descriptors - SPARE_DESCRIPTORS) // listeners)
    wanted = max_clients + SPARE_CONNECTIONS
    if not beside:
        return min(wanted, room), 0
    other = min(wanted, max(1, room // 4, room - wanted))
    return other, min(wanted, room - other)


def connections_of(max_clients: int, taken: int = 0, listeners: int = 1, beside: bool = False) -> tuple[int, int]:
    """As `most_connections`; `taken`: descriptors that another door may need. Raises the process's limit of file descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = most_connections(
        max_clients, (most if most != resource.RLIM_INFINITY else 1 << 30) - taken, listeners, beside
    )
    if max(found) < max_clients:
        event(_log, logging.WARNING, "the limit of open files allows fewer clients", files=most,
              clients=max(found), max_clients=max_clients)  # fmt: skip
    return found


class Carrier(Protocol):
    """What brings a client's messages and takes ours, as far as it matters to a stream."""

    @property
    def peer(self) -> str:
        """Who is at the other end."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Those in the client's certificate."""
        ...

    @property
    def holds(self) -> Callable[[], bool] | None:
        """Tells whether anything was read that was not dealt with; None: nobody knows."""
        ...

    def messages(self) -> AsyncIterator[Buffer]:
        """What the client says, until it has said all. Raises ProtocolError."""
        ...

    async def write(self, message: bytes) -> None:
        """Sends one message; returns when there is room for the next."""
        ...

    def dismiss(self) -> None:
        """Nothing that the client has said, or says, is wanted any more. Before the end of the stream."""
        ...


class Reception:
    """Of one listener. Belongs to the event loop."""

    def __init__(
        self, gate: Gate, max_clients: int, hello_seconds: float = HELLO_SECONDS, pressure: Pressure | None = None,
        listener: str = "", reachable: bool = False,
    ) -> None:  # fmt: skip
        """`listener`: its address; `reachable`: from other machines."""
        self.gate = gate
        self.hello_seconds = hello_seconds
        self._max_clients = max_clients
        self._pressure = pressure or Pressure.from_now(int(PRESSURE_SHARE * gate.admission.budget))
        self._listener = listener
        self._reachable = reachable
        self._look_at = math.inf
        """Monotonic seconds of the next look at the memory."""
        self._opaque = 0
        """Streams of which nobody knows what they hold, as over gRPC."""
        self._unseen = 0
        """Bytes of messages of the others that had to be kept since the last look at the memory."""

    async def converse(self, carrier: Carrier) -> None:
        """One client's stream, until its end.

        Raises:
            CollectordError: why it ends, if not in good order. It is in the log and counted.
        """
        gate = self.gate
        session = Session(gate, carrier.peer, self._listener, carrier.names)
        session.holds = carrier.holds
        session.over.add_done_callback(lambda _: carrier.dismiss())
        self._opaque += session.holds is None
        try:
            if len(gate.sessions) >= self._max_clients:
                raise TooManyClients(f"{self._max_clients} clients are connected (max_clients)")
            if self._reachable and self._strangers() >= MAX_STRANGERS:
                raise TooManyClients(f"{MAX_STRANGERS} connections have not said yet who they are")
            gate.look_for_tenants()
            gate.sessions.add(session)
            self._look_out()
            await self._until_over(session, carrier)
        except CollectordError as error:
            gate.metrics.count("collectord_streams_refused_total", reason=_reason(error))
            event(_log, logging.WARNING, "stream ended", reason=str(error), peer=session.peer, sdk=session.sdk)
            raise
        finally:
            # At once: a client that does not read may hold up whatever its transport still has to say.
            gate.leave(session)
            self._opaque -= session.holds is None

    def keeps(self, size: int) -> None:
        """So many bytes, of a message that is not whole or of some that have to wait. What a thousand clients keep is looked at before
        it is all the memory."""
        self._unseen += size
        if self._unseen > self._pressure.allowed // LOOKS:
            self._relieve()

    def _strangers(self) -> int:
        """How many have come to this listener and not greeted."""
        return sum(not one.client and one.listener == self._listener for one in self.gate.sessions)

    def _look_out(self) -> None:
        """Looks after the memory as long as anybody is there, and often where it is not known what somebody takes of it."""
        seconds = LOOK_SECONDS if self._opaque else CALM_SECONDS
        at = self.gate.clock.monotonic() + seconds
        if self.gate.sessions and at < self._look_at:
            self._look_at = at
            self.gate.later(seconds, lambda: self._look(at))

    def _look(self, at: float) -> None:
        if at != self._look_at:
            # One that is due sooner was asked for since.
            return
        self._look_at = math.inf
        self._relieve()
        self._look_out()

    def _relieve(self) -> None:
        """Ends streams if the memory is short."""
        self._unseen = 0
        sessions = [
            session for session in self.gate.sessions
            if not session.over.done() and (session.holds is None or session.holds())
        ]  # fmt: skip
        excess = self._pressure.excess(len(sessions))
        if excess:
            event(
                _log, logging.WARNING, "streams end: messages that do not become whole fill the memory", streams=excess
            )
            # Those first who are known to hold some of it, and who have not even said who they are: they need no token for it.
            for session in nsmallest(
                excess, sessions, key=lambda one: (one.holds is None, bool(one.client), one.heard)
            ):
                session.end(MemoryShort("the daemon's memory is used up, and nothing whole came for longest from here"))

    async def _until_over(self, session: Session, carrier: Carrier) -> None:
        sender = asyncio.create_task(self._send(session, carrier))
        reader = asyncio.create_task(self._read(session, carrier))
        patience = self.gate.loop.call_later(self.hello_seconds, self._hello_due, session)
        running: set[asyncio.Future[Any]] = {sender, reader, session.over}
        try:
            # When the client has said all, what is due to it still goes out.
            while sender in running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if session.over in done:
                    raise session.over.result()
                for task in done:
                    task.result()
        finally:
            patience.cancel()
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)

    def _hello_due(self, session: Session) -> None:
        if not session.client:
            session.end(ProtocolError(f"no Hello within {self.hello_seconds:g} s"))

    @staticmethod
    async def _read(session: Session, carrier: Carrier) -> None:
        async for raw in carrier.messages():
            await session.receive(raw)
        session.hang_up()

    @staticmethod
    async def _send(session: Session, carrier: Carrier) -> None:
        while not session.finished:
            await session.wake.wait()
            for message in session.outgoing():
                await carrier.write(message)


def _reason(error: CollectordError) -> str:
    """A label of `collectord_streams_refused_total`."""
    if isinstance(error, ProtocolError):
        return "protocol"
    if isinstance(error, TakenOver):
        return "taken_over"
    if isinstance(error, Unauthenticated):
        return "token"
    if isinstance(error, TenantChanged):
        return "tenant_changed"
    return "memory" if isinstance(error, MemoryShort) else "limit"
