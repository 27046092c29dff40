"""Writers as the pipeline drives them, and the account of what must be in the blobs in the end."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from collectord.clock import Clock
from collectord.model import Cursor, FrameTag, Lsn, Partition, Stream
from collectord.testing.clock import ManualClock
from collectord.upload.appender import Appender
from collectord.upload.attempts import BlockedFor, Landed, Retry
from collectord.upload.ledger import Ledger
from collectord.upload.naming import Layout
from collectord.upload.records import Intent
from collectord.upload.store import BlobStore

STREAM = Stream(workspace="w", model="m", designation="inputs")
DAY = Partition.of(bytes(16), 1_600_000_000_000_000_000, 1440)
HEADER = b"a,b\n"


class Lines:
    """Plain text, whose first line is its header."""

    def first_frame_text(self, codec: str, head: bytes) -> bytes | None:
        if head.startswith(b"\x00"):
            raise ValueError("not text")
        end = head.find(b"\n") + 1
        return head[:end] or None


class Writer:
    """A daemon with one stream: takes numbered frames from an endless log, each staged when the one before has landed."""

    def __init__(
        self,
        spool: Path,
        store: BlobStore,
        *,
        name: str = "w",
        header: bytes = HEADER,
        seed: int = 0,
        clock: Clock | None = None,
        size: int = 40,
    ) -> None:
        spool.mkdir(exist_ok=True)
        self.name, self.header, self.size = name, header, size
        self.ledger = Ledger(spool)
        self.chance = random.Random(seed)
        self.layout = Layout(suffix="")
        self.clock = clock or ManualClock()
        self.appender = Appender(store, self.ledger, spool / "frames", self.layout, Lines(), self.clock, self.chance)

    def rows(self, number: int) -> list[bytes]:
        """The rows of the frame at log position `number`: unique, and always the same."""
        count = 1 + number % 3
        return [b"%s-%d-%d,%s" % (self.name.encode(), number, row, b"x" * self.size) for row in range(count)]

    def stage(self, number: int) -> Intent:
        rows = self.rows(number)
        return self.appender.stage(
            STREAM, DAY, self.header, self.header, b"".join(row + b"\n" for row in rows),
            FrameTag(self.ledger.writer_id, self.ledger.next_frame_id(), len(rows)), len(rows), Cursor(Lsn(number), 0),
        )  # fmt: skip

    def landed(self) -> int:
        """The log position up to which everything has landed."""
        progress = self.ledger.cursors().get(DAY)
        return progress.cursor.lsn if progress else 0

    def run(self, until: int, between: Callable[[Retry | BlockedFor], None] = lambda outcome: None) -> None:
        """Settles what is open, then brings all frames up to `until` home."""
        for intent in self.ledger.intents():
            self.bring(intent, between)
        while (number := self.landed() + 1) <= until:
            self.bring(self.stage(number), between)

    def bring(self, intent: Intent, between: Callable[[Retry | BlockedFor], None] = lambda outcome: None) -> Landed:
        for _ in range(2000):
            outcome = self.appender.attempt(intent)
            if isinstance(outcome, Landed):
                return outcome
            between(outcome)
            if isinstance(self.clock, ManualClock):
                self.clock.advance(outcome.after_seconds)
        raise AssertionError(f"never landed: {outcome}")

    def close(self) -> None:
        self.ledger.close()


def text_of(store: BlobStore, blob: str) -> bytes:
    length = store.length(blob)
    assert isinstance(length, int)
    pieces = []
    for offset in range(0, length, 1 << 22):
        piece = store.read(blob, offset, 1 << 22)
        assert isinstance(piece, bytes)
        pieces.append(piece)
    return b"".join(pieces)


def part_number(blob: str) -> int:
    found = re.search(r"/data\.(\d+)\.csv", blob)
    return int(found[1]) if found else 0


def check_books(
    store: BlobStore,
    writers: list[tuple[Writer, int]],
    foreign: Callable[[str, bytes], bytes] = lambda name, text: text,
) -> None:
    """Every row of every writer up to its number is there exactly once, in order, under its own single header.

    `foreign` takes out of a blob's text what somebody else has put there; nothing left: the blob is his alone.
    """
    found: dict[bytes, list[bytes]] = {}
    for blob in sorted(store.list(""), key=lambda blob: part_number(blob.name)):
        text = foreign(blob.name, text_of(store, blob.name))
        if not text:
            continue
        assert text.endswith(b"\n"), f"{blob.name} ends within a row"
        header, *rows = text.splitlines()
        assert rows, f"{blob.name} has a header and nothing else"
        assert header not in rows, f"{blob.name} has two headers"
        found.setdefault(header + b"\n", []).extend(rows)
    expected = Counter(row for writer, until in writers for n in range(1, until + 1) for row in writer.rows(n))
    assert Counter(row for rows in found.values() for row in rows) == expected
    for writer, until in writers:
        mine = [row for row in found.get(writer.header, []) if row.startswith(writer.name.encode() + b"-")]
        assert mine == [row for n in range(1, until + 1) for row in writer.rows(n)], f"order of {writer.name}"
        assert writer.ledger.landed_totals()[STREAM.key()].rows == len(mine)
        assert writer.ledger.intents() == []
