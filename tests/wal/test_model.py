"""The log against a model of it: append, rotate, fail, cut the power, recover, retire, in any order.

The model is one list: what must be read. An acknowledgement is an obligation; what was reported as failed stays away once
a later segment was begun, and until then may be found whole or not at all.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collectord.model import Lsn
from collectord.wal.reader import LogReader
from tests.wal.faults import EIO, ENOSPC, FaultyDisk, PowerCut
from tests.wal.spool import SCHEMA, Spool, batch, payload_of, schema

SCHEMAS = [SCHEMA, schema("a"), schema("b")]
PLANS = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.integers(8, 6000)), min_size=1, max_size=4), min_size=1, max_size=4
)
"""Appends of (client, length) pairs. Eight bytes are enough for no two payloads to be the same."""


@dataclass(frozen=True)
class Sent:
    """One entry that was handed in; `number` names its payload."""

    number: int
    client: bytes
    sequence: int
    length: int


class LogMachine(RuleBasedStateMachine):
    """Drives one log."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.disk = FaultyDisk()
        self.spool = Spool(self.folder, segment_bytes=16384, budget=6 * 16384, disk=self.disk)
        self.accepted: list[Sent] = []
        """Must be read, in this order; of these, the first `retired` need not be there any more."""
        self.retired = 0
        self.received = 0
        """Batches ever accepted."""
        self.unsettled: list[tuple[Sent, int]] = []
        """Neither acknowledged nor, while no more segments than that have begun, void: may be found after a crash."""
        self.marks: dict[bytes, int] = {}
        self.numbers = 0
        self.highest = 0
        self.reader = LogReader(self.spool.writer.catalog, Lsn(0))
        self.seen = 0

    @initialize(short=st.sampled_from([None, None, 100, 4096]))
    def disk_writes(self, short: int | None) -> None:
        self.disk.short = short

    def _send(self, plan: list[list[tuple[int, int]]]) -> None:
        """Queues appends of (client, length) pairs and commits them; the faults that are set may strike."""
        next_sequence = dict(self.marks)
        appends: list[list[Sent]] = []
        for append in plan:
            sent = []
            for client_number, length in append:
                client = bytes([client_number]) * 16
                next_sequence[client] = next_sequence.get(client, 0) + 1
                self.numbers += 1
                sent.append(Sent(self.numbers, client, next_sequence[client], length))
            appends.append(sent)
        told: list[int] = []

        def settle(index: int, error: Exception | None) -> None:
            told.append(index)
            if error is None:
                self._accept(appends[index])
            else:
                self.unsettled += [(s, self.disk.begun_at_fault) for s in appends[index]]

        for index, sent in enumerate(appends):
            entries = [
                batch(s.sequence, payload_of(s.number, s.length), client=s.client, of=SCHEMAS[s.number % 3])
                for s in sent
            ]
            self.spool.writer.append(entries, partial(settle, index))
        try:
            self.spool.writer.commit()
        except PowerCut:
            unanswered = [s for index, sent in enumerate(appends) if index not in told for s in sent]
            self.unsettled += [(s, self.disk.begun) for s in unanswered]
            self._restart(power=True, chance=random.Random(self.numbers))
        else:
            assert told == list(range(len(appends)))

    @property
    def doubtful(self) -> list[Sent]:
        """A segment that was begun after a failure has made void what failed."""
        return [sent for sent, begun in self.unsettled if begun >= self.disk.begun]

    def _accept(self, sent: list[Sent]) -> None:
        for s in sent:
            assert s.sequence == self.marks.get(s.client, 0) + 1, "a client's entry without the one before it"
            self.marks[s.client] = s.sequence
            self.accepted.append(s)
            self.received += 1

    @rule(plan=PLANS)
    def append(self, plan: list[list[tuple[int, int]]]) -> None:
        self._send(plan)

    @rule(
        plan=PLANS,
        operation=st.sampled_from(["write", "sync", "sync", "create", "rename"]),
        error=st.sampled_from([EIO, EIO, ENOSPC, None]),
        times=st.integers(1, 3),
        after=st.integers(0, 2),
        torn=st.none() | st.integers(0, 8000),
        kill=st.booleans(),
    )
    def append_to_a_failing_disk(
        self,
        plan: list[list[tuple[int, int]]],
        operation: str,
        error: int | None,
        times: int,
        after: int,
        torn: int | None,
        kill: bool,
    ) -> None:
        self.disk.fail(operation, error, times, after)
        self.disk.torn = torn
        self._send(plan)
        self.disk.heal()
        if kill:
            self._restart(power=False, chance=random.Random(0))

    @rule()
    def retire(self) -> None:
        """The pipeline has finished with everything that it has read."""
        self.read()
        self.spool.writer.retire(self.reader.position)
        self.retired = self.seen

    @rule(power=st.booleans(), chance=st.randoms(use_true_random=False))
    def crash(self, power: bool, chance: random.Random) -> None:
        self._restart(power, chance)

    @rule()
    def close_and_start(self) -> None:
        self.disk.heal()
        self.spool.writer.close()
        self._restart(power=False, chance=random.Random(0))

    def _restart(self, power: bool, chance: random.Random) -> None:
        position = self.reader.position
        self.spool.writer.catalog.close()
        if power:
            self.disk.cut_power(chance)
        else:
            self.disk.kill()
        # The ledger knows how far reading had come.
        self.spool.write(floor=position)
        assert self.spool.recovered.damages == ()
        assert self.spool.recovered.losses == ()
        assert self.spool.recovered.set_aside == ()
        # All that is there, from the very beginning, and then on from where reading had stopped.
        whole = self._contents(LogReader(self.spool.writer.catalog, Lsn(0)))
        surfaced = self._check(whole)
        self._accept(surfaced)
        self.unsettled.clear()
        assert self.spool.recovered.next_base > self.highest
        self.reader = LogReader(self.spool.writer.catalog, position)

    def _contents(self, reader: LogReader) -> list[Sent]:
        found = []
        for stored in reader.read(1 << 20):
            self.highest = max(self.highest, stored.end)
            payload = bytes(reader.read_payload(stored))
            candidates = [
                s
                for s in [*self.accepted, *self.doubtful]
                if (s.client, s.sequence, s.length) == (stored.client, stored.sequence, stored.length)
                and payload_of(s.number, s.length) == payload
            ]
            assert candidates, f"an entry that must not be there: {stored}"
            assert reader.schema(stored.schema_id) == SCHEMAS[candidates[0].number % 3].raw
            found.append(candidates[0])
        assert not reader.damages
        return found

    def _check(self, whole: list[Sent]) -> list[Sent]:
        """What is there is what was accepted, but for retired ones, and then a prefix of what is doubtful."""
        known = [s for s in whole if s in self.accepted]
        surfaced = whole[len(known) :]
        assert known == self.accepted[len(self.accepted) - len(known) :]
        assert len(known) >= len(self.accepted) - self.retired
        rest = iter(self.doubtful)
        assert all(s in rest for s in surfaced), "what surfaced is not in the order in which it was sent"
        return surfaced

    @rule()
    def read(self) -> None:
        """A reader that lives through everything sees each accepted entry once, in order."""
        found = self._contents(self.reader)
        assert found == self.accepted[self.seen :]
        self.seen = len(self.accepted)

    @invariant()
    def the_books_are_right(self) -> None:
        counts = self.spool.writer.counts()
        assert sum(c.batches for c in counts.values()) == self.received
        assert sum(c.rows for c in counts.values()) == 3 * self.received
        files = [p for p in self.spool.log.iterdir() if p.suffix in (".seg", ".spare")]
        assert self.spool.writer.used_bytes == sum(p.stat().st_size for p in files)

    def teardown(self) -> None:
        try:
            self.disk.heal()
            self._send([[(1, 10)]])
            self.read()
            self.spool.writer.close()
        finally:
            shutil.rmtree(self.folder)


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
