"""What waits, as text, and where it will be found once it has landed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from collectord.encode.csv import header_of
from collectord.encode.frame_reader import iter_frames
from collectord.model import Stream
from collectord.pipeline.snapshot import WaitingEnd, WaitingPiece
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import Unknown
from tests.pipeline.node import HOUR, NOON, Client, Node, schema, wait_until

EVER = 1 << 40


def take(
    running: Node, wanted: Callable[[Stream], bool] = lambda stream: True, first: int = -EVER, last: int = EVER, most: int = EVER
) -> tuple[list[WaitingPiece], WaitingEnd]:  # fmt: skip
    *pieces, end = running.pipeline.snapshots.take(wanted, first, last, most)
    assert isinstance(end, WaitingEnd)
    assert all(isinstance(piece, WaitingPiece) for piece in pieces)
    return pieces, end  # type: ignore[return-value]


def ids(pieces: list[WaitingPiece]) -> list[str]:
    return [record.decode().split(",")[2] for piece in pieces for record in piece.text.splitlines()]


def test_rows_that_wait_are_told_as_the_text_that_lands(node: Callable[..., Node], store: MemoryStore) -> None:
    """By stream and by hour, with header, types and the blob; and nothing any more once they have landed."""
    running = node()
    mine, other = Client(schema()), Client(schema("outputs"))
    running.append(mine.batch(10), mine.batch(5), other.batch(3), mine.batch(2, NOON + 24 * HOUR))
    wait_until(lambda: running.pipeline.overview.waiting().rows == 20)
    assert {one.stream.designation: one.rows for one in running.pipeline.snapshots.streams()} == {
        "inputs": 17,
        "outputs": 3,
    }
    pieces, end = take(running, lambda stream: stream.designation == "inputs")
    assert sorted(ids(pieces)) == sorted(mine.ids)
    assert (end.writer, end.left_out) == (running.ledger.writer_id, 0)
    assert {(piece.form, piece.header) for piece in pieces} == {("csv", header_of(mine.schema))}
    assert [column["type"] for column in json.loads(pieces[0].schema)["columns"][:3]] == ["float64", "float64", "uuid"]
    assert [piece.known for piece in pieces] == [{}, {}]
    day = NOON // HOUR
    today, _ = take(running, first=day, last=day + 3)
    assert sum(piece.rows for piece in today) == 18
    running.settle()
    landed = b""
    for piece in pieces:
        frames = list(iter_frames("zstd", io.BytesIO(bytes(store.blobs[piece.base].content))))
        landed += b"".join(frame.text for frame in frames[1:])
    assert landed == b"".join(piece.text for piece in pieces)
    assert take(running) == ([], end)


def test_what_lies_before_the_length_that_is_told_did_not_wait(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a frame is under way, which may be in its blob already."""
    running = node()
    mine = Client(schema())
    running.append(mine.batch(10))
    running.settle()
    (base,) = [name for name in store.blobs if "inputs" in name]
    length = len(store.blobs[base].content)
    running.append(mine.batch(4))
    wait_until(lambda: running.pipeline.overview.waiting().rows == 4)
    assert [piece.known for piece in take(running)[0]] == [{0: length}]
    # The reply is lost: the frame is in its blob, and nobody has confirmed it.
    store.plan("append", *[Fault(Unknown("lost"), "after")], *[Fault(Unknown("lost"))] * 50)
    running.pipeline.flush(0.05)
    wait_until(lambda: len(store.blobs[base].content) > length)
    (piece,), _ = take(running)
    assert piece.known == {0: length}
    assert piece.rows == 4
    # As if it were confirmed at this moment, before its rows leave the index.
    parts = running.ledger.parts
    monkeypatch.setattr(
        running.ledger, "parts", lambda base: [replace(one, length=length + 500) for one in parts(base)]
    )
    (piece,), _ = take(running)
    assert piece.known == {0: length}


def test_a_question_gets_no_more_than_it_may(node: Callable[..., Node]) -> None:
    """What is left out is counted; no limit of the pipeline's own is passed either way."""
    running = node()
    mine = Client(schema())
    running.append(*(mine.batch(10) for _ in range(20)))
    wait_until(lambda: running.pipeline.overview.waiting().rows == 200)
    pieces, end = take(running, most=10_000)
    told = sum(piece.rows for piece in pieces)
    assert 0 < told < 200
    assert end.left_out == 200 - told
    assert ids(pieces) == mine.ids[:told]
    pieces, end = take(running, most=0)
    assert (pieces, end.left_out) == ([], 200)


def test_rows_that_land_while_the_text_is_made_are_left_to_the_store(node: Callable[..., Node]) -> None:
    """Their segment may be gone by then."""
    running = node(segment_bytes=1 << 16)
    mine = Client(schema())
    running.append(*(mine.batch(500) for _ in range(8)))
    wait_until(lambda: running.pipeline.overview.waiting().rows == 4000)
    answers = running.pipeline.snapshots.take(lambda stream: True, -EVER, EVER, EVER)
    first = next(answers)
    running.settle()
    *rest, end = answers
    assert isinstance(first, WaitingPiece)
    told = first.rows + sum(piece.rows for piece in rest if isinstance(piece, WaitingPiece))
    assert isinstance(end, WaitingEnd)
    assert 0 < told <= 4000
