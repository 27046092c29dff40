"""Another version takes over a spool while a frame is on its way: what the old one wrote down is what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collectord.encode import frame_reader
from collectord.encode.frame import FrameEncoder
from collectord.model import Cursor, FrameTag, Lsn
from collectord.testing.store import LATE, LOST, UNSENT, Fault, MemoryStore
from collectord.upload.appender import Appender
from collectord.upload.attempts import Landed, Retry
from collectord.upload.ledger import Ledger
from collectord.upload.naming import Layout
from collectord.upload.records import Intent
from tests.e2e.landed import decode
from tests.upload.world import DAY, HEADER, STREAM

SUFFIX = {"zstd": ".zst", "gzip": ".gz"}
LEVELS = {"zstd": (1, 19), "gzip": (1, 3)}


class Version:
    """A daemon of a version, known by the level at which it compresses: the same rows, other bytes."""

    def __init__(self, spool: Path, store: MemoryStore, codec: str, level: int) -> None:
        from random import Random

        from collectord.testing.clock import ManualClock

        spool.mkdir(exist_ok=True)
        self.ledger = Ledger(spool)
        self.layout = Layout(suffix=SUFFIX[codec])
        self.encoder = FrameEncoder(codec, level)
        self.appender = Appender(
            store, self.ledger, spool / "frames", self.layout, frame_reader, ManualClock(), Random(level)
        )

    def encode(self, number: int, sequence: int) -> bytes:
        text = b"".join(b"%d,%d\n" % (number, row * row % 977) for row in range(400))
        return self.encoder.data_frame(text, FrameTag(self.ledger.writer_id, sequence, 400))

    def stage(self, number: int) -> Intent:
        sequence = self.ledger.next_frame_id()
        return self.appender.stage(
            STREAM, DAY, HEADER, self.encoder.header_frame(HEADER), self.encode(number, sequence),
            FrameTag(self.ledger.writer_id, sequence, 400), 400, Cursor(Lsn(number), 0),
        )  # fmt: skip

    def bring(self, intent: Intent) -> None:
        while not isinstance(self.appender.attempt(intent), Landed):
            pass


@pytest.fixture(params=list(SUFFIX))
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    assert store.fired or not store.requests


@pytest.mark.parametrize("fault", [LOST, UNSENT, LATE], ids=["landed_unheard", "never_sent", "late"])
@pytest.mark.parametrize("first", [True, False], ids=["first_frame", "later_frame"])
def test_a_frame_on_its_way_is_never_encoded_again(
    tmp_path: Path, store: MemoryStore, codec: str, fault: Fault, first: bool
) -> None:
    old = Version(tmp_path / "spool", store, codec, LEVELS[codec][0])
    if not first:
        old.bring(old.stage(1))
    store.plan("append", *([None] if first else []), fault)
    intent = old.stage(2)
    sent = old.encode(2, intent.frame_id)
    assert isinstance(old.appender.attempt(intent), Retry)
    old.ledger.close()

    new = Version(tmp_path / "spool", store, codec, LEVELS[codec][1])
    assert new.encode(2, intent.frame_id) != sent, "the upgrade has to write other bytes to be one"
    (open_intent,) = new.ledger.intents()
    new.bring(open_intent)
    store.release()
    new.bring(new.stage(3))
    (name,) = store.blobs
    blob = bytes(store.blobs[name].content)
    assert blob.count(sent) == 1
    assert [line.split(",")[0] for line in decode(name, blob).splitlines()] == [
        "a", *(["1"] * 400 if not first else []), *["2"] * 400, *["3"] * 400,
    ]  # fmt: skip
    new.ledger.close()
