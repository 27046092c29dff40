"""What one tenant may still send now, or where clients name none, one service: a quota of bytes and rows a second.

Nobody loses anything here: a batch that is beyond the quota waits, its client gets no credit and hears why, and when its turn has
come it is taken. A bucket holds what a second brings. A batch is taken as soon as anything is in it, however large it is, and what
is missing has to come together before the next one: so one that is larger than the quota gets through.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from collectord.model import Partition
from collectord.tenants import Tenant

MAX_PURSES = 4096
"""Services that are told apart where clients name no tenant; the rest share one."""

NEWCOMERS = 10_000
"""Clients of a tenant that nobody remembers and that may come in an hour: each takes a place among those that are remembered."""
NEW_COUNTS, HELD_COUNTS = 2000, 10_000
"""Streams and reasons of dropped rows that the clients of a tenant may bring up in an hour, and at once: each is a line of the books."""
REPORT_BYTES, HELD_REPORTS = 64 << 10, 4 << 20
"""Bytes a second, and at once, of what of a tenant stands in the log and is no row that lands: refusals and reports. Nothing of it
waits, so no share holds it."""
TIDY_SECONDS = 1.0
"""How often it is looked for those that nobody needs, where there are too many."""

Later = Callable[[float, Callable[[], None]], None]
Now = Callable[[], float]
Waiter = asyncio.Future[None]


def service_name(webservice: str) -> str:
    """What a purse is called that is a service's."""
    return f"service {webservice or 'default'}"


class Bucket:
    """So much a second; 0: without a limit."""

    __slots__ = ("_holds", "_left", "_since", "rate")

    def __init__(self, rate: float, now: float, holds: float | None = None) -> None:
        """`holds`: what a second brings, unless it is said."""
        self.rate = rate
        self._holds = rate if holds is None else holds
        self._left = self._holds
        self._since = now

    def take(self, amount: int, now: float) -> None:
        if self.rate:
            self._left = min(self._holds, self._left + (now - self._since) * self.rate) - amount
            self._since = now

    def full(self, now: float) -> bool:
        return self._left + (now - self._since) * self.rate >= self._holds

    def wait(self, now: float) -> float:
        """Seconds until something is in it."""
        if not self.rate:
            return 0.0
        return max(0.0, -(self._left + (now - self._since) * self.rate) / self.rate)


class Purse:
    """Of one tenant, or of one service. Belongs to the event loop."""

    def __init__(
        self, name: str, bytes_per_second: int = 0, rows_per_second: int = 0, most_partitions: int = 0, now: float = 0.0
    ) -> None:
        self.name = name
        """For people."""
        self.most_partitions = most_partitions
        """That may be open at a time; 0: without a limit of its own."""
        self.partitions: set[Partition] = set()
        """That were let in while it has such a limit, some of which may have been closed since."""
        self.limited = bytes_per_second > 0 or rows_per_second > 0
        self.spare = 0
        """Bytes that may come before it is looked again how much of it waits."""
        self.newcomers = Bucket(NEWCOMERS / 3600, now, NEWCOMERS)
        """Clients that have not been here before."""
        self.counts = Bucket(NEW_COUNTS / 3600, now, HELD_COUNTS)
        """Lines of the books about dropped rows."""
        self.reports = Bucket(REPORT_BYTES, now, HELD_REPORTS)
        """Bytes of what is no row."""
        self.clients: set[object] = set()
        """Who is connected and sends from it."""
        self._bytes = Bucket(bytes_per_second, now)
        self._rows = Bucket(rows_per_second, now)
        self._queue: deque[tuple[int, int, Waiter]] = deque()
        self._armed = False

    def idle(self, now: float) -> bool:
        """Whether nobody would notice if it were made anew."""
        return (
            not self.clients
            and not self._queue
            and self.newcomers.full(now)
            and self.counts.full(now)
            and self.reports.full(now)
            and self._bytes.full(now)
            and self._rows.full(now)
        )

    def take(self, size: int, rows: int, now: float) -> bool:
        """Takes a batch out of it, unless others wait or it is empty."""
        if self._queue or self._wait(now) > 0:
            return False
        self._spend(size, rows, now)
        return True

    async def turn(self, size: int, rows: int, now: Now, later: Later) -> None:
        """Waits until the batch has been taken out of it, behind those that came before."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._queue.append((size, rows, waiter))
        self._arm(now, later)
        await waiter

    def _wait(self, now: float) -> float:
        return max(self._bytes.wait(now), self._rows.wait(now))

    def _spend(self, size: int, rows: int, now: float) -> None:
        self._bytes.take(size, now)
        self._rows.take(rows, now)

    def _arm(self, now: Now, later: Later) -> None:
        if self._armed or not self._queue:
            return
        self._armed = True
        later(self._wait(now()), lambda: self._serve(now, later))

    def _serve(self, now: Now, later: Later) -> None:
        self._armed = False
        while self._queue and (self._queue[0][2].cancelled() or self._wait(now()) <= 0):
            size, rows, waiter = self._queue.popleft()
            if not waiter.cancelled():
                self._spend(size, rows, now())
                waiter.set_result(None)
        self._arm(now, later)


class Purses:
    """All of them. A tenant has one, for all of his services; of those who name none, each service has one."""

    def __init__(self, bytes_per_second: int = 0, rows_per_second: int = 0) -> None:
        """The quota of whoever has none of his own."""
        self._default = bytes_per_second, rows_per_second
        self._purses: dict[tuple[Tenant, str], Purse] = {}
        self._tidied = float("-inf")
        self.used = 0
        """Those that have clients."""
        self.clients = 0
        """Of all of them."""

    def of(self, tenant: Tenant, webservice: str, now: float) -> Purse:
        """The purse that pays for rows of a service."""
        key = tenant, "" if tenant.name else webservice
        found = self._purses.get(key)
        if found is None:
            if len(self._purses) >= MAX_PURSES and now - self._tidied >= TIDY_SECONDS:
                self._tidied = now
                self._purses = {which: purse for which, purse in self._purses.items() if not purse.idle(now)}
            if len(self._purses) >= MAX_PURSES and webservice and not tenant.name:
                return self.of(tenant, "", now)
            size, rows = self._default
            name = f"tenant {tenant.name}" if tenant.name else service_name(key[1])
            found = Purse(name, tenant.bytes_per_second or size, tenant.rows_per_second or rows, tenant.partitions, now)
            self._purses[key] = found
        return found

    def join(self, purse: Purse, client: object) -> None:
        """Somebody has come who sends from it."""
        self.used += not purse.clients
        self.clients += client not in purse.clients
        purse.clients.add(client)

    def leave(self, purse: Purse, client: object) -> None:
        """He has gone. May be repeated, and said of one who never came."""
        if client in purse.clients:
            purse.clients.remove(client)
            self.clients -= 1
            self.used -= not purse.clients
