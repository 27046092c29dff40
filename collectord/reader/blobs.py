"""Blobs of a store as sorted listings and as files."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from dataclasses import replace

from collectord.encode.frame import TELEMETRY
from collectord.errors import CallHuman, TryAgain
from collectord.model import BlobInfo
from collectord.upload.naming import TELEMETRY_PREFIX, codec_of, is_telemetry
from collectord.upload.store import CONTROL_PREFIX, BlobStore, Blocked, Unknown

READ_BYTES = 4 << 20

_PART = re.compile(r"^(?P<stem>.*?)(?:\.(?P<part>\d+))?(?P<suffix>\.csv(?:\.\w+)?|\.jsonl)$")


class Archived(CallHuman):
    """One blob that can be listed and not be read, until somebody has brought it back from the archive tier; what an erasure
    has left is a block blob, which accounts may have moved there. All others can be read."""

    def __init__(self, blob: str, why: str) -> None:
        super().__init__(f"{blob}: {why}")
        self.why = why


def data_blobs(store: BlobStore, prefix: str = "") -> list[BlobInfo]:
    """The rows under a prefix, parts of a day in their order; no telemetry events.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused.
    """
    return [blob for blob in landed_blobs(store, prefix) if codec_of(blob.name) != TELEMETRY]


def landed_blobs(store: BlobStore, prefix: str = "") -> list[BlobInfo]:
    """The same with telemetry events among them. Raises as `data_blobs` does."""
    # A store's own prefix may stand before it; no part of a stream's name can be spelled like it.
    blobs = [
        blob
        for blob in store.list(prefix)
        if f"/{CONTROL_PREFIX}" not in f"/{blob.name}" or codec_of(blob.name) == TELEMETRY
    ]
    return sorted(blobs, key=lambda blob: _order(blob.name))


def blobs_of(store: BlobStore, prefix: str = "", telemetry: bool = False) -> list[BlobInfo]:
    """What a person means by a prefix: rows; events where it leads to them, or where they are asked for (`telemetry`), then
    below their folder if there is no prefix. Raises as `data_blobs` does."""
    if not telemetry and not is_telemetry(prefix):
        return data_blobs(store, prefix)
    return [blob for blob in landed_blobs(store, prefix or TELEMETRY_PREFIX) if codec_of(blob.name) == TELEMETRY]


def _order(name: str) -> tuple[str, int]:
    match = _PART.match(name)
    return (match["stem"], int(match["part"] or 0)) if match else (name, 0)


def split_part(name: str) -> tuple[str, int, str]:
    """What stands before a part's number, the number (0 for the first), and what stands behind it. A blob that is no part of
    a day has all of its name before it."""
    match = _PART.match(name)
    return (match["stem"], int(match["part"] or 0), match["suffix"]) if match else (name, 0, "")


def select(blobs: Iterable[BlobInfo], name: str) -> list[BlobInfo]:
    """What a person means by `name`: a blob, the folder it names, or all that begins with it."""
    listed = list(blobs)
    exact = [blob for blob in listed if blob.name == name]
    return exact or [blob for blob in listed if blob.name.startswith(name)]


def settled(store: BlobStore, blob: BlobInfo) -> BlobInfo:
    """The blob with the length that the store vouches for: a directory's listing may show an append half written.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused, or the blob is gone.
    """
    length = store.length(blob.name)
    if isinstance(length, Unknown):
        raise TryAgain(f"{blob.name}: {length.detail}")
    if length is None or isinstance(length, Blocked):
        raise CallHuman(f"{blob.name}: {length.detail if length else 'it is gone'}")
    return replace(blob, size=length)


class BlobFile(io.RawIOBase):
    """A blob, as long as it was when it was opened, as a file to be read from any place. One thread."""

    def __init__(self, store: BlobStore, blob: BlobInfo) -> None:
        self._store = store
        self._blob = blob
        self._at = 0
        self.bytes_read = 0
        """What the store has given so far."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Goes to a place without asking the store. Raises ValueError before the beginning."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blob.size}[whence]
        if at < 0:
            raise ValueError(f"byte {at} of a blob")
        self._at = at
        return at

    def readinto(self, buffer: object) -> int:
        """Reads the next bytes. Raises TryAgain or CallHuman (`Archived`) if the store does not give them."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        size = min(len(view), self._blob.size - self._at, READ_BYTES)
        if size <= 0:
            return 0
        got = self._store.read(self._blob.name, self._at, size)
        if isinstance(got, Unknown):
            raise TryAgain(f"{self._blob.name}: {got.detail}")
        if isinstance(got, Blocked) and got.reason == "immutable":
            # No policy keeps anybody from reading.
            raise Archived(self._blob.name, f"{got.detail}: it has to be rehydrated before it can be read")
        if got is None or isinstance(got, Blocked):
            raise CallHuman(f"{self._blob.name}: {got.detail if got else 'it is gone'}")
        if not got:
            raise CallHuman(f"{self._blob.name}: it ends at byte {self._at}; it was {self._blob.size} bytes long")
        view[: len(got)] = got
        self._at += len(got)
        self.bytes_read += len(got)
        return len(got)
