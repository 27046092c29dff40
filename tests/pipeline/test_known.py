"""What is known of partitions is bounded, and what is not kept can be had again."""

from __future__ import annotations

import gc

import pytest

from collectord.ingest.validate import weight
from collectord.model import Partition, Schema
from collectord.pipeline import known as module
from collectord.pipeline.known import Kept, Known
from collectord.upload.naming import Layout
from collectord.wal.damage import DamagedEntry
from tests.pipeline.node import schema

WIDE = tuple(f"column {number}" for number in range(10_000))


class Log:
    """Declarations, and how often each was asked for."""

    def __init__(self, *raws: bytes) -> None:
        self._raws = {schema_.id: schema_.raw for schema_ in map(module.parse_schema, raws)}
        self.asked: list[bytes] = []

    @property
    def ids(self) -> list[bytes]:
        return list(self._raws)

    def schema(self, schema_id: bytes) -> bytes:
        self.asked.append(schema_id)
        if schema_id not in self._raws:
            raise DamagedEntry("gone")
        return self._raws[schema_id]


def known_of(log: Log, max_streams: int = 1000) -> Known:
    return Known(log.schema, Layout(suffix=".zst", writer="0" * 32), lowercase_workspace=False, max_streams=max_streams)


def partition(schema_id: bytes) -> Partition:
    return Partition(schema_id, 480_000, 1440)


def kept_bytes() -> int:
    """What all wide schemas that are anywhere in memory need."""
    gc.collect()
    found = (one for one in gc.get_objects() if isinstance(one, Schema))
    return sum(weight(one) for one in found if len(one.columns) == len(WIDE))


def test_schemas_are_bounded_by_what_they_need_and_not_by_their_number_alone() -> None:
    """Forty wide ones would need 80 MiB; each is right whenever it is asked for, kept or not."""
    log = Log(*(schema(f"wide {number}", WIDE).raw for number in range(40)))
    known = known_of(log)
    assert kept_bytes() == 0
    for schema_id in log.ids:
        known.plan(partition(schema_id))
    assert 0 < kept_bytes() <= module.KEPT_BYTES
    for schema_id in log.ids:
        assert known.schema(schema_id).id == schema_id
        assert known.plan(partition(schema_id)).header.startswith(b"column 0,")
    assert kept_bytes() <= module.KEPT_BYTES


def test_the_stream_of_a_schema_that_is_not_kept_is_told_without_reading_it_again() -> None:
    """The books ask for it under the lock, for every partition that waits."""
    log = Log(*(schema(f"wide {number}", WIDE).raw for number in range(40)))
    known = known_of(log)
    keys = [known.stream_key(schema_id) for schema_id in log.ids]
    assert len(set(keys)) == 40 and len(log.asked) == 40
    assert [known.stream_key(schema_id) for schema_id in log.ids] == keys
    assert all(map(known.knows, log.ids))
    assert len(log.asked) == 40


def test_a_schema_that_is_gone_or_another_s_is_not_known() -> None:
    log = Log(schema().raw)
    known = known_of(log)
    assert not known.knows(b"?" * 16)
    log._raws[b"!" * 16] = schema().raw
    assert not known.knows(b"!" * 16)
    with pytest.raises(DamagedEntry):
        known.schema(b"!" * 16)


def test_the_oldest_make_room_and_the_newest_is_kept_whatever_it_needs() -> None:
    kept = Kept[str, int](3, 100)
    for number, key in enumerate("abc"):
        kept.put(key, number, 30)
    kept.put("a", 9, 30)
    assert kept.get("a") == 0, "the first stays"
    kept.put("d", 3, 1)
    assert [kept.get(key) for key in "abcd"] == [None, 1, 2, 3], "by number"
    kept.put("e", 4, 60)
    assert [kept.get(key) for key in "bcde"] == [None, 2, 3, 4], "by bytes"
    kept.put("f", 5, 1000)
    assert [kept.get(key) for key in "cdef"] == [None, None, None, 5]
    kept.put("g", 6, 1)
    assert [kept.get(key) for key in "fg"] == [None, 6]
