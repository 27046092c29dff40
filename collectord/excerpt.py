"""Some rows of a batch as a batch of their own: for the few cases where a part of an entry goes another way than the rest."""

from __future__ import annotations

from array import array

from collectord._pb import collector_pb2 as pb
from collectord.batch import WIDTHS
from collectord.model import Buffer, IdLayout, Schema

_WORD = 8
_INT = 4


def excerpt(schema: Schema, payload: Buffer, start: int, stop: int) -> bytes:
    """Rows [start, stop) of a serialized `Batch`, serialized again; sequence and schema id stay.

    A request that is cut keeps its ids and time, and its rows keep their numbers. Raises ValueError if the batch has no such
    rows, or is not what passed `batch.check`.
    """
    batch = pb.Batch.FromString(bytes(payload))
    if not 0 <= start < stop <= batch.rows:
        raise ValueError(f"rows {start} to {stop} of a batch of {batch.rows}")
    rows = batch.rows
    _cut_requests(schema, batch.requests, rows, start, stop)
    if schema.tensor:
        width = len(batch.tensor) // rows
        batch.tensor = batch.tensor[start * width : stop * width]
    for column, data in zip(schema.columns, batch.columns, strict=not schema.tensor):
        if data.validity:
            data.validity = _cut_bits(data.validity, start, stop)
        width = WIDTHS[column.type]
        if width:
            data.data = data.data[start * width : stop * width]
        else:
            data.offsets, data.data = _cut_texts(data.offsets, data.data, start, stop)
    batch.rows = stop - start
    return batch.SerializeToString()


def _cut_requests(schema: Schema, requests: pb.Requests, rows: int, start: int, stop: int) -> None:
    """Keeps the requests that the rows [start, stop) belong to, the outer two cut."""
    number = len(requests.times) // _WORD
    counts = _unsigned(requests.row_counts) if requests.row_counts else array("I", [1]) * number
    firsts = _unsigned(requests.first_rows) if requests.first_rows else array("I", [0]) * number
    if sum(counts) != rows or len(firsts) != number:
        raise ValueError("the requests do not add up to the rows")
    begin = first = 0
    while begin + counts[first] <= start:
        begin += counts[first]
        first += 1
    end, last = begin, first
    while end < stop:
        end += counts[last]
        last += 1
    kept_counts, kept_firsts = counts[first:last], firsts[first:last]
    kept_firsts[0] += start - begin
    kept_counts[0] -= start - begin
    kept_counts[-1] -= end - stop
    requests.times = requests.times[first * _WORD : last * _WORD]
    requests.row_counts = kept_counts.tobytes() if requests.row_counts else b""
    requests.first_rows = kept_firsts.tobytes() if any(kept_firsts) or requests.first_rows else b""
    requests.sampling = requests.sampling[first * _WORD : last * _WORD]
    requests.correlation_ids, requests.correlation_offsets = _cut_ids(
        schema.correlation, requests.correlation_ids, requests.correlation_offsets, first, last
    )
    requests.request_ids, requests.request_offsets = _cut_ids(
        schema.request, requests.request_ids, requests.request_offsets, first, last
    )


def _cut_ids(layout: IdLayout, ids: bytes, offsets: bytes, first: int, last: int) -> tuple[bytes, bytes]:
    if layout is IdLayout.UUID:
        return ids[16 * first : 16 * last], b""
    if layout is IdLayout.TEXT:
        cut_offsets, cut = _cut_texts(offsets, ids, first, last)
        return cut, cut_offsets
    return b"", b""


def _cut_texts(offsets: bytes, data: bytes, start: int, stop: int) -> tuple[bytes, bytes]:
    ends = array("i")
    ends.frombytes(offsets[start * _INT : (stop + 1) * _INT])
    origin = ends[0]
    return array("i", [end - origin for end in ends]).tobytes(), data[origin : ends[-1]]


def _cut_bits(bits: bytes, start: int, stop: int) -> bytes:
    number = stop - start
    kept = (int.from_bytes(bits, "little") >> start) & ((1 << number) - 1)
    return kept.to_bytes((number + 7) // 8, "little")


def _unsigned(raw: bytes) -> array[int]:
    numbers = array("I")
    numbers.frombytes(raw)
    return numbers
