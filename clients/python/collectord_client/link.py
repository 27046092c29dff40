"""One connection to the daemon, from Hello to its end: what an answer means, and which message comes next."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .session import LONGEST_WAIT, Session
from .switches import Switches
from .version import VERSION
from .window import Sent
from .wire import declare, follow, hello

if TYPE_CHECKING:
    from ._pb.collector_pb2 import ServerMessage, Welcome
    from .talk import Carrier

SERVICES_IN_HELLO = 50
WELCOME_WITHIN = 10.0
DROPS_EVERY = 1.0
AGAIN_AFTER = 0.1
"""A second request to go back to the same place waits this long: the first one's answers may still be under way."""


class Link:
    """Protected by the sender's lock; `cut` needs none. Nothing here waits."""

    def __init__(self, session: Session, carrier: Carrier) -> None:
        self.carrier = carrier
        self._session = session
        self.alive = True
        self.welcomed = False
        self.leaving = False
        """True once only what was dropped is still to be told; then the stream is ended in good order."""
        self.given_up = ""
        """Why we ended it ourselves, if that is an error."""
        self._opened = time.monotonic()
        self._declared: set[bytes] = set()
        self._followed: tuple[str, ...] = ()
        """The services that the daemon knows we follow."""
        self._max_message = 4 << 20
        self._withheld = ""
        """Why the daemon gives no credit, in its own words."""
        self._drops_told = float("-inf")
        self._went_back: tuple[int, float] = (0, 0.0)
        self._go_back_at: tuple[int, float] | None = None

    def cut(self) -> None:
        """Ends it; from any thread."""
        self.alive = False
        self.carrier.cancel()

    # ------------------------------------------------------------ answers

    def receive(self, message: ServerMessage) -> Sent | None:
        """Takes an answer. Returns the batch that it refuses for good, if it does."""
        session = self._session
        kind = message.WhichOneof("message")
        if kind == "welcome":
            self._welcome(message.welcome)
        elif kind == "ack":
            session.window.acknowledge(message.ack.sequence)
        elif kind == "credit":
            session.window.credit = message.credit.bytes
            if message.credit.reason or session.last_error == self._withheld:
                session.last_error = self._withheld = message.credit.reason
        elif kind == "resume":
            self._resume(message.resume.next_sequence)
        elif kind == "reject":
            return session.window.refuse(message.reject.sequence, message.reject.reason or "rejected")
        elif kind == "settings":
            session.switch(Switches.of(message.settings), self._followed)
        return None

    def _welcome(self, welcome: Welcome) -> None:
        session, window = self._session, self._session.window
        known = session.spool_id in (None, welcome.spool_id)
        fresh = window.next_sequence == 1
        if not ((known or fresh) and window.first <= welcome.next_sequence <= window.next_sequence):
            self._begin_again()
            return
        window.acknowledge(welcome.next_sequence - 1)
        window.go_back(welcome.next_sequence)
        window.credit = welcome.credit_bytes
        session.spool_id = welcome.spool_id
        session.connects += 1
        session.last_error = ""
        session.drops.tell_again()
        self._max_message = welcome.max_message_bytes or self._max_message
        self.welcomed = True
        if welcome.HasField("settings"):
            session.switch(Switches.of(welcome.settings), self._followed)

    def _resume(self, sequence: int) -> None:
        now = time.monotonic()
        before, when = self._went_back
        if sequence == before and now - when < AGAIN_AFTER:
            self._go_back_at = (sequence, when + AGAIN_AFTER)
        elif not self._go_back(sequence, now):
            self._begin_again()

    def _go_back(self, sequence: int, now: float) -> bool:
        """Sends again from `sequence` on. False if that is outside of what is remembered."""
        if not self._session.window.go_back(sequence):
            return False
        self._session.window.careful = True
        self._went_back = (sequence, now)
        return True

    def _begin_again(self) -> None:
        """As another client, hence on another stream."""
        self._session.begin_again()
        self.cut()

    @property
    def waiting(self) -> bool:
        """True where an answer may have let something go."""
        session = self._session
        unsent = bool(session.queue) or not session.window.all_sent
        return unsent or self._go_back_at is not None or self.leaving or not self.alive

    @property
    def owed(self) -> bool:
        """True where the daemon has something to answer."""
        return self.alive and (not self.welcomed or bool(self._session.window.batches))

    # ------------------------------------------------------------ messages

    def hello(self, token: str) -> bytes:
        """The first message."""
        self._followed = self._session.services[:SERVICES_IN_HELLO]
        return hello(self._session.client_id, os.getpid(), VERSION, token, self._followed)

    def next(self) -> tuple[bytes | None, float]:
        """The next message, or None and for how long there is nothing to do unless woken."""
        now = time.monotonic()
        session, window = self._session, self._session.window
        if not self.welcomed:
            if now - self._opened > WELCOME_WITHIN:
                self.given_up = "the daemon did not answer"
                self.carrier.cancel()
            return None, WELCOME_WITHIN / 2
        wait = LONGEST_WAIT
        services = session.services
        if services != self._followed:
            self._followed = services
            return follow(services), 0.0
        if self._go_back_at is not None:
            sequence, when = self._go_back_at
            if now >= when:
                self._go_back_at = None
                # Acknowledged meanwhile, it is no longer remembered, and there is nothing to send again.
                self._go_back(sequence, now)
            else:
                wait = when - now
        if session.drops.changed:
            if now - self._drops_told >= DROPS_EVERY or self.leaving:
                self._drops_told = now
                message = session.drops.tell()
                if message is not None:
                    return message, 0.0
            else:
                wait = min(wait, self._drops_told + DROPS_EVERY - now)
        if self.leaving:
            return None, 0.0
        wait = min(wait, session.seal_aged(now))
        if window.all_sent and session.queue:
            session.number(self._max_message)
        ready = window.next()
        if ready is None:
            return None, 0.0 if window.all_sent and session.queue else wait
        if ready.schema.id not in self._declared:
            self._declared.add(ready.schema.id)
            return declare(ready.schema), 0.0
        window.sent()
        return ready.message, 0.0
