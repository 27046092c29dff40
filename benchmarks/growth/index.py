"""What the index of a frame costs whoever writes it, and what it saves whoever asks where an id is.

A frame is of 16,380 rows of 6 float64, each with an id of its own: UUIDv4, which an index knows by a filter, or UUIDv7, by
their milliseconds. A blob in a directory holds 40 of them. CPU of this thread; what is found is checked before.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pairs import take_turns
from collectord._pb import collector_pb2 as pb
from collectord.buffer.assemble import Rows
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame import FrameEncoder
from collectord.model import ColumnType, FrameTag, IdLayout
from collectord.reader.blobs import data_blobs
from collectord.reader.where import Effort, where
from collectord.upload.localdir import LocalDirectory
from collectord.upload.store import Appended
from tests.encode import batches

ROWS = 16_380
FRAMES = 40
COLUMNS = 6
SCHEMA = batches.schema(*[ColumnType.FLOAT64] * COLUMNS, tensor=True, correlation=IdLayout.UUID)
BLOB = "s/g/w/service/m/1/inputs/2026/11/21/data.csv.zst"
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Frame:
    """Rows as they stand in the log, and their ids."""

    payload: bytes
    ids: list[str]

    def rows(self) -> Rows:
        return Rows(SCHEMA, [(self.payload, 0, ROWS)])


def made(number: int, version: int) -> Frame:
    """Frame `number`: its own minute for UUIDv7, and ids that are the same in every run."""
    random = np.random.default_rng((number, version))
    raw = bytearray(random.bytes(16 * ROWS))
    start = 1_795_219_200_000 + number * 60_000
    for row in range(ROWS):
        at = 16 * row
        if version == 7:
            raw[at : at + 6] = (start + row).to_bytes(6, "big")
        raw[at + 6] = raw[at + 6] & 0x0F | version << 4
        raw[at + 8] = raw[at + 8] & 0x3F | 0x80
    times = (start * 1_000_000 + np.arange(ROWS) * 1000).astype("<i8").tobytes()
    batch = pb.Batch(
        schema_id=SCHEMA.id,
        rows=ROWS,
        requests=pb.Requests(times=times, correlation_ids=bytes(raw)),
        tensor=random.standard_normal((ROWS, COLUMNS)).tobytes(),
    )
    ids = [str(uuid.UUID(bytes=bytes(raw[at : at + 16]))) for at in (0, 16 * (ROWS // 2))]
    return Frame(batch.SerializeToString(), ids)


def writing(rounds: int) -> tuple[Times, int]:
    """Seconds per row from the log's bytes to a frame, without an index, with one of each kind; and its bytes."""
    plan, text, encoder = CsvPlan(SCHEMA, 1440), TextBuffer(), FrameEncoder("zstd")
    tag = FrameTag(bytes(16), 1, ROWS)

    def frame(one: Frame, indexed: bool) -> bytes:
        rows = one.rows()
        return encoder.data_frame(plan.encode(rows.batch(), text), tag, rows.ids() if indexed else None)

    random, ordered = made(0, 4), made(0, 7)
    cost = len(frame(random, True)) - len(frame(random, False))
    assert cost > ROWS // 8
    times = take_turns(
        {
            "without": lambda: frame(random, False),
            "UUIDv4": lambda: frame(random, True),
            "UUIDv7 without": lambda: frame(ordered, False),
            "UUIDv7": lambda: frame(ordered, True),
        },
        rounds,
        clock=time.thread_time,
    )
    return {name: [one / ROWS for one in found] for name, found in times.items()}, cost


def asking(rounds: int) -> Times:
    """Seconds of CPU per million rows searched for an id that is there, and for one that is nowhere."""
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder:
        stores = {
            "UUIDv4": _store(Path(folder) / "four", 4, True),
            "UUIDv7": _store(Path(folder) / "seven", 7, True),
            "no index": _store(Path(folder) / "plain", 4, False),
        }
        there = {name: made(FRAMES // 2, 7 if name == "UUIDv7" else 4).ids[1] for name in stores}
        nowhere = {name: made(FRAMES, 7 if name == "UUIDv7" else 4).ids[1] for name in stores}

        def search(name: str, wanted: str) -> tuple[int, Effort]:
            effort = Effort()
            troubles: list[str] = []
            store = stores[name]
            hits = list(where(store, data_blobs(store), wanted, effort, lambda blob, why: troubles.append(why)))
            assert not troubles, troubles
            return len(hits), effort

        for name in stores:
            found, effort = search(name, there[name])
            assert (found, effort.frames) == (1, FRAMES)
            assert effort.passed >= FRAMES - 4 if name != "no index" else effort.passed == 0
            assert search(name, nowhere[name])[0] == 0
        contestants = {f"{name}, there": (lambda name=name: search(name, there[name])) for name in stores} | {
            f"{name}, nowhere": (lambda name=name: search(name, nowhere[name])) for name in stores
        }
        times = take_turns(contestants, rounds, clock=time.thread_time, least=0.0)
    return {name: [one / (FRAMES * ROWS) * 1e6 for one in found] for name, found in times.items()}


def _store(root: Path, version: int, indexed: bool) -> LocalDirectory:
    """A blob of `FRAMES` frames."""
    root.mkdir()
    store, encoder = LocalDirectory(root), FrameEncoder("zstd")
    plan, text = CsvPlan(SCHEMA, 1440), TextBuffer()
    store.create(BLOB, encoder.content_type, {})
    at = 0
    for number in range(FRAMES):
        rows = made(number, version).rows()
        data = encoder.data_frame(
            plan.encode(rows.batch(), text), FrameTag(bytes(16), number, ROWS), rows.ids() if indexed else None
        )
        if not number:
            data = encoder.header_frame(plan.header) + data
        outcome = store.append(BLOB, data, at)
        assert isinstance(outcome, Appended)
        at = outcome.end
    return store
