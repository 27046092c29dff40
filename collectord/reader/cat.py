"""Decoded CSV of several blobs as one: the header once."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from collectord.encode.frame_reader import first_frame_text, iter_frames
from collectord.errors import NeverAgain
from collectord.model import BlobInfo
from collectord.reader.blobs import READ_BYTES, BlobFile, settled
from collectord.upload.naming import codec_of
from collectord.upload.store import BlobStore


class HeadersDiffer(NeverAgain):
    """Parts with other columns cannot be printed as one table."""


def header_of(store: BlobStore, blob: BlobInfo) -> bytes:
    """The header row of a blob, with its line end."""
    head = io.BufferedReader(BlobFile(store, blob), READ_BYTES).read(READ_BYTES)
    text = first_frame_text(codec_of(blob.name), head)
    if text is None:
        raise NeverAgain(f"{blob.name}: its first {len(head)} bytes do not hold a whole header")
    return text


def cat(store: BlobStore, blobs: Sequence[BlobInfo]) -> Iterator[bytes]:
    """The text of the blobs, frame by frame; memory is bounded by a frame.

    Raises:
        HeadersDiffer: before anything is yielded.
        NeverAgain: a frame is torn or corrupt.
    """
    blobs = [blob for blob in (settled(store, blob) for blob in blobs) if blob.size]
    headers = {header_of(store, blob): blob.name for blob in blobs}
    if len(headers) > 1:
        raise HeadersDiffer(f"these have different columns; print them one by one: {', '.join(headers.values())}")
    for number, blob in enumerate(blobs):
        skip = len(next(iter(headers))) if number else 0
        with io.BufferedReader(BlobFile(store, blob), READ_BYTES) as file:
            for frame in iter_frames(codec_of(blob.name), file):
                text = frame.text
                if skip:
                    skip, text = max(0, skip - len(text)), text[skip:]
                if text:
                    yield text
