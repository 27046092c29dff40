"""The wire kernel against the slow reference; and whatever it accepts must become rows, text, and an index of its ids.

An input is a byte that picks a schema, and a payload. The payload lies in front of an unreadable page.
"""

from __future__ import annotations

import random
from uuid import UUID

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.buffer.assemble import Rows, assemble
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame_index import may_hold
from collectord.errors import Rejected
from collectord.model import ColumnType, IdLayout, Schema
from fuzz.guard import Guarded
from fuzz.target import Target
from tests.encode import oracle
from tests.reference_batch import EARLIEST, LATEST, NOW, Bad, Request, Values, build, check_reference, make_schema

T = ColumnType
SCHEMAS: list[Schema] = [
    make_schema(T.FLOAT64, T.FLOAT64, tensor=True),
    make_schema(T.BOOL, T.BOOL, T.BOOL, tensor=True, correlation=IdLayout.TEXT, request=IdLayout.UUID),
    make_schema(T.INT8, tensor=True, request=IdLayout.TEXT, sampled=True),
    make_schema(T.STRING),
    make_schema(T.STRING, T.BOOL, T.STRING, correlation=IdLayout.TEXT, request=IdLayout.TEXT, sampled=True),
    make_schema(T.INT64, T.FLOAT32, T.TIMESTAMP_UTC, request=IdLayout.UUID),
    make_schema(T.FLOAT16, T.UINT64, T.TIMESTAMP, T.STRING, sampled=True),
    make_schema(T.UINT8, T.UINT16, T.UINT32, T.INT16, T.INT32, correlation=IdLayout.TEXT),
]
RULES = [batch.Rules.of(schema) for schema in SCHEMAS]
PLANS = [CsvPlan(schema, 60) for schema in SCHEMAS]
LONGEST = 8192


def target() -> Target:
    return Target(Differential().one, seeds(), LONGEST)


class Differential:
    def __init__(self) -> None:
        self._guarded = Guarded(LONGEST + (1 << 20))
        self._out = TextBuffer(0)

    def one(self, data: bytes) -> None:
        if not data:
            return
        at = data[0] % len(SCHEMAS)
        payload = data[1:]
        view = self._guarded.hold(payload)
        accepted = self._judged(view, at)
        try:
            check_reference(payload, SCHEMAS[at])
            expected = True
        except Bad:
            expected = False
        assert accepted == expected, f"kernel accepts: {accepted}, reference: {expected}"
        if accepted:
            self._becomes_text(payload, view, at)

    @staticmethod
    def _judged(view: memoryview, at: int) -> bool:
        batch.glance(view)
        try:
            found = batch.find(view)
            if found.schema_id != SCHEMAS[at].id:
                return False
            batch.check(view, found, RULES[at], EARLIEST, LATEST)
        except Rejected:
            return False
        return True

    def _becomes_text(self, payload: bytes, view: memoryview, at: int) -> None:
        message = pb.Batch.FromString(payload)
        rows = batch.find(view).rows
        assert rows == message.rows
        found = Rows(SCHEMAS[at], [(view, 0, rows)])
        whole = found.batch()
        ids, layout = found.ids(), SCHEMAS[at].correlation
        for one in set(whole.column("correlation_id").to_pylist()):
            assert may_hold(ids, one if layout is IdLayout.TEXT else str(UUID(bytes=one)))
        whole.validate(full=True)
        text = bytes(PLANS[at].encode(whole, self._out))
        assert text == oracle.encode(SCHEMAS[at], whole, 60)
        half = rows // 2
        pieces = assemble(
            SCHEMAS[at], [(view, first, last) for first, last in ((0, half), (half, rows)) if first < last]
        )
        assert bytes(PLANS[at].encode(pieces, self._out)) == text


def seeds() -> list[bytes]:
    """Good batches of every schema."""
    chance = random.Random(1)
    made = []
    for at, schema in enumerate(SCHEMAS):
        for counts in ([1], [1, 1, 1], [3, 1, 2]):
            requests = [
                Request(rows, first, NOW + first, _id(schema.correlation, chance), _id(schema.request, chance), 0.25)
                for first, rows in enumerate(counts)
            ]
            columns = [
                [_value(column.type, chance, schema.tensor) for _ in range(sum(counts))] for column in schema.columns
            ]
            made.append(bytes((at,)) + build(schema, Values(columns, requests), 1 + at).SerializeToString())
    return made


def _id(layout: IdLayout, chance: random.Random) -> bytes:
    return "é,漢".encode()[: 3 * chance.randrange(2) + 2] if layout is IdLayout.TEXT else chance.randbytes(16)


def _value(kind: ColumnType, chance: random.Random, tensor: bool) -> bytes | None:
    if not tensor and chance.randrange(4) == 0:
        return None
    if kind is ColumnType.STRING:
        return chance.choice([b"", b"plain", b'a"b', "é漢😀".encode(), b"x" * 30])
    return chance.choice([b"\0", b"\1"]) if kind is ColumnType.BOOL else chance.randbytes(batch.WIDTHS[kind])
