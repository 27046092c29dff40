"""Rows of the log that land while the store is read are left out of what is read there, and no others."""

from __future__ import annotations

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.errors import TryAgain
from collectord.model import StreamKind
from collectord.query.tables import Waiting
from collectord.query.waiting import HOUR_US, Snapshot, _read
from collectord.testing.store import MemoryStore, StoredBlob
from tests.query.asking import HOUR, asked, line, put, rows

BASE = f"_collectord/telemetry/traces/s/g/w/svc/m/1/{HOUR}/w0.jsonl"


def event(number: int) -> bytes:
    return line(itemId=str(number), message="a\r b")


def told(text: bytes, base: str = BASE, more: bool = False, **fields: object) -> pb.WaitingResponse:
    stream = pb.Stream(webservice="svc", model="m", designation="traces", kind=int(StreamKind.TRACE))
    return pb.WaitingResponse(
        rows=pb.WaitingRows(
            stream=stream,
            base=base,
            form="jsonl",
            start_hour=497_000,
            boundary_minutes=60,
            text=text,
            more=more,
            **fields,
        )
    )


def end(left_out: int = 0) -> pb.WaitingResponse:
    return pb.WaitingResponse(end=pb.WaitingEnd(writer=b"w", left_out=left_out))


def test_what_a_daemon_tells_is_put_together() -> None:
    """Pieces of one text; of two partitions in one blob the lower length counts."""
    answers = [
        told(b"abc", more=True, rows=7, known={0: 10, 1: 4}), pb.WaitingResponse(rows=pb.WaitingRows(text=b"de\n")),
        told(b"f\n", rows=1, known={0: 8}), end(5),
    ]  # fmt: skip
    snapshot = _read(answers)
    begin = 497_000 * HOUR_US
    assert snapshot.rows == [
        Waiting("traces", begin, begin + HOUR_US, "jsonl", b"", None, text, count) for text, count in ((b"abcde\n", 7), (b"f\n", 1))
    ]  # fmt: skip
    assert (snapshot.writer, snapshot.left_out) == (b"w", 5)
    assert snapshot.places == {BASE: {0: 8, 1: 4}}
    with pytest.raises(TryAgain, match="has ended while it told"):
        _read(answers[:-1])


def test_a_sieve_leaves_out_what_it_was_told_as_often_as_it_was_and_begins_anew() -> None:
    snapshot = _read([told(event(1) + event(2) + event(2), known={0: 100}), end()])
    for _ in range(2):
        sieve = snapshot.sieve()
        assert sieve.without_waiting(BASE, [event(2), event(3)]) == [event(3)]
        assert sieve.without_waiting(BASE, [event(2), event(1), event(2)]) == [event(2)]
    sieve = snapshot.sieve()
    assert sieve.first_doubtful(BASE) == 100
    assert sieve.first_doubtful(BASE.replace(".jsonl", ".1.jsonl")) == 0
    assert sieve.first_doubtful(BASE.replace("w0", "w1")) is None
    assert (sieve.wrote(None), sieve.wrote(b"w"), sieve.wrote(b"v")) == (True, True, False)


class TakenLog:
    """What `Log` says, without a daemon."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def tables(self) -> dict[str, list[str]]:
        return {"traces": ["key"]}

    def take(self, chosen: object, span: object) -> Snapshot:
        return self.snapshot


def test_events_that_land_meanwhile_count_once() -> None:
    """Before the length that is told nothing waits, even if it looks the same; in the next part everything may; another
    writer's lines are others'."""
    store = MemoryStore()
    landed = event(1) + event(2)
    waiting = event(2) + event(3) + event(4)
    put(store, "traces", [landed, waiting[: len(event(2)) * 2], event(5)])
    store.blobs[BASE.replace(".jsonl", ".1.jsonl")] = StoredBlob(bytearray(event(4) + event(6)))
    put(store, "traces", [event(4)], writer="w1")
    snapshot = _read([told(waiting, known={0: len(landed)}, rows=3), end(2)])
    questions = asked(store)
    questions._log = TakenLog(snapshot)  # type: ignore[assignment]
    with questions:
        found = [row["itemId"] for row in rows(questions.kql("traces | project itemId"))]
        assert sorted(found) == ["1", "2", "2", "3", "4", "4", "5", "6"]
        assert (questions.waiting, questions.left_out) == (3, 2)
        assert rows(questions.kql("traces | join kind=inner traces on itemId | summarize dcount(itemId)")) == [
            {"dcount_itemId": 6}
        ]
        # Of other hours nothing waits.
        early = "traces | where timestamp < datetime(2020-01-01) | count"
        assert rows(questions.kql(early)) == [{"Count": 0}]
        assert [one.name for one in questions.tables()] == []
