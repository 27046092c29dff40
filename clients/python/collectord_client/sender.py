"""Takes sealed pages to the daemon: one connection per process and endpoint.

A daemon thread, once something was collected, connects, runs what carries the messages (`framed.py`, else `overgrpc.py`) and
connects again.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from . import embedded, framed, process
from .access import Access, AccessError, Explainer
from .bell import Bell
from .dial import knock, may_answer, pause
from .endpoint import EndpointError, chosen, directory_of, resolve
from .link import Link
from .notices import say, trace
from .outbox import Outbox
from .overgrpc import OverGrpc, look_for_grpc
from .page import Page
from .session import Session
from .talk import Carrier, Ended
from .wire import Stream

if TYPE_CHECKING:
    from ._pb.collector_pb2 import ServerMessage

LEAVING_WITHIN = 0.5
LOOKING_EVERY = 0.25
REFUSED_PAUSE = 2.0
"""Seconds until somebody who has to act may have acted."""


class Sender:
    """Thread-safe. Made without a thread or a connection; `wake` starts it."""

    def __init__(self, endpoint: str | None, access: Access) -> None:
        self.endpoint = endpoint
        self._access = access
        self._explainer = Explainer()
        self._refused = False
        """True where the daemon does not trust us, or we it: asking again soon would change nothing."""
        self._doubtful = False
        """Who answered last without HTTP/2 was no daemon: the next attempt is over gRPC."""
        self.stopped = False
        self._session = Session()
        self.lock = threading.Lock()
        """Protects the session and the link; never held across input or output."""
        self.bell = Bell()
        """Rung when there may be something to send."""
        self._interrupt = threading.Event()
        self._resting = False
        self._asleep = threading.Event()
        self._thread: threading.Thread | None = None
        self._link: Link | None = None

    # ------------------------------------------------------------ for outboxes and clients

    def attach(self, outbox: Outbox) -> None:
        with self.lock:
            self._session.attach(outbox)
        # Its service may be one that is not followed yet.
        self.bell.ring()

    def detach(self, outbox: Outbox) -> None:
        """Forgets `outbox` and gives up what it holds; with the last one the sender stops."""
        rows = outbox.waiting()
        if rows and self._session.connects:
            why = self._session.last_error or "no time"
            say(logging.WARNING, "close", "a client was closed with %d rows unsent or unanswered: %s", rows, why)
        self._give_up(outbox)
        with self.lock:
            if outbox in self._session.outboxes:
                self._session.outboxes.remove(outbox)
            last = not self._session.outboxes
        if last:
            self.stop()

    def enqueue(self, outbox: Outbox, page: Page) -> None:
        self._session.queue.append((outbox, page))

    def wake(self) -> None:
        if self._thread is None:
            self._start()
        self.bell.ring()

    def count_dropped(self, stream: Stream, reason: str, rows: int) -> None:
        drops = self._session.drops
        with self.lock:
            first = not drops.changed
            drops.add(stream, reason, rows)
        if first:
            self.wake()

    @property
    def connected(self) -> bool:
        link = self._link
        return link is not None and link.welcomed

    def stats(self) -> dict[str, Any]:
        """What a client's `stats` say about the connection."""
        session, link = self._session, self._link
        return {
            "connected": self.connected,
            "transport": link.carrier.name if link is not None and link.welcomed else "",
            "reconnects": max(0, session.connects - 1),
            "resent_elsewhere": session.resent_elsewhere,
            "last_error": session.last_error,
        }

    def _give_up(self, outbox: Outbox) -> None:
        outbox.seal()
        with self.lock:
            self._session.give_up(outbox)

    def stop(self, timeout: float = 1.0) -> None:
        """Puts the connection down for good. What was sent and not answered then counts as dropped, `unconfirmed`."""
        with self.lock:
            self.stopped = True
            link, thread = self._link, self._thread
            waits = thread is not None and thread is not threading.current_thread()
            leaving = waits and self._session.drops.changed and link is not None and link.alive and link.welcomed
            if leaving and link is not None:
                link.leaving = True
        if leaving and thread is not None:
            # The daemon hears what was dropped, answers what it has, and ends the stream.
            self.bell.ring()
            thread.join(min(timeout, LEAVING_WITHIN))
        self._interrupt.set()
        self._cut(link)
        if waits and thread is not None:
            thread.join(timeout)
        with self.lock:
            self._session.give_up_unconfirmed()
        if thread is None:
            self.bell.close()
        embedded.leave(self)

    def settle(self, deadline: float) -> list[Outbox]:
        """Sends what is held and waits until `deadline` (monotonic seconds). Returns the outboxes that still hold something.

        Does not wait where no daemon listens and none ever did.
        """
        with self.lock:
            outboxes = list(self._session.outboxes)
        held = [outbox for outbox in outboxes if not outbox.idle()]
        if held and not self.stopped and self._may_answer():
            self._start()
            # All of them before any is waited for: they travel together, and many clients wait for the disk no more often than one.
            for outbox in held:
                outbox.seal()
            if self._thread is None:
                # No thread starts any more, or none does in this interpreter.
                self._attempt()
                held = [outbox for outbox in held if not outbox.idle()]
            else:
                held = [outbox for outbox in held if not self._wait_settled(outbox, deadline)]
        return held

    def finish(self, deadline: float) -> None:
        """At exit: drains all outboxes until `deadline` (monotonic seconds), then stops."""
        held = self.settle(deadline)
        if held and self._session.connects:
            rows = sum(outbox.waiting() for outbox in held)
            why = self._session.last_error or "no time"
            say(logging.WARNING, "exit", "the process ends with %d rows unsent: %s", rows, why)
        for outbox in held:
            self._give_up(outbox)
        self.stop(max(0.1, deadline - time.monotonic()))

    def _may_answer(self) -> bool:
        known = self._session.connects > 0
        return self.connected or embedded.may_serve(self.endpoint) or may_answer(self.endpoint, known)

    def _wait_settled(self, outbox: Outbox, deadline: float) -> bool:
        """Waits in vain no longer than need be."""
        while not outbox.wait_settled(min(deadline, time.monotonic() + LOOKING_EVERY)):
            if time.monotonic() >= deadline or embedded.failed(self.endpoint):
                return False
        return True

    # ------------------------------------------------------------ around a fork

    def rest(self) -> None:
        """Puts the connection down and holds still until `resume`. For the moment before a fork."""
        with self.lock:
            if self._thread is None or not self._thread.is_alive():
                return
            self._resting = True
            self._asleep.clear()
            link = self._link
        self._interrupt.set()
        self._cut(link)
        self._asleep.wait(2.0)
        if link is not None and link.carrier.settling:
            time.sleep(link.carrier.settling)

    def abandon(self) -> None:
        """In a child, where it is the parent's."""
        self.bell.close()

    def resume(self) -> None:
        with self.lock:
            self._resting = False
        self._interrupt.set()

    # ------------------------------------------------------------ the thread that connects and reads

    def _start(self) -> None:
        with self.lock:
            if self._thread is not None or self.stopped:
                return
            try:
                # Refused when it is made in a sub-interpreter of its own GIL, which has no daemon threads; when it is started by an
                # interpreter that is shutting down. What is held is sent at the end, by whoever ends it.
                thread = threading.Thread(target=self._run, name="collectord-client", daemon=True)
                thread.start()
            except RuntimeError as error:
                self._session.last_error = str(error)
                return
            self._thread = thread
        process.arrange_exit()

    def _run(self) -> None:
        failures = 0
        while not self.stopped:
            self._interrupt.clear()
            if self._resting:
                self._asleep.set()
                self._interrupt.wait()
                continue
            failures = 0 if self._attempt() else failures + 1
            if not self.stopped and not self._resting:
                self._interrupt.wait(REFUSED_PAUSE if self._refused else pause(failures))
        self.bell.close()

    def _attempt(self) -> bool:
        """One connection from beginning to end. True if the daemon welcomed us."""
        try:
            return self._connect()
        except (EndpointError, AccessError) as error:
            # Why a directory cannot be served is told already.
            self._failed(str(error), needs_somebody=not chosen(self.endpoint).startswith("dir:"))
        except Exception as error:  # noqa: BLE001
            self._failed(type(error).__name__)
            trace(error)
        return False

    def _connect(self) -> bool:
        self._refused = False
        carrier, target, secure = self._reach()
        if carrier is None:
            return False
        link = Link(self._session, carrier)
        try:
            token = self._access.token_now() if directory_of(self.endpoint) is None else ""
            if target and not secure:
                self._access.check_plain(target, token)
            with self.lock:
                if self.stopped or self._resting:
                    return False
                self._link = link
            carrier.run(_Talk(self, link, token), alone=self._thread is None)
        except Ended as error:
            if link.alive:
                why = ""
                if target and not link.welcomed and error.status == "UNAVAILABLE":
                    # What gRPC says of a handshake, or of one that is missing, differs from version to version, and often is no help.
                    why = self._explainer.why_not(self._access, target, secure)
                self._refused = bool(why) or error.status == "UNAUTHENTICATED"
                # Whoever listens there may be no daemon; one listens beside it perhaps.
                self._doubtful = not link.welcomed and (bool(link.given_up) or error.status == "INTERNAL")
                self._failed(link.given_up or why or str(error), self._refused)
        finally:
            with self.lock:
                link.alive = False
                self._link = None
            carrier.close()
        return link.welcomed

    def _reach(self) -> tuple[Carrier | None, str, bool]:
        """What carries the next connection, None where it is known that nobody would answer; `host:port` where it is no socket;
        and whether over TLS."""
        target, path = resolve(self.endpoint)
        if path is None:
            look_for_grpc(target)
            secure = self._access.speaks_tls(self.endpoint)
            shown = (self._access.credentials(), self._access.server_name()) if secure else ()
            return OverGrpc(target, None, *shown), target, secure
        found = self._knock(path)
        directory = directory_of(self.endpoint)
        if isinstance(found, str) and directory is not None:
            embedded.serve(directory, self)
            found = self._knock(path)
        if isinstance(found, str):
            # Without a daemon, gRPC is not even loaded, and an attempt costs some microseconds.
            self._failed(found)
            return None, "", False
        if found is not None:
            return found, "", False
        look_for_grpc(path)
        return OverGrpc(target, path), "", False

    def _knock(self, path: str) -> framed.Framed | str | None:
        """A connection without HTTP/2; None: gRPC may get one; or why there is none."""
        doubtful, self._doubtful = self._doubtful, False
        try:
            carrier = None if doubtful else framed.connect(path)
        except BlockingIOError:
            return "too many clients connect at once"
        return carrier or knock(path) or None

    def _cut(self, link: Link | None) -> None:
        if link is not None:
            link.cut()
            self.bell.ring()

    def _failed(self, what: str, needs_somebody: bool = False) -> None:
        if self.stopped:
            return
        self._session.last_error = what
        if self._session.connects or needs_somebody:
            say(logging.WARNING, f"lost {self.endpoint}", "no connection to collectord: %s; trying again", what)
        else:
            say(logging.INFO, f"none {self.endpoint}", "collectord cannot be reached yet: %s", what)

    def receive(self, link: Link, message: ServerMessage) -> None:
        """Takes an answer, and says what people should know of it."""
        session = self._session
        with self.lock:
            if not link.alive:
                return
            connects, before, switches = session.connects, session.collecting, session.switches
            refused = link.receive(message)
            wakes = link.waiting or session.connects != connects
        if wakes:
            self.bell.ring()
        if refused is not None:
            why, detail = refused.refused, message.reject.detail
            say(logging.WARNING, f"reject {why}", "rejected %d rows: %s (%s)", refused.rows, why, detail)
        if session.connects > connects:
            self._explainer.forget()
        if session.connects > max(1, connects):
            say(logging.INFO, f"back {self.endpoint}", "connected to collectord again")
        if session.switches is not switches:
            for service, problem in session.problems.items():
                say(logging.WARNING, f"recipe {service} {problem}", "a recipe of service %s is not followed: %s",
                    service or "default", problem)  # fmt: skip
        for service, collecting in session.collecting.items():
            if before.get(service, True) != collecting:
                shown = "on" if collecting else "off"
                say(
                    logging.INFO,
                    f"switch {service} {collecting}",
                    "collecting for service %s was switched %s",
                    service or "default",
                    shown,
                )


class _Talk:
    """See `talk.Talk`: the sender as one connection sees it."""

    def __init__(self, sender: Sender, link: Link, token: str) -> None:
        from ._pb.collector_pb2 import ServerMessage

        self._sender = sender
        self._link = link
        self._token = token
        self._parse = ServerMessage.FromString
        self.bell = sender.bell
        self.exit_timeout = process.exit_timeout(sender.endpoint)

    def hello(self) -> bytes:
        with self._sender.lock:
            return self._link.hello(self._token)

    def next(self) -> tuple[bytes | None, float]:
        with self._sender.lock:
            # Over, nothing more is taken for it: whoever comes next is told.
            return self._link.next() if self._link.alive else (None, 0.0)

    def receive(self, raw: bytes) -> None:
        self._sender.receive(self._link, self._parse(raw))

    @property
    def alive(self) -> bool:
        return self._link.alive

    @property
    def leaving(self) -> bool:
        return self._link.leaving

    @property
    def waiting(self) -> bool:
        return self._link.owed
