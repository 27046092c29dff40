"""An entry is found wherever it is at the moment, also while it is being moved."""

from __future__ import annotations

from typing import Any

import pytest

from collectord.model import Lsn, Place
from collectord.pipeline.known import Known
from collectord.pipeline.sources import Sources
from collectord.upload.naming import Layout
from collectord.wal.damage import DamagedEntry
from tests.pipeline.node import schema

PLACE = Place(Lsn(8), 3)
SCHEMA = schema()


class Log:
    """Has nothing any more, and says so; at that moment the entry is parked."""

    def __init__(self, parked: Parked, parks: bool) -> None:
        self.parked, self.parks = parked, parks

    def read_payload(self, place: Place) -> memoryview:
        self.parked.there = self.parks
        raise DamagedEntry("the segment is gone")

    def schema(self, schema_id: bytes) -> bytes:
        return b"of the log"


class Parked:
    there = False

    def holds(self, lsn: Lsn) -> bool:
        return self.there

    def read_payload(self, place: Place) -> memoryview:
        return memoryview(b"abc")

    def schema(self, schema_id: bytes) -> bytes | None:
        return b"parked" if schema_id == b"p" else None


def sources(parks: bool) -> Sources:
    parked: Any = Parked()
    log: Any = Log(parked, parks)
    return Sources(log, parked)


def test_an_entry_that_is_parked_while_it_is_looked_for_is_found() -> None:
    """Its segment may be retired between the two looks; that is no damage."""
    assert bytes(sources(parks=True).read_payload(PLACE)) == b"abc"


def test_an_entry_that_is_nowhere_is_damage() -> None:
    with pytest.raises(DamagedEntry, match="gone"):
        sources(parks=False).read_payload(PLACE)


def test_a_schema_may_be_declared_in_either() -> None:
    assert sources(parks=False).schema(b"p") == b"parked"
    assert sources(parks=False).schema(b"l") == b"of the log"


def test_a_schema_that_is_not_the_one_of_its_id_is_damage() -> None:
    """Its rows would land under the header of another one."""
    for raw in (SCHEMA.raw, schema(columns=("x", "z")).raw):
        known = Known(
            {SCHEMA.id: raw}.__getitem__,
            Layout(suffix=".zst", writer="0" * 32),
            lowercase_workspace=False,
            max_streams=9,
        )
        assert known.knows(SCHEMA.id) == (raw == SCHEMA.raw)
