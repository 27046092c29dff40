"""How much may be under way: credit per client, and room in the daemon's budget of unacknowledged bytes.

A client that keeps to its credit never waits here for itself. One that does not is simply not read from until the log has
taken what it sent: whatever it does, it holds no more than its credit, or one message. So nobody can fill the budget that
all share, nor the queue to the disk in front of the others. Where many wait, it is one batch of each tenant or service in turn,
however many clients it has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

PAGE = 256 << 10
LEAST_CREDIT = PAGE
FIRST_CREDIT = 2 * PAGE

Waiter = asyncio.Future[None]


def credit(budget: int, clients: int) -> int:
    """Bytes that a client may have unacknowledged: two pages, less when many clients share the budget. Pure."""
    return max(LEAST_CREDIT, min(FIRST_CREDIT, budget // max(1, clients)))


def fits(held: int, size: int, limit: int) -> bool:
    """Whether `size` bytes may be added to `held`. One message always may be, however large it is. Pure."""
    return held == 0 or held + size <= limit


@dataclass(slots=True, eq=False)
class Account:
    """What one stream has under way. Whoever acquires for it waits for himself: one at a time."""

    held: int = 0
    whose: object = None
    """Whose turn it takes where many wait: a tenant's or a service's."""
    waiter: Waiter | None = None
    """Done when something was released."""


class Admission:
    """The budget of received and not yet durable bytes, shared by all clients.

    A batch waits first until its own client may hold it, in nobody's way; then, with all others that may, for the budget:
    tenants and services take turns, and among the clients of one, first come is first served. As a client has one batch
    there at most, these take turns too. Belongs to the event loop.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self.waits: Callable[[str], None] = lambda whose: None
        """Told once per batch that has to wait: for its `client`, or for the `daemon`."""
        self._queues: dict[object, deque[tuple[Account, int, Waiter]]] = {}
        """By whose they are, the one whose turn it is first."""

    async def acquire(self, account: Account, size: int, share: Callable[[], int]) -> None:
        """Waits until `size` bytes fit both into the client's share, which may change meanwhile, and into the budget.

        Whoever is cancelled while waiting holds nothing.
        """
        if not fits(account.held, size, share()):
            self.waits("client")
            while not fits(account.held, size, share()):
                account.waiter = asyncio.get_running_loop().create_future()
                try:
                    await account.waiter
                finally:
                    account.waiter = None
        if self.has_room(size):
            self._hold(account, size)
            return
        self.waits("daemon")
        waiter = asyncio.get_running_loop().create_future()
        self._queues.setdefault(account.whose, deque()).append((account, size, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                # The place in the queue is given up; whoever stands behind may fit now.
                self._wake()
            else:
                self.release(account, size)
            raise

    def has_room(self, size: int) -> bool:
        """Whether `acquire` would not wait, for an account that holds nothing."""
        return not self._queues and fits(self.used, size, self.budget)

    def release(self, account: Account, size: int) -> None:
        """The bytes are durable, or given up."""
        self.used -= size
        account.held -= size
        if account.waiter is not None and not account.waiter.done():
            account.waiter.set_result(None)
        self._wake()

    def _hold(self, account: Account, size: int) -> None:
        self.used += size
        account.held += size

    def _wake(self) -> None:
        while self._queues:
            whose, queue = next(iter(self._queues.items()))
            account, size, waiter = queue[0]
            served = not waiter.cancelled()
            if served:
                if not fits(self.used, size, self.budget):
                    return
                self._hold(account, size)
                waiter.set_result(None)
            queue.popleft()
            if served or not queue:
                del self._queues[whose]
                if queue:
                    self._queues[whose] = queue  # behind the others
