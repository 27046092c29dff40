"""The marks: per client the highest sequence number that was taken, and the highest that is durable.

The payloads of the v2 door are clients to the log; they are remembered apart from those that speak gRPC, see
`remembered.py`, so that neither crowds out the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from collectord.errors import TooManyClients
from collectord.ingest.remembered import Payloads, is_ours

MAX_MARKS = 100_000
"""Clients that are remembered, connected or not."""
LEAST_SILENCE_NS = 3_600_000_000_000
"""A client that was heard of within this time is not forgotten to make room: it may come back with what it sent before."""


@dataclass(slots=True)
class Mark:
    """One client. `taken` runs ahead of `durable` by what the log is writing."""

    taken: int
    durable: int
    seen_ns: int
    """Wall time of the last contact."""
    stored: bool = False
    """Whether the ledger knows this state."""
    connected: bool = False
    epoch: int = 0
    """How often the log failed this client: what was handed in before a failure does not speak for what came after."""


class Marks:
    """All clients. Safe from any thread; no call waits for anything but the lock.

    `lock` is held across `take` and the log's `append`, so that `give_back` falls before both or after both.
    """

    def __init__(self, limit: int = MAX_MARKS, payloads: Payloads | None = None) -> None:
        self.lock = threading.RLock()
        self._payloads = payloads or Payloads()
        self._limit = limit
        self._marks: dict[bytes, Mark] = {}
        """Among those that are not connected, the one that has been silent for longest comes first."""
        self._forgotten: list[bytes] = []

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, client: bytes) -> bool:
        """Whether a client is remembered."""
        return client in self._marks

    def restore(self, marks: Iterable[tuple[bytes, int, int]]) -> None:
        """Takes `(client, mark, seen_ns)` from the ledger; of more than can be remembered, the last heard of."""
        clients = []
        with self.lock:
            for mark in sorted(marks, key=lambda mark: mark[2]):
                if is_ours(mark[0]):
                    self._payloads.restore(mark[0], mark[2])
                else:
                    clients.append(mark)
            for client, durable, seen_ns in clients[-self._limit :]:
                self._marks[client] = Mark(durable, durable, seen_ns, stored=True)

    def observe(self, client: bytes, sequence: int, now_ns: int) -> None:
        """An entry of this client stands in the log: its mark is at least that."""
        with self.lock:
            if is_ours(client):
                self._payloads.observe(client, now_ns)
                return
            mark = self._marks.get(client)
            if mark is None:
                self._marks[client] = Mark(sequence, sequence, now_ns)
            elif sequence > mark.durable:
                mark.durable = sequence
                mark.taken = max(mark.taken, sequence)
                mark.seen_ns = now_ns
                mark.stored = False

    def greet(self, client: bytes, now_ns: int) -> int:
        """A client says hello. Returns the next sequence number wanted: one after its durable mark.

        Where no more can be remembered, the one that has been silent for longest is forgotten for it.

        Raises:
            TooManyClients: it is not known, no more can be remembered, and all are connected or were heard of lately.
        """
        with self.lock:
            mark = self._marks.get(client)
            if mark is None:
                while len(self._marks) >= self._limit:
                    self._make_room(now_ns)
                mark = self._marks[client] = Mark(0, 0, now_ns)
            mark.seen_ns = now_ns
            mark.connected = True
            mark.stored = False
            return mark.durable + 1

    def leave(self, client: bytes, now_ns: int) -> None:
        """A client is gone: from now on it is silent. One that never sent anything needs no mark."""
        with self.lock:
            mark = self._marks.pop(client, None)
            if mark is None or mark.taken == 0:
                return
            self._marks[client] = mark
            mark.connected = False
            mark.seen_ns = now_ns
            mark.stored = False

    def taken(self, client: bytes) -> int:
        """The highest sequence number that was handed to the log."""
        return self._marks[client].taken

    def durable(self, client: bytes) -> int:
        """The highest sequence number that is durable."""
        return self._marks[client].durable

    def take(self, client: bytes, sequence: int) -> int:
        """`sequence`, one after the last, is on its way to the log. Returns the epoch, for `give_back`."""
        with self.lock:
            mark = self._marks[client]
            assert sequence == mark.taken + 1, (sequence, mark.taken)
            mark.taken = sequence
            return mark.epoch

    def give_back(self, client: bytes, epoch: int) -> None:
        """The log failed what was taken in this epoch: what was not durable is wanted again.

        Only the first failure of an epoch counts. Those behind it were handed in before it was known, and by the time
        they fail, their sequence numbers may be on their way again; setting the mark back once more would let a client
        send them a third time, to be stored twice.
        """
        with self.lock:
            mark = self._marks.get(client)
            if mark is not None and mark.epoch == epoch:
                mark.taken = mark.durable
                mark.epoch += 1

    def has_stored(self, payload: bytes) -> bool:
        """Whether the payload of the v2 door with this client id is durable, as far as is remembered."""
        with self.lock:
            return payload in self._payloads

    def payloads(self) -> int:
        """How many of these are remembered."""
        return len(self._payloads)

    def told(self) -> None:
        """The ledger has heard what `changed` said last. A client that it has not is told anew when it is heard of again;
        a payload never is."""
        with self.lock:
            self._payloads.told()

    def forgotten_payloads(self, now_ns: int) -> list[bytes]:
        """The client ids of those that were forgotten since the last call: the ledger may forget them as well."""
        with self.lock:
            return self._payloads.gone(now_ns)

    def changed(self) -> Iterator[tuple[bytes, int, int]]:
        """`(client, mark, seen_ns)` of every client whose state the ledger does not know; it does afterwards."""
        with self.lock:
            changed = [(client, mark) for client, mark in self._marks.items() if not mark.stored]
            for _, mark in changed:
                mark.stored = mark.taken == mark.durable
            clients = [(client, mark.durable, mark.seen_ns) for client, mark in changed]
            return chain(clients, self._payloads.changed())

    def shift(self, step_ns: int, now_ns: int) -> None:
        """The clock was set by so much and is at `now_ns`. Set ahead, whoever was heard of was so much later by it; set back, not
        later than now: who was heard of since must not seem silent for long. The ledger is told anew."""
        ahead = max(0, step_ns)
        with self.lock:
            for mark in self._marks.values():
                mark.seen_ns = min(mark.seen_ns + ahead, now_ns)
                mark.stored = False
            self._payloads.shift(ahead, now_ns)

    def expire(self, before_ns: int, connected: frozenset[bytes]) -> list[bytes]:
        """Forgets clients not heard of since `before_ns`. Returns their ids, and those that had to make room before."""
        with self.lock:
            gone = [
                client for client, mark in self._marks.items() if mark.seen_ns < before_ns and client not in connected
            ]
            for client in gone:
                del self._marks[client]
            gone += self._forgotten
            self._forgotten = []
        return gone

    def _make_room(self, now_ns: int) -> None:
        longest = next((client for client, mark in self._marks.items() if not mark.connected), None)
        if longest is None or self._marks[longest].seen_ns > now_ns - LEAST_SILENCE_NS:
            raise TooManyClients(f"{self._limit} clients are remembered already, all of them heard of within the hour")
        del self._marks[longest]
        self._forgotten.append(longest)
