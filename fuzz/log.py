"""A log whose files were changed: it always starts, says what is gone, and takes entries again.

An input is a list of edits of 10 bytes each: kind, file, offset and length (or value), applied to the segments of a log that
was closed in order. Where no edit puts a checksum right again, the rows are accounted for, too.
"""

from __future__ import annotations

import itertools
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import xxhash

from collectord.errors import FormatTooNew
from collectord.model import EntryKind, Lsn, Stored
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.framing import ENTRY_HEADER_BYTES, seed_of
from collectord.wal.reader import LogReader
from collectord.wal.recovery import Recovered, recover
from collectord.wal.segment import HEADER_ALIGNMENT, MAGIC, VERSION
from fuzz.target import Target
from tests.wal.spool import SPOOL_ID, Spool, batch, payload_of, schema

EDIT = struct.Struct("<BBIHH")
SEGMENT_BYTES = 16384
FIRST_BASE = 4096


def target() -> Target:
    return Target(Mutilation().one, list(seeds()), 10 * EDIT.size)


class Mutilation:
    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="log-"))
        self._trials = itertools.count()
        spool = Spool(self._folder / "whole", segment_bytes=SEGMENT_BYTES)
        number = 0
        for group in (1, 2, 3, 1, 4, 2, 1, 3, 2, 1):
            entries = []
            for _ in range(group):
                number += 1
                length = (0, 7, 900, 3000, 5500)[number % 5]
                entries.append([batch(number, payload_of(number, length), of=schema("ab"[number % 2]), rows=number)])
            assert spool.commit_all(entries) == [None] * group
        self._entries = {stored.lsn: stored for stored in LogReader(spool.writer.catalog, Lsn(0)).read(1000)}
        self._rows = sum(stored.rows for stored in self._entries.values())
        spool.writer.close()
        self._whole = {path.name: path.read_bytes() for path in spool.files()}
        assert len(self._whole) >= 3

    def one(self, data: bytes) -> None:
        trial = self._folder / f"t{next(self._trials)}"
        try:
            self._try(trial, data)
        finally:
            shutil.rmtree(trial, ignore_errors=True)

    def _try(self, trial: Path, data: bytes) -> None:
        files = {name: bytearray(content) for name, content in self._whole.items()}
        consistent = True
        for edit in EDIT.iter_unpack(data[: len(data) // EDIT.size * EDIT.size]):
            consistent &= apply(files, *edit)
        log = trial / "log"
        log.mkdir(parents=True)
        for name, content in files.items():
            (log / name).write_bytes(content)
        try:
            recovered = recover(log, SPOOL_ID)
        except FormatTooNew:
            assert any(of_a_later_version(content) for content in files.values())
            return
        readable = self._read(recovered, consistent)
        if consistent:
            self._accounted(recovered, readable, set(files))
        spool = Spool(trial, segment_bytes=SEGMENT_BYTES)
        added = batch(1 << 40, b"added", rows=1)
        try:
            assert spool.commit(added) is None
        finally:
            spool.writer.close()
        again = self._read(spool.recover(), consistent)
        if consistent:
            assert again[:-1] == readable
            assert again[-1].sequence == added.sequence

    def _read(self, recovered: Recovered, consistent: bool) -> list[Stored]:
        """Entries whose payloads can be read, each as it was written."""
        catalog = Catalog(recovered.segments, recovered.end)
        try:
            return self._checked(LogReader(catalog, Lsn(0)), consistent)
        finally:
            catalog.close()

    def _checked(self, reader: LogReader, consistent: bool) -> list[Stored]:
        readable = []
        for stored in reader.read(1 << 20):
            try:
                payload = bytes(reader.read_payload(stored))
            except DamagedEntry:
                assert not consistent, "recovery had found it good"
                continue
            readable.append(stored)
            if consistent and stored.sequence <= len(self._entries):
                assert stored == self._entries[stored.lsn]
                assert payload == payload_of(stored.sequence, stored.length)
        assert len({stored.lsn for stored in readable}) == len(readable)
        assert [stored.lsn for stored in readable] == sorted(stored.lsn for stored in readable)
        return readable

    def _accounted(self, recovered: Recovered, readable: list[Stored], names: set[str]) -> None:
        """Every row that was acknowledged is readable, damaged, behind the log's end, in a file that is gone, or counted."""
        left = {stored.lsn for stored in readable}
        aside = {found.path.name for found in recovered.set_aside} | (set(self._whole) - names)
        bases = sorted((int(Path(name).stem), name) for name in self._whole)
        silent = elsewhere = 0
        for lsn, stored in self._entries.items():
            file = next(name for base, name in reversed(bases) if base <= lsn)
            said = any(damage.from_lsn < stored.end and lsn < damage.to_lsn for damage in recovered.damages)
            if file in aside:
                elsewhere += stored.rows
            elif not (lsn in left or said or lsn >= recovered.end):
                silent += stored.rows
        counted = sum(recovered.counts.rows(key) for key in recovered.counts)
        kept = sum(stored.rows for stored in readable if stored.kind is EntryKind.BATCH)
        lost = sum(loss.rows for loss in recovered.losses)
        assert counted <= self._rows
        assert silent <= lost, f"{silent} rows are gone, {lost} are called lost"
        if based(recovered):
            told = kept + lost + elsewhere
            assert counted <= told, f"received {counted}, readable {kept}, lost {lost}, gone {elsewhere}"


def based(recovered: Recovered) -> bool:
    """Whether it can be known how much was received before the oldest segment.

    Its header says so; of the first segment of all, its first group does, too. Otherwise the log cannot tell rows that
    were lost there from rows that landed long ago; the daemon's ledger can.
    """
    lost = [d for d in recovered.damages if d.reason == "header" and d.segment == recovered.segments[0].base]
    return all(d.segment == FIRST_BASE and d.to_lsn == d.from_lsn + HEADER_ALIGNMENT for d in lost)


def apply(files: dict[str, bytearray], kind: int, which: int, offset: int, length: int, value: int) -> bool:
    """Makes one edit; False if it puts checksums right again, so that what is stored is a lie that looks true."""
    names = sorted(files)
    if not names:
        return True
    name = names[which % len(names)]
    content = files[name]
    at = offset % (len(content) + 1)
    size = length % 4097
    match kind % 10:
        case 0 if content:
            content[at % len(content)] ^= 1 << value % 8
        case 1 if content:
            content[at % len(content)] = value % 256
        case 2:
            content[at : at + size] = bytes(len(content[at : at + size]))
        case 3:
            del content[at:]
        case 4:
            del content[at : at + size]
        case 5:
            content[at:at] = value.to_bytes(2, "little") * (size // 2)
        case 6:
            del files[name]
        case 7:
            # A run of another segment, or of this one.
            other = files[names[value % len(names)]]
            start = value * 64 % (len(other) + 1)
            content[at : at + size] = other[start : start + size]
        case 8:
            return _forge_entry(content, offset, value)
        case 9:
            return _forge_header(content, offset, value)
    return True


def _forge_entry(content: bytearray, offset: int, value: int) -> bool:
    """Changes a field of an entry's header and the checksum with it."""
    marker = bytes(content[16:24])
    places = [at for at in range(4096, len(content) - ENTRY_HEADER_BYTES, 8) if content[at : at + 8] == marker]
    if not places or not any(marker):
        return True
    at = places[offset % len(places)]
    field = 16 + (offset >> 8) % 80
    content[at + field : at + min(field + 2, ENTRY_HEADER_BYTES)] = value.to_bytes(2, "little")[
        : ENTRY_HEADER_BYTES - field
    ]
    body = bytes(content[at + 16 : at + ENTRY_HEADER_BYTES])
    content[at + 8 : at + 16] = xxhash.xxh3_64_intdigest(body, seed_of(marker)).to_bytes(8, "little")
    return False


def _forge_header(content: bytearray, offset: int, value: int) -> bool:
    """Changes an id or a position in the segment's header and the checksum with it; what can be parsed stays so."""
    if len(content) < 4096 or content[:8] != MAGIC:
        return True
    field = 16 + offset % 63
    content[field : field + 2] = value.to_bytes(2, "little")
    text = bytes(content[96 : 96 + int.from_bytes(content[84:88], "little")])
    content[88:96] = xxhash.xxh3_64_intdigest(bytes(content[:88]) + text).to_bytes(8, "little")
    return False


def of_a_later_version(content: bytearray) -> bool:
    version, complement = (int.from_bytes(content[at : at + 4], "little") for at in (8, 12))
    return content[:8] == MAGIC and version > VERSION and version ^ 0xFFFFFFFF == complement


def seeds() -> Iterator[bytes]:
    """One edit of each kind, and pairs of them."""
    single = [EDIT.pack(kind, kind % 4, 4096 + 97 * kind, 200, 0x41 + kind) for kind in range(10)]
    yield from single
    for first, second in itertools.combinations(single, 2):
        yield first + second
