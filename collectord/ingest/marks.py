"""The marks: per client the highest sequence number that was taken, and the highest that is durable."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Mark:
    """One client. `taken` runs ahead of `durable` by what the log is writing."""

    taken: int
    durable: int
    seen_ns: int
    """Wall time of the last contact."""
    stored: bool = False
    """Whether the ledger knows this state."""


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
                mark.stored = False

    def greet(self, client: bytes, now_ns: int) -> int:
        """A client says hello. Returns the next sequence number wanted: one after its durable mark."""
        with self.lock:
            mark = self._marks.setdefault(client, Mark(0, 0, now_ns))
            mark.seen_ns = now_ns
            mark.stored = False
            return mark.durable + 1

    def taken(self, client: bytes) -> int:
        """The highest sequence number that was handed to the log."""
        return self._marks[client].taken

    def durable(self, client: bytes) -> int:
        """The highest sequence number that is durable."""
        return self._marks[client].durable

    def take(self, client: bytes, sequence: int) -> None:
        """`sequence`, one after the last, is on its way to the log."""
        with self.lock:
            mark = self._marks[client]
            assert sequence == mark.taken + 1, (sequence, mark.taken)
            mark.taken = sequence

    def give_back(self, client: bytes) -> int:
        """The log failed: forget what was not durable. Returns the next sequence number wanted."""
        with self.lock:
            mark = self._marks[client]
            mark.taken = mark.durable
            return mark.durable + 1

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
