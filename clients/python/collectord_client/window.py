"""What was sent and is not yet acknowledged: sequence numbers, credit, going back. No input, no output, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from . import wire
from .wire import Buffer, Schema


@dataclass(slots=True)
class Sent:
    """A batch with a sequence number."""

    sequence: int
    schema: Schema
    rows: int
    message: bytes
    start: int
    """Where in the message its body begins, behind the number."""
    done: Callable[[str | None, bool], None]
    """Called once, when the batch is durable (None) or refused for good (the reason); True: by us, it is lost."""
    owner: object
    refused: str | None = None
    attempted: bool = False

    @property
    def size(self) -> int:
        return len(self.message) - self.start

    def renumber(self, sequence: int) -> None:
        """Gives it another number, if it is another."""
        if sequence != self.sequence:
            self.message, self.start = wire.batch(sequence, memoryview(self.message)[self.start :])
            self.sequence = sequence


@dataclass(slots=True)
class Window:
    """Batches in order of their sequence numbers; those before `cursor` are under way."""

    batches: deque[Sent] = field(default_factory=deque)
    cursor: int = 0
    next_sequence: int = 1
    credit: int = 512 << 10
    under_way: int = 0
    """Bytes sent and not acknowledged."""
    careful: bool = False
    """After being sent back, one batch at a time until one is taken: what a full daemon refuses is not sent in heaps."""

    def push(
        self,
        schema: Schema,
        rows: int,
        body: Sequence[Buffer],
        done: Callable[[str | None, bool], None],
        owner: object,
    ) -> None:
        """Gives a batch its number. Here the pieces of its body are copied, once for as often as it is sent."""
        message, start = wire.batch(self.next_sequence, *body)
        self.batches.append(Sent(self.next_sequence, schema, rows, message, start, done, owner))
        self.next_sequence += 1

    @property
    def first(self) -> int:
        """The sequence number of the oldest batch, or the next one to be given where there is none."""
        return self.next_sequence - len(self.batches)

    @property
    def all_sent(self) -> bool:
        return self.cursor >= len(self.batches)

    def next(self) -> Sent | None:
        """The batch to send now, if there is one and the credit allows it. One may always be under way."""
        if self.all_sent:
            return None
        batch = self.batches[self.cursor]
        if self.under_way and (self.careful or self.under_way + batch.size > self.credit):
            return None
        return batch

    def sent(self) -> None:
        """What `next` gave is under way."""
        batch = self.batches[self.cursor]
        batch.attempted = True
        self.under_way += batch.size
        self.cursor += 1

    def acknowledge(self, sequence: int) -> None:
        """All up to `sequence` are settled."""
        while self.batches and (self.batches[0].sequence <= sequence or self.batches[0].refused):
            batch = self.batches.popleft()
            if self.cursor:
                self.cursor -= 1
                self.under_way -= batch.size
            batch.done(batch.refused, False)
            self.careful = False

    def refuse(self, sequence: int, reason: str) -> Sent | None:
        """The daemon will never take this one; the mark has passed it, hence all before it as well are in its log."""
        for batch in self.batches:
            if batch.sequence == sequence and batch.refused is None:
                batch.refused = reason
                self.acknowledge(0)
                return batch
        return None

    def go_back(self, sequence: int) -> bool:
        """Sends again from `sequence` on. False if that is outside of what is remembered."""
        if not self.first <= sequence <= self.next_sequence:
            return False
        self.cursor = sequence - self.first
        self.under_way = sum(batch.size for batch in islice(self.batches, self.cursor))
        return True

    def forget(self, owner: object) -> list[Sent]:
        """Takes out what was never sent of `owner`'s. What was sent stays: its number is used."""
        gone = [batch for batch in self.batches if batch.owner is owner and not batch.attempted]
        if gone:
            first = self.first
            # What was sent comes before all that was not, so that no number changes that the daemon has seen.
            self.batches = deque(batch for batch in self.batches if batch.owner is not owner or batch.attempted)
            for at, batch in enumerate(self.batches, first):
                batch.renumber(at)
            self.next_sequence = first + len(self.batches)
        return gone

    def begin_again(self) -> int:
        """Numbers everything from 1 under a new client id. Returns how many of the rows may already be elsewhere."""
        again = 0
        for at, batch in enumerate(self.batches, 1):
            batch.renumber(at)
            if batch.attempted:
                again += batch.rows
        self.cursor = 0
        self.under_way = 0
        self.next_sequence = len(self.batches) + 1
        return again
