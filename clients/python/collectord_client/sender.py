"""Takes sealed pages to the daemon: one connection per process and endpoint.

Two threads once something was collected: one connects, reads the answers and connects again; the other is gRPC's, which
draws the messages to send out of `_messages`. Both are daemon threads. `_lock` is never held across input or output.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from . import process
from .endpoint import EndpointError, resolve
from .notices import say, trace
from .outbox import Outbox
from .page import Page
from .threadless import exchange, threads_can_start
from .version import VERSION
from .window import Window
from .wire import MESSAGE_ROOM, Stream, batch, declare, dropped, hello

if TYPE_CHECKING:
    from ._pb.collector_pb2 import ServerMessage

METHOD = "/collectord.v1.Collector/Collect"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between attempts to connect: doubled from the first, jittered downwards. A daemon that is back has its clients
back well within a second."""
WELCOME_WITHIN = 10.0
SETTLING = 0.02
KNOCKING = 0.2
LEAVING_WITHIN = 0.5
AGAIN_AFTER = 0.1
"""A second request to go back to the same place waits this long: the first one's answers may still be under way."""

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def pause(failures: int) -> float:
    """Seconds to wait after so many attempts that failed in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10)) * random.uniform(0.5, 0.9)


def knock(path: str) -> str:
    """Why nobody can be reached behind a unix socket; empty if somebody listens, or if only gRPC can tell."""
    if not os.path.exists(path):  # noqa: PTH110
        return f"there is no socket {path}"
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return ""
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    return ""


def refuses(target: str) -> bool:
    """True where nobody listens on `host:port`, as far as that can be told at once."""
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCKING).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class Link:
    """One connection, from Hello to its end. Protected by the sender's lock."""

    def __init__(self) -> None:
        self.alive = True
        self.welcomed = False
        self.opened = time.monotonic()
        self.declared: set[bytes] = set()
        self.max_message = 4 << 20
        self.drops_sent = float("-inf")
        self.leaving = False
        """True once only what was dropped is still to be told; then the stream is ended in good order."""
        self.went_back: tuple[int, float] = (0, 0.0)
        self.go_back_at: tuple[int, float] | None = None
        self.call: Any = None
        self.written = threading.Event()
        """Set when gRPC's thread has left `_messages`."""


class Sender:
    """Thread-safe. Made without a thread or a connection; `wake` starts it."""

    def __init__(self, endpoint: str | None, token: str) -> None:
        self.endpoint = endpoint
        self.token = token
        self.stopped = False
        self.collect = True
        self.connected = False
        self.connects = 0
        self.last_error = ""
        self.resent_elsewhere = 0
        self._withheld = ""
        """Why the daemon gives no credit, in its own words."""
        self.client_id = os.urandom(16)
        self._spool_id: bytes | None = None
        self._window = Window()
        self._queue: deque[tuple[Outbox, Page]] = deque()
        self._outboxes: list[Outbox] = []
        self._drops: Counter[tuple[Stream, str]] = Counter()
        self._drops_before: Counter[tuple[Stream, str]] = Counter()
        """What was told under earlier client ids."""
        self._drops_changed = False
        self._lock = threading.Lock()
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
            self._outboxes.append(outbox)
            outbox.collecting = self.collect

    def detach(self, outbox: Outbox) -> None:
        """Forgets `outbox` and gives up what it holds; with the last one the sender stops."""
        self._give_up(outbox)
        with self._lock:
            if outbox in self._outboxes:
                self._outboxes.remove(outbox)
            last = not self._outboxes
        if last:
            self.stop()

    def enqueue(self, outbox: Outbox, page: Page) -> None:
        self._queue.append((outbox, page))

    def wake(self) -> None:
        if self._thread is None:
            self._start()
        self._work.set()

    def count_dropped(self, stream: Stream, reason: str, rows: int) -> None:
        with self._lock:
            self._drops[stream, reason] += rows
            if self._drops_changed:
                return
            self._drops_changed = True
        self.wake()

    def _give_up(self, outbox: Outbox) -> None:
        """What was never sent of `outbox`'s counts as dropped, `closed`, here and for the daemon."""
        outbox.seal()
        with self._lock:
            for _ in range(len(self._queue)):
                owner, page = self._queue.popleft()
                if owner is not outbox:
                    self._queue.append((owner, page))
                    continue
                self._drops[page.schema.stream, "closed"] += page.rows
                self._drops_changed = True
                outbox.settle(page.rows, "closed", page, lost=True)
            for batch in self._window.forget(outbox):
                self._drops[batch.schema.stream, "closed"] += batch.rows
                self._drops_changed = True
                batch.done("closed", True)

    def stop(self, timeout: float = 1.0) -> None:
        """Puts the connection down for good. What was sent and not answered then counts as dropped, `unconfirmed`."""
        with self._lock:
            self.stopped = True
            link, thread = self._link, self._thread
            waits = thread is not None and thread is not threading.current_thread()
            leaving = waits and self._drops_changed and link is not None and link.alive and link.welcomed
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
            for batch in self._window.batches:
                batch.done("unconfirmed", True)
            self._window.batches.clear()

    def finish(self, deadline: float) -> None:
        """At exit: drains all outboxes until `deadline` (monotonic seconds), then stops."""
        with self._lock:
            outboxes = list(self._outboxes)
        held = [outbox for outbox in outboxes if not outbox.idle()]
        if held and not self._hopeless():
            self._start()
            if self._thread is None:
                # Collected for the first time while the interpreter ends, and no thread starts any more.
                self._connect_here(held)
                held = [outbox for outbox in held if not outbox.idle()]
            else:
                held = [outbox for outbox in held if not outbox.wait_settled(deadline)]
        if held and self.connects:
            rows = sum(outbox.waiting() for outbox in held)
            say(logging.WARNING, "exit", "the process ends with %d rows unsent: %s", rows, self.last_error or "no time")
        for outbox in held:
            self._give_up(outbox)
        self.stop(max(0.1, deadline - time.monotonic()))

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
                self.last_error = str(error)
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
            try:
                welcomed = self._connect()
            except EndpointError as error:
                welcomed = False
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001
                welcomed = False
                self._failed(type(error).__name__)
                trace(error)
            failures = 0 if welcomed else failures + 1
            if not self.stopped and not self._resting:
                self._interrupt.wait(pause(failures))

    def _connect(self) -> bool:
        """One connection from beginning to end. True if the daemon welcomed us."""
        target, path = resolve(self.endpoint)
        refused = knock(path) if path else ""
        if refused:
            # Without a daemon, gRPC is not even loaded, and an attempt costs some microseconds.
            self._failed(refused)
            return False
        import grpc

        from ._pb.collector_pb2 import ServerMessage

        link = Link()
        with self._lock:
            if self.stopped or self._resting:
                return False
            self._link = link
        options = CHANNEL_OPTIONS + ((("grpc.default_authority", "localhost"),) if path else ())
        channel = grpc.insecure_channel(target, options=options)
        if sys.version_info >= (3, 12) and not threads_can_start():
            self._last_words(channel, link)
            channel.close()
            return False
        before = set(threading.enumerate())
        started: list[threading.Thread] = []
        try:
            try:
                link.call = channel.stream_stream(METHOD, None, None)(self._messages(link))
            except RuntimeError:
                # Python 3.12, and the interpreter began to end just now: gRPC has a call and no thread to serve it, so
                # closing its channel would wait for ever. It is left alone, and the words go out another way.
                self._abandoned, channel = channel, grpc.insecure_channel(target, options=options)
                self._last_words(channel, link)
                return False
            started = [thread for thread in threading.enumerate() if thread not in before and thread.daemon]
            if not link.alive:
                link.call.cancel()
            for raw in link.call:
                self._receive(link, ServerMessage.FromString(raw))
            self._failed("the daemon ended the stream")
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else None
            if link.alive:
                detail = error.details() if isinstance(error, grpc.Call) else str(error)
                self._failed(f"{code.name if code is not None else 'error'}: {detail}")
        finally:
            with self._lock:
                link.alive = False
                self.connected = False
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

    def _connect_here(self, held: list[Outbox]) -> None:
        """The same in the calling thread, which ends the process."""
        for outbox in held:
            outbox.seal()
        try:
            self._connect()
        except Exception as error:  # noqa: BLE001
            self._failed(type(error).__name__)
            trace(error)

    def _last_words(self, channel: Any, link: Link) -> None:
        """A whole connection without further threads, while `finish` waits in the thread that ends the process."""
        from ._pb.collector_pb2 import ServerMessage

        def following() -> bytes | None:
            with self._lock:
                return self._next(link)[0] if link.alive else None

        def waiting() -> bool:
            with self._lock:
                return link.alive and (not link.welcomed or bool(self._window.batches))

        exchange(
            channel, METHOD, process.exit_timeout(), hello(self.client_id, os.getpid(), VERSION, self.token), following,
            lambda raw: self._receive(link, ServerMessage.FromString(raw)), waiting,
        )  # fmt: skip

    def _cut(self, link: Link | None) -> None:
        if link is None:
            return
        link.alive = False
        self._work.set()
        call = link.call
        if call is not None:
            call.cancel()

    def _failed(self, what: str) -> None:
        if self.stopped:
            return
        self.last_error = what
        if self.connects:
            say(logging.WARNING, f"lost {self.endpoint}", "no connection to collectord: %s; trying again", what)
        else:
            say(logging.INFO, f"none {self.endpoint}", "collectord cannot be reached yet: %s", what)

    def _hopeless(self) -> bool:
        """True where waiting at exit is in vain: there is no daemon here, as on a developer's machine."""
        if self.connected or self.stopped:
            return self.stopped
        try:
            target, path = resolve(self.endpoint)
        except EndpointError:
            return True
        if path is not None:
            # One that was there a moment ago may come back, as long as its socket is there.
            return bool(knock(path)) if not self.connects else not os.path.exists(path)  # noqa: PTH110
        return not self.connects and refuses(target)

    # ------------------------------------------------------------ answers

    def _receive(self, link: Link, message: ServerMessage) -> None:
        kind = message.WhichOneof("message")
        was = (self.connects, self.collect)
        refused = None
        with self._lock:
            if not link.alive:
                return
            if kind == "welcome":
                self._welcome(link, message)
            elif kind == "ack":
                self._window.acknowledge(message.ack.sequence)
            elif kind == "credit":
                self._window.credit = message.credit.bytes
                if message.credit.reason or self.last_error == self._withheld:
                    self.last_error = self._withheld = message.credit.reason
            elif kind == "resume":
                self._go_back(link, message.resume.next_sequence)
            elif kind == "reject":
                reason = message.reject.reason or "rejected"
                refused = self._window.refuse(message.reject.sequence, reason)
            elif kind == "settings":
                self._settings(message.settings.collect)
        self._work.set()
        if refused is not None:
            say(
                logging.WARNING,
                f"reject {reason}",
                "rejected %d rows: %s (%s)",
                refused.rows,
                reason,
                message.reject.detail,
            )
        if self.connects > max(1, was[0]):
            say(logging.INFO, f"back {self.endpoint}", "connected to collectord again")
        if self.collect != was[1]:
            say(logging.INFO, f"switch {self.collect}", "collecting was switched %s", "on" if self.collect else "off")

    def _welcome(self, link: Link, message: ServerMessage) -> None:
        welcome = message.welcome
        window = self._window
        known = self._spool_id in (None, welcome.spool_id)
        first = window.next_sequence - len(window.batches)
        fresh = window.next_sequence == 1 and not window.batches
        if (known or fresh) and first <= welcome.next_sequence <= window.next_sequence:
            window.acknowledge(welcome.next_sequence - 1)
            window.go_back(welcome.next_sequence)
        else:
            self._begin_again(link)
            self._spool_id = None
            return
        self._spool_id = welcome.spool_id
        window.credit = welcome.credit_bytes
        link.max_message = welcome.max_message_bytes or link.max_message
        link.welcomed = True
        self.connected = True
        self.connects += 1
        self.last_error = ""
        self._drops_changed = bool(self._drops)
        if welcome.HasField("settings"):
            self._settings(welcome.settings.collect)

    def _begin_again(self, link: Link) -> None:
        """Another log, or one that forgot us: a new client id, on a new stream, and everything unacknowledged again."""
        self.client_id = os.urandom(16)
        self.resent_elsewhere += self._window.begin_again()
        self._drops_before = Counter(self._drops)
        self.last_error = "the daemon's log does not know this client: starting again"
        link.alive = False
        if link.call is not None:
            link.call.cancel()

    def _go_back(self, link: Link, sequence: int) -> None:
        now = time.monotonic()
        before, when = link.went_back
        if sequence == before and now - when < AGAIN_AFTER:
            link.go_back_at = (sequence, when + AGAIN_AFTER)
        elif self._window.go_back(sequence):
            link.went_back = (sequence, now)
            self._window.careful = True
        else:
            self._begin_again(link)
            self._spool_id = None

    def _settings(self, collect: bool) -> None:
        self.collect = collect
        for outbox in self._outboxes:
            outbox.collecting = collect

    # ------------------------------------------------------------ gRPC's thread, which draws messages

    def _messages(self, link: Link) -> Iterator[bytes]:
        try:
            yield hello(self.client_id, os.getpid(), VERSION, self.token)
            while True:
                self._work.clear()
                with self._lock:
                    if not link.alive:
                        return
                    message, wait = self._next(link)
                if message is not None:
                    yield message
                elif link.leaving:
                    return
                else:
                    self._work.wait(wait)
        except Exception as error:  # noqa: BLE001
            self.last_error = type(error).__name__
            say(logging.ERROR, "internal", "sending failed: %s", self.last_error)
            trace(error)
        finally:
            link.written.set()

    def _next(self, link: Link) -> tuple[bytes | None, float]:
        """The next message, or None and for how long there is nothing to do unless woken."""
        now = time.monotonic()
        if not link.welcomed:
            if now - link.opened > WELCOME_WITHIN and link.call is not None:
                self.last_error = "the daemon did not answer"
                link.call.cancel()
            return None, WELCOME_WITHIN / 2
        wait = 5.0
        if link.go_back_at is not None:
            sequence, when = link.go_back_at
            if now >= when:
                link.go_back_at = None
                first = self._window.next_sequence - len(self._window.batches)
                if sequence >= first:
                    self._window.go_back(sequence)
                    self._window.careful = True
                    link.went_back = (sequence, now)
            else:
                wait = when - now
        if self._drops_changed:
            if now - link.drops_sent >= 1.0 or link.leaving:
                self._drops_changed = False
                link.drops_sent = now
                totals = self._drops - self._drops_before
                if totals:
                    return dropped(totals), 0.0
            else:
                wait = min(wait, link.drops_sent + 1.0 - now)
        if link.leaving:
            return None, 0.0
        wait = min(wait, self._seal_aged(now))
        if self._window.cursor >= len(self._window.batches) and self._queue:
            self._number(*self._queue.popleft(), link.max_message - MESSAGE_ROOM)
        ready = self._window.next()
        if ready is None:
            return None, 0.0 if self._window.cursor >= len(self._window.batches) and self._queue else wait
        if ready.schema.id not in link.declared:
            link.declared.add(ready.schema.id)
            return declare(ready.schema), 0.0
        self._window.sent()
        return batch(ready.sequence, ready.body), 0.0

    def _seal_aged(self, now: float) -> float:
        wait = 5.0
        for outbox in tuple(self._outboxes):
            opened = outbox.seal(now - outbox.linger)
            if opened is not None:
                wait = min(wait, max(0.001, opened + outbox.linger - now))
            elif outbox.abandoned and outbox.idle() and len(self._outboxes) > 1:
                self._outboxes.remove(outbox)
        return wait

    def _number(self, outbox: Outbox, page: Page, limit: int) -> None:
        """Gives the page's rows their sequence numbers, split so that a message fits."""
        bodies = page.fitting(limit)
        page.clear()
        left = len(bodies)

        def done(rows: int, reason: str | None, lost: bool = False) -> None:
            nonlocal left
            left -= 1
            outbox.settle(rows, reason, page if left == 0 else None, lost)

        for rows, body in bodies:
            if len(body) > limit:
                self._drops[page.schema.stream, "row_too_large"] += rows
                self._drops_changed = True
                done(rows, "row_too_large", lost=True)
            else:
                self._window.push(page.schema, rows, body, partial(done, rows), outbox)
