"""Frames of several sizes into a store, as the pipeline brings them there: staged, appended, confirmed, each durable.

CPU is that of the calling thread, which does all of it; the emulator's is its own. What stands in the blob is compared with the frames
before a figure is told.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from collectord.clock import SystemClock
from collectord.encode.frame import FrameEncoder
from collectord.model import Cursor, FrameTag, Lsn, Partition, Stream
from collectord.testing.azurite import running
from collectord.upload.appender import Appender, Landed
from collectord.upload.azureblob import AzureBlob
from collectord.upload.ledger import Ledger
from collectord.upload.localdir import LocalDirectory
from collectord.upload.naming import Layout
from collectord.upload.store import BlobStore

ROOT = Path(__file__).resolve().parents[2]
SIZES = (64 << 10, 256 << 10, 1 << 20, 4_000_000)
STREAM = Stream(workspace="w", model="m", designation="inputs")
HEADER = FrameEncoder("zstd").header_frame(b"a,b\n")


@dataclass(frozen=True)
class Cost:
    """Of one append, in seconds."""

    cpu: float
    wall: float


class Alone:
    """What the appender asks of codecs when another writer was faster: here there is none."""

    def first_frame_text(self, codec: str, head: bytes) -> bytes | None:
        raise AssertionError("somebody else appends to this blob")


class Uploading:
    """One stream's appends to one store."""

    def __init__(self, store: BlobStore, spool: Path, day: int) -> None:
        spool.mkdir()
        self._store = store
        self._ledger = Ledger(spool)
        self._appender = Appender(
            store, self._ledger, spool / "frames", Layout(suffix=".zst"), Alone(), SystemClock(), random.Random(1)
        )
        self._partition = Partition.of(day.to_bytes(16, "big"), (1_600_000_000 + 86_400 * day) * 10**9, 1440)
        self._appended = 0
        self._wanted = hashlib.sha256()
        self._length = 0
        self._blob = ""

    def append(self, data: bytes) -> Cost:
        self._appended += 1
        tag = FrameTag(self._ledger.writer_id, self._ledger.next_frame_id(), 1)
        cpu, wall = time.thread_time(), time.perf_counter()
        intent = self._appender.stage(
            STREAM, self._partition, b"a,b\n", HEADER, data, tag, 1, Cursor(Lsn(self._appended), 0)
        )
        landed = self._appender.attempt(intent)
        cost = Cost(time.thread_time() - cpu, time.perf_counter() - wall)
        assert isinstance(landed, Landed), landed
        for piece in (HEADER, data) if self._appended == 1 else (data,):
            self._wanted.update(piece)
            self._length += len(piece)
        self._blob = landed.blob
        assert landed.end == self._length
        return cost

    def check(self) -> None:
        """Every byte that was appended stands in the blob, and no other."""
        found = hashlib.sha256()
        for offset in range(0, self._length + 1, 4 << 20):
            piece = self._store.read(self._blob, offset, 4 << 20)
            assert isinstance(piece, bytes)
            found.update(piece)
        assert self._appended
        assert (self._store.length(self._blob), found.digest()) == (self._length, self._wanted.digest())

    def close(self) -> None:
        self._ledger.close()


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, BlobStore]]:
    """A directory, and Azurite where `make azurite` has put it."""
    found: dict[str, BlobStore] = {"directory": LocalDirectory(folder / "store")}
    if not (ROOT / "node_modules/azurite").exists():
        yield found
        return
    with running(ROOT) as azurite:
        yield found | {"Azurite": AzureBlob("bench", connection_string=azurite.connection_string())}


def appends(rounds: int, each: int = 4) -> dict[str, dict[int, list[Cost]]]:
    """By store and size the costs of an append, each the mean of a few; sizes and stores take turns."""
    with TemporaryDirectory(prefix="collectord-bench-") as name, stores(Path(name)) as known:
        made = {
            (store, size): Uploading(opened, Path(name) / f"spool-{store}-{size}", number)
            for store, opened in known.items()
            for number, size in enumerate(SIZES)
        }
        costs: dict[str, dict[int, list[Cost]]] = {store: {size: [] for size in SIZES} for store in known}
        for number in range(rounds + 1):
            for (store, size), uploading in made.items():
                several = [uploading.append(os.urandom(size)) for _ in range(each)]
                if number:
                    # The first makes container, blob and connection.
                    mean = Cost(sum(one.cpu for one in several) / each, sum(one.wall for one in several) / each)
                    costs[store][size].append(mean)
        for uploading in made.values():
            uploading.check()
            uploading.close()
        for opened in known.values():
            opened.close()
    return costs
