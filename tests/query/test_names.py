"""Which table a blob belongs to, and which hours it holds."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.model import Partition, Stream
from collectord.query.moments import microseconds_of
from collectord.query.names import Names, Spoken, identifier_of, table_of
from collectord.upload.naming import Layout

LAYOUTS = [
    "documented",
    "sdk-v1",
    "{model}/{designation}/{yyyy}/{mm}/{dd}/{webservice}={version}.csv",
    "{webservice}/{model}/{designation}/{yyyy}{mm}{dd}/data@{writer}.csv",
]
PARTS = st.text(max_size=8)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(
    parts=st.tuples(PARTS, PARTS, PARTS, PARTS),
    hour=st.sampled_from([1440, 60]),
    part=st.integers(0, 2),
    suffix=st.sampled_from(["", ".zst", ".gz"]),
)
def test_the_name_that_a_layout_makes_is_read_again(
    layout: str, parts: tuple[str, ...], hour: int, part: int, suffix: str
) -> None:
    """Whatever the stream is called; a cut name is read as far as it goes."""
    service, model, version, designation = parts
    stream = Stream("s", "g", "w", service, model, version, designation)
    made = Layout(layout, suffix=suffix, writer="ab", prefix="p")
    start = int(datetime(2026, 11, 21, 17, tzinfo=timezone.utc).timestamp())
    partition = Partition.of(b"", start * 1_000_000_000, hour)
    spoken = Names(layout, "p").read(made.blob(made.base(stream, partition), part))
    assert spoken is not None
    assert spoken.begin == partition.start_hour * 3_600_000_000
    assert spoken.end == spoken.begin + hour * 60_000_000
    if "{webservice}" in layout or layout == "documented":
        assert spoken.table == table_of(stream)


def test_a_slash_and_what_looks_like_an_escaped_one_are_two_tables() -> None:
    names = ["a/b", "a%2Fb", "a%252Fb", "a%25/b", "a%%2Fb", "100%", "100%25"]
    tables = [table_of(Stream("s", "g", "w", name, "m", "1", "inputs")) for name in names]
    assert len(set(tables)) == len(names)
    assert [table.removesuffix("/m/inputs") for table in tables[:2]] == ["a%2Fb", "a%252Fb"]
    assert tables[5] == "100%/m/inputs", "what needs no escape has none"


def test_collections_lines_for_azure_and_strangers() -> None:
    names = Names("documented")
    day = (microseconds_of("2026-11-21"), microseconds_of("2026-11-22"))
    assert names.read("s/g/w/svc/m/1/inputs/2026/11/21/data-more.csv.zst") == Spoken("svc/m/inputs/more", *day)
    hour = (microseconds_of("2026-11-21T05:00"), microseconds_of("2026-11-21T06:00"))
    found = names.read("modelDataCollector/svc/m/inputs/2026/11/21/05/abcd.jsonl")
    assert found is not None
    assert (found.table, found.begin, found.end) == ("svc/m/inputs", *hour)
    assert names.read("a/b/2026/11/21/rows.csv") == Spoken("a/b/rows", *day)
    assert names.read("rows.csv.gz") == Spoken("rows", None, None)
    assert names.read("picture.png") is None
    assert names.read("a/2026/13/77/rows.csv") == Spoken("a/rows", None, None)
    assert identifier_of("my-service/model/inputs") == "my_service_model_inputs"
    assert identifier_of("1/é") == "_1"
