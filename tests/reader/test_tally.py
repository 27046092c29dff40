"""What has landed against a daemon's books: per stream, under every layout, while rows go on landing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from collectord.model import Partition, Stream
from collectord.reader.tally import Tally, base_of, compare, start_of
from collectord.reader.verify import OUR_COLUMNS, BlobTotals
from collectord.upload.naming import Layout

WRITER = b"w" * 16
HOUR = 498_000  # some time in 2026


@dataclass
class Books:
    stream: str
    landed: int
    in_log: int = 0


def blob(name: str, rows: int, writer: bytes = WRITER, time: str = "2026-10-24T05:59:59.999999", boundary: int = 1440) -> BlobTotals:  # fmt: skip
    header = b'"a,\n",' + OUR_COLUMNS + b"\n"
    record = f'"{"x" * 200_000}\n",id,{time},{boundary},w,"s,s",m,1,r,0\n'.encode()
    return BlobTotals(name, 1, "zstd", 1, rows, {writer: rows}, header, record)


def books(**landed: int) -> dict[str, Books]:
    return {key: Books(key, rows) for key, rows in landed.items()}


def test_the_first_row_says_which_period_a_blob_covers() -> None:
    """Through quoted fields and line ends, and values longer than Python's csv module takes by itself."""
    day = 20_750 * 24
    assert start_of(blob("x", 1)) == Partition(b"", day, 1440)
    assert start_of(blob("x", 1, boundary=60)) == Partition(b"", day + 5, 60)
    assert start_of(blob("x", 1, time="yesterday")) is None
    assert start_of(BlobTotals("x", 1, "zstd")) is None


@pytest.mark.parametrize("layout", ["documented", "sdk-v1", "{writer}/{dd}-{mm}@{yyyy}/{designation}={model}/x.csv"])
@pytest.mark.parametrize("boundary", [60, 1440])
def test_rows_are_counted_per_stream_whatever_the_layout_codec_and_part(layout: str, boundary: int) -> None:
    names = Layout(layout, suffix="", writer=WRITER.hex(), prefix="pre")
    one, two = Stream(model="m.5", designation="inputs"), Stream(model="m.5", designation="outputs", collection="c")
    first = start_of(blob("x", 1, boundary=boundary))
    assert first is not None
    base, other = names.base(one, first), names.base(two, first)
    blobs = [
        blob(base + ".zst", 5, boundary=boundary), blob(Layout.blob(base, 12) + ".gz", 7, boundary=boundary),
        blob(other + ".gz", 3, boundary=boundary), blob(base, 100, b"o" * 16, boundary=boundary),
    ]  # fmt: skip
    landed = {one.key(): Books(one.key(), 12), two.key(): Books(two.key(), 3)}
    tallies, strangers = compare(blobs, WRITER, names, landed, landed)
    assert strangers == 0
    assert {tally.streams: tally.rows for tally in tallies} == {(one.key(),): 12, (two.key(),): 3}
    assert not any(tally.wrong for tally in tallies)


def test_streams_that_share_their_blobs_are_counted_together() -> None:
    """As `sdk-v1` folds the case of three parts."""
    names = Layout("sdk-v1", suffix="")
    one, two = Stream("S", designation="inputs"), Stream("s", designation="inputs")
    first = start_of(blob("x", 1))
    assert first is not None
    landed = {stream.key(): Books(stream.key(), 4) for stream in (one, two)}
    (tally,), _ = compare([blob(names.base(one, first) + ".zst", 8)], WRITER, names, landed, landed)
    assert tally.streams == (one.key(), two.key())
    assert (tally.rows, tally.before, tally.wrong) == (8, 8, "")


def test_with_another_layout_only_all_streams_together_are_compared() -> None:
    stream = Stream(model="m", designation="inputs")
    landed = {stream.key(): Books(stream.key(), 8)}
    (tally,), strangers = compare([blob("elsewhere.csv.zst", 8)], WRITER, Layout(suffix=""), landed, landed)
    assert strangers == 8
    assert (tally.rows, tally.wrong) == (8, "")


def test_what_was_refused_before_its_stream_was_known_is_compared_with_nothing() -> None:
    """Such rows are in the books without a name; of those that have one all is said as ever."""
    stream = Stream(model="m", designation="inputs")
    landed = {"": Books("", 0), stream.key(): Books(stream.key(), 8)}
    for name, lost in (("elsewhere.csv.zst", 8), ("elsewhere.csv.zst", 0)):
        tallies, strangers = compare([blob(name, lost)], WRITER, Layout(suffix=""), landed, landed)
        assert strangers == lost
        assert [(tally.streams, bool(tally.wrong)) for tally in tallies] == [((stream.key(),), not lost)]


@pytest.mark.parametrize(
    "tally, wrong",
    [
        (Tally(("s",), 5, 5, 5, 0), ""),
        (Tally(("s",), 7, 5, 8, 0), ""),
        (Tally(("s",), 6, 5, 5, 1), ""),
        (Tally(("s",), 4, 5, 5, 9), "the ledger says that 5 rows have landed, the store holds 4: 1 are missing"),
        (Tally(("s",), 7, 5, 5, 1), "the store holds 7 rows, 2 more than the ledger says have landed"),
    ],
)
def test_rows_that_landed_while_reading_or_wait_for_their_confirmation_are_not_wrong(tally: Tally, wrong: str) -> None:
    assert tally.wrong == wrong


@pytest.mark.parametrize("name", ["a.7/data.csv", "a.7/data.3.csv", "a.7/data.csv.zst", "a.7/data.12.csv.gz"])
def test_all_parts_have_the_name_of_the_first(name: str) -> None:
    assert base_of(name) == "a.7/data.csv"
