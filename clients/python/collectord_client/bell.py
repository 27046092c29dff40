"""What wakes a thread that waits for something to do, also one that waits for a socket at the same time."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# epoll would take one more descriptor, and is no quicker for two.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Bell:
    """`ring` from any thread; the rest belongs to whoever waits. What was rung is remembered until `clear`."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None
        """Heard at the first and rung at the second; made when somebody waits."""
        self._rung = False
        self._waiting = False

    def ring(self) -> None:
        rung, self._rung = self._rung, True
        ends = self._ends
        # Rung again before whoever waits has had the interpreter, it stays at once: a call to the kernel would hand the interpreter
        # over, and the thread that scores would have to wait for it.
        if self._waiting and not rung and ends is not None:
            # Closed, nobody waits any more.
            with suppress(OSError):
                ends[1].send(b"!")

    def clear(self) -> None:
        """What is looked at from here on includes all that was rung for before."""
        self._rung = False

    def hearing(self, other: socket.socket | None = None) -> selectors.BaseSelector:
        """For `wait`: hears the bell, and what `other` has to read."""
        if self._ends is None:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
        selector: selectors.BaseSelector = _Selector()
        selector.register(self._ends[0], READ)
        if other is not None:
            selector.register(other, READ)
        return selector

    def wait(self, seconds: float, hearing: selectors.BaseSelector) -> int:
        """Until it rings, `seconds` are over, or the other socket is ready; what that is ready for, `READ` and `WRITE`."""
        self._waiting = True
        try:
            found = hearing.select(0 if self._rung else max(0.0, seconds))
        finally:
            self._waiting = False
        ready = 0
        for key, events in found:
            if self._ends is not None and key.fileobj is self._ends[0]:
                with suppress(OSError):
                    self._ends[0].recv(64)
            else:
                ready = events
        return ready

    def close(self) -> None:
        """Nobody waits any more. Whoever rings afterwards does nothing. May be repeated."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()
