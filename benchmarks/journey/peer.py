"""pyarrow, with the rows that have landed: what it alone needs to make text and zstd of the same."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import zstandard

from collectord.encode.frame_reader import iter_frames

OPTIONS = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
"""None of the rows needs quotes; with them, as pyarrow puts them by default, its text would be longer than ours."""


class Peer:
    """The rows of one frame of a store, the one with the most: six floats, a number, and the rest as texts, as it lies in memory
    for whoever has them. In one thread, with our compressor's settings, a frame as large as ours."""

    def __init__(self, store: Path) -> None:
        """Raises AssertionError if what pyarrow writes does not say the same as what has landed."""
        header, text = max(map(_largest, store.rglob("*.csv.zst")), key=lambda found: len(found[1]))
        names = header.decode().rstrip("\n").split(",")
        self._kinds = {name: pa.float64() if name[0] == "f" else pa.string() for name in names} | {
            "$aml_dc_row": pa.uint32()
        }
        self._table = self._read(text)
        self.rows = self._table.num_rows
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        assert self._read(self._text()) == self._table
        # Small floats, which it writes without an exponent, are all that differs from ours.
        assert abs(self._text().size - len(text)) < len(text) / 1000

    def seconds(self) -> float:
        """CPU per row."""
        began = time.process_time()
        self._compressor.compress(self._text())
        return (time.process_time() - began) / self.rows

    def _text(self) -> pa.Buffer:
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(self._table, sink, OPTIONS)
        return sink.getvalue()

    def _read(self, text: bytes | pa.Buffer) -> pa.Table:
        return pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(column_names=list(self._kinds), block_size=64 << 20),
            convert_options=pyarrow.csv.ConvertOptions(column_types=self._kinds, strings_can_be_null=False),
        )


def landed_rows(store: Path) -> int:
    """Rows of all blobs, counted in their texts."""
    found = 0
    for path in store.rglob("*.csv.zst"):
        found += sum(frame.text.count(b"\n") for frame in iter_frames("zstd", BytesIO(path.read_bytes()))) - 1
    return found


def _largest(path: Path) -> tuple[bytes, bytes]:
    """Header and longest text of a blob."""
    header, *texts = [frame.text for frame in iter_frames("zstd", BytesIO(path.read_bytes()))]
    return header, max(texts, key=len)
