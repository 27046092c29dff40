"""The marks: per client the highest sequence number that was taken, and the highest that is durable."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collectord.errors import TooManyClients

MAX_MARKS = 100_000
"""Clients that are remembered, connected or not."""


@dataclass(slots=True)
class Mark:
    """One client. `taken` runs ahead of `durable` by what the log is writing."""

    taken: int
    durable: int
    seen_ns: int
    """Wall time of the last contact."""
    stored: bool = False
    """Whether the ledger knows this state."""
    epoch: int = 0
    """How often the log failed this client: what was handed in before a failure does not speak for what came after."""


class Marks:
    """All clients. Safe from any thread; no call waits for anything but the lock.

    `lock` is held across `take` and the log's `append`, so that `give_back` falls before both or after both.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._marks: dict[bytes, Mark] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def restore(self, marks: Iterable[tuple[bytes, int, int]]) -> None:
        """Takes `(client, mark, seen_ns)` from the ledger."""
        with self.lock:
            for client, durable, seen_ns in marks:
                self._marks[client] = Mark(durable, durable, seen_ns, stored=True)

    def observe(self, client: bytes, sequence: int, now_ns: int) -> None:
        """An entry of this client stands in the log: its mark is at least that."""
        with self.lock:
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

        Raises:
            TooManyClients: it is not known, and `MAX_MARKS` are.
        """
        with self.lock:
            mark = self._marks.get(client)
            if mark is None:
                if len(self._marks) >= MAX_MARKS:
                    raise TooManyClients(f"{MAX_MARKS} clients are remembered already")
                mark = self._marks[client] = Mark(0, 0, now_ns)
            mark.seen_ns = now_ns
            mark.stored = False
            return mark.durable + 1

    def leave(self, client: bytes, now_ns: int) -> None:
        """A client is gone: from now on it is silent. One that never sent anything needs no mark."""
        with self.lock:
            mark = self._marks.get(client)
            if mark is None:
                return
            if mark.taken == 0:
                del self._marks[client]
                return
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

    def changed(self) -> Iterator[tuple[bytes, int, int]]:
        """`(client, mark, seen_ns)` of every client whose state the ledger does not know; it does afterwards."""
        with self.lock:
            changed = [(client, mark) for client, mark in self._marks.items() if not mark.stored]
            for _, mark in changed:
                mark.stored = mark.taken == mark.durable
            return iter([(client, mark.durable, mark.seen_ns) for client, mark in changed])

    def expire(self, before_ns: int, connected: frozenset[bytes]) -> list[bytes]:
        """Forgets clients not heard of since `before_ns`, and returns their ids."""
        with self.lock:
            gone = [
                client for client, mark in self._marks.items() if mark.seen_ns < before_ns and client not in connected
            ]
            for client in gone:
                del self._marks[client]
        return gone
