"""Takes sealed pages to the daemon: one connection per process and endpoint.

Two threads once something was collected: one connects, reads the answers and connects again; the other is gRPC's, which
draws the messages to send out of `_messages`. Both are daemon threads. `_lock` is never held across input or output.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import embedded, process
from .access import Access, AccessError, Explainer
from .dial import METHOD, dial, knock, may_answer, pause, quiet
from .endpoint import EndpointError, directory_of, resolve
from .link import Link
from .notices import say, trace
from .outbox import Outbox
from .page import Page
from .session import Session
from .threadless import exchange, threads_can_start
from .wire import Stream

if TYPE_CHECKING:
    from ._pb.collector_pb2 import ServerMessage

SETTLING = 0.02
LEAVING_WITHIN = 0.5
LOOKING_EVERY = 0.25
REFUSED_PAUSE = 2.0
"""Seconds until somebody who has to act may have acted."""


class Sender:
    """Thread-safe. Made without a thread or a connection; `wake` starts it."""

    def __init__(self, endpoint: str | None, access: Access) -> None:
        self.endpoint = endpoint
        self._access = access
        self._token = ""
        """What the connection at hand shows."""
        self._explainer = Explainer()
        self._refused = False
        """True where the daemon does not trust us, or we it: asking again soon would change nothing."""
        self.stopped = False
        self._session = Session()
        self._lock = threading.Lock()
        """Protects the session and the link."""
        self._work = threading.Event()
        self._interrupt = threading.Event()
        self._resting = False
        self._asleep = threading.Event()
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._abandoned: Any = None

    # ------------------------------------------------------------ for outboxes and clients

    def attach(self, outbox: Outbox) -> None:
        with self._lock:
            self._session.attach(outbox)
        # Its service may be one that is not followed yet.
        self._work.set()

    def detach(self, outbox: Outbox) -> None:
        """Forgets `outbox` and gives up what it holds; with the last one the sender stops."""
        self._give_up(outbox)
        with self._lock:
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
        self._work.set()

    def count_dropped(self, stream: Stream, reason: str, rows: int) -> None:
        drops = self._session.drops
        with self._lock:
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
        session = self._session
        return {
            "connected": self.connected,
            "reconnects": max(0, session.connects - 1),
            "resent_elsewhere": session.resent_elsewhere,
            "last_error": session.last_error,
        }

    def _give_up(self, outbox: Outbox) -> None:
        outbox.seal()
        with self._lock:
            self._session.give_up(outbox)

    def stop(self, timeout: float = 1.0) -> None:
        """Puts the connection down for good. What was sent and not answered then counts as dropped, `unconfirmed`."""
        with self._lock:
            self.stopped = True
            link, thread = self._link, self._thread
            waits = thread is not None and thread is not threading.current_thread()
            leaving = waits and self._session.drops.changed and link is not None and link.alive and link.welcomed
            if leaving and link is not None:
                link.leaving = True
        if leaving and thread is not None:
            # The daemon hears what was dropped, answers what it has, and ends the stream.
            self._work.set()
            thread.join(min(timeout, LEAVING_WITHIN))
        self._interrupt.set()
        self._cut(link)
        if waits and thread is not None:
            thread.join(timeout)
        with self._lock:
            self._session.give_up_unconfirmed()
        embedded.leave(self)

    def settle(self, deadline: float) -> list[Outbox]:
        """Sends what is held and waits until `deadline` (monotonic seconds). Returns the outboxes that still hold something.

        Does not wait where no daemon listens and none ever did.
        """
        with self._lock:
            outboxes = list(self._session.outboxes)
        held = [outbox for outbox in outboxes if not outbox.idle()]
        if held and not self.stopped and self._may_answer():
            self._start()
            if self._thread is None:
                # Collected for the first time while the interpreter ends, and no thread starts any more.
                for outbox in held:
                    outbox.seal()
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
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                return
            self._resting = True
            self._asleep.clear()
            link = self._link
        self._interrupt.set()
        self._cut(link)
        self._asleep.wait(2.0)
        # What is left to do in gRPC's own threads takes well under a millisecond, and nothing tells when it is done. A lock
        # that one of them holds in the moment of the fork would be held for ever in the child.
        if link is not None:
            time.sleep(SETTLING)

    def resume(self) -> None:
        with self._lock:
            self._resting = False
        self._interrupt.set()

    # ------------------------------------------------------------ the thread that connects and reads

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self.stopped:
                return
            thread = threading.Thread(target=self._run, name="collectord-client", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The interpreter is shutting down.
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

    def _attempt(self) -> bool:
        """One connection from beginning to end. True if the daemon welcomed us."""
        try:
            return self._connect()
        except (EndpointError, AccessError) as error:
            self._failed(str(error), isinstance(error, AccessError))
        except Exception as error:  # noqa: BLE001
            self._failed(type(error).__name__)
            trace(error)
        return False

    def _connect(self) -> bool:
        target, path = resolve(self.endpoint)
        refused = knock(path) if path else ""
        directory = directory_of(self.endpoint)
        if refused and path and directory is not None:
            embedded.serve(directory, self)
            refused = knock(path)
        if refused:
            # Without a daemon, gRPC is not even loaded, and an attempt costs some microseconds.
            self._failed(refused)
            return False
        import grpc

        from ._pb.collector_pb2 import ServerMessage

        secure = path is None and self._access.speaks_tls(self.endpoint)
        self._refused = False
        self._token = self._access.token_now() if directory is None else ""
        if not secure:
            self._access.check_plain(target, self._token)
        shown = (self._access.credentials(), self._access.server_name()) if secure else ()
        link = Link(self._session)
        with self._lock:
            if self.stopped or self._resting:
                return False
            self._link = link
        channel = dial(target, path, *shown)
        started: list[threading.Thread] = []
        try:
            if sys.version_info >= (3, 12) and not threads_can_start():
                self._last_words(channel, link)
                return False
            before = set(threading.enumerate())
            try:
                link.call = channel.stream_stream(METHOD, None, None)(self._messages(link))
            except RuntimeError:
                # Python 3.12, and the interpreter began to end just now: gRPC has a call and no thread to serve it, so
                # closing its channel would wait for ever. It is left alone, and the words go out another way.
                self._abandoned, channel = channel, dial(target, path, *shown)
                self._last_words(channel, link)
                return False
            quiet(link.call)
            started = [thread for thread in threading.enumerate() if thread not in before and thread.daemon]
            if not link.alive:
                link.call.cancel()
            for raw in link.call:
                self._receive(link, ServerMessage.FromString(raw))
            self._failed("the daemon ended the stream")
        except grpc.RpcError as error:
            if link.alive:
                code = error.code() if isinstance(error, grpc.Call) else None
                detail = error.details() if isinstance(error, grpc.Call) else str(error)
                why = ""
                if path is None and not link.welcomed and code is grpc.StatusCode.UNAVAILABLE:
                    # What gRPC says of a handshake, or of one that is missing, differs from version to version, and often is no help.
                    why = self._explainer.why_not(self._access, target, secure)
                self._refused = bool(why) or code is grpc.StatusCode.UNAUTHENTICATED
                said = f"{code.name if code is not None else 'error'}: {detail}"
                self._failed(link.given_up or why or said, self._refused)
        finally:
            with self._lock:
                link.alive = False
                self._link = None
            self._work.set()
            if link.call is not None:
                link.call.cancel()
                link.written.wait(1.0)
            channel.close()
            # The call holds the generator, which holds the link: cut here, so that gRPC tears it all down at once.
            link.call = None
            for thread in started:
                thread.join(0.25)
        return link.welcomed

    def _last_words(self, channel: Any, link: Link) -> None:
        """A whole connection without further threads, while `finish` waits in the thread that ends the process."""
        from ._pb.collector_pb2 import ServerMessage

        def following() -> bytes | None:
            with self._lock:
                return link.next()[0] if link.alive else None

        def waiting() -> bool:
            with self._lock:
                return link.alive and (not link.welcomed or bool(self._session.window.batches))

        exchange(
            channel, METHOD, process.exit_timeout(self.endpoint), link.hello(self._token), following,
            lambda raw: self._receive(link, ServerMessage.FromString(raw)), waiting,
        )  # fmt: skip

    def _cut(self, link: Link | None) -> None:
        if link is not None:
            link.cut()
            self._work.set()

    def _failed(self, what: str, needs_somebody: bool = False) -> None:
        if self.stopped:
            return
        self._session.last_error = what
        if self._session.connects or needs_somebody:
            say(logging.WARNING, f"lost {self.endpoint}", "no connection to collectord: %s; trying again", what)
        else:
            say(logging.INFO, f"none {self.endpoint}", "collectord cannot be reached yet: %s", what)

    def _receive(self, link: Link, message: ServerMessage) -> None:
        """Takes an answer, and says what people should know of it."""
        session = self._session
        with self._lock:
            if not link.alive:
                return
            connects, before, switches = session.connects, session.collecting, session.switches
            refused = link.receive(message)
            wakes = link.waiting or session.connects != connects
        if wakes:
            self._work.set()
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

    # ------------------------------------------------------------ gRPC's thread, which draws messages

    def _messages(self, link: Link) -> Iterator[bytes]:
        try:
            with self._lock:
                first = link.hello(self._token)
            yield first
            while True:
                self._work.clear()
                with self._lock:
                    if not link.alive:
                        return
                    message, wait = link.next()
                if message is not None:
                    yield message
                elif link.leaving:
                    return
                else:
                    self._work.wait(wait)
        except Exception as error:  # noqa: BLE001
            self._session.last_error = type(error).__name__
            say(logging.ERROR, "internal", "sending failed: %s", type(error).__name__)
            trace(error)
        finally:
            link.written.set()
