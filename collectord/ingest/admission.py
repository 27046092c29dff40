"""How much may be under way: credit per client, and room in the daemon's budget of unacknowledged bytes."""

from __future__ import annotations

import asyncio
from collections import deque

PAGE = 256 << 10
LEAST_CREDIT = PAGE
FIRST_CREDIT = 2 * PAGE


def credit(budget: int, clients: int) -> int:
    """Bytes that a client may have unacknowledged: two pages, less when many clients share the budget. Pure."""
    return max(LEAST_CREDIT, min(FIRST_CREDIT, budget // max(1, clients)))


class Admission:
    """The budget of received and not yet durable bytes, shared by all clients, first come first served.

    Belongs to the event loop. A batch larger than the budget is let through alone.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, size: int) -> None:
        """Waits until `size` bytes fit. Whoever is cancelled while waiting holds nothing."""
        if not self._queue and self._fits(size):
            self.used += size
            return
        waiter = asyncio.get_running_loop().create_future()
        self._queue.append((size, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                # The place in the queue is given up; whoever stands behind may fit now.
                self._wake()
            else:
                self.release(size)
            raise

    def release(self, size: int) -> None:
        """The bytes are durable, or given up."""
        self.used -= size
        self._wake()

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.budget

    def _wake(self) -> None:
        while self._queue:
            size, waiter = self._queue[0]
            if not waiter.cancelled():
                if not self._fits(size):
                    return
                self.used += size
                waiter.set_result(None)
            self._queue.popleft()
