"""Small documents in a store that many may change: read with a tag, written on condition that the tag still holds.

A document is a whole, at most `MAX_DOCUMENT` bytes; it lies under `_collectord/`. Unlike the append-only blobs of
`store.py` it is replaced, and readers see the old or the new one, never a mixture. The tag changes with the content at
least: a writer that writes what is there already may get the same tag.

Outcomes are values, as in `store.py`; after `Unknown` the document has to be read to know.

Threads: as the store's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from collectord.upload.store import BlobStore, Blocked, NoContainer, Unknown

MAX_DOCUMENT = 1 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """What was read."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Written:
    """The document is there, durably."""

    etag: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: it was changed, made or removed since its tag was read."""


GetOutcome = Document | None | Blocked | Unknown
PutOutcome = Written | Conflict | NoContainer | Blocked | Unknown


def too_large(name: str) -> Blocked:
    """The answer for a document that nobody of ours has written."""
    return Blocked("too_large", f"{name} has more than {MAX_DOCUMENT} bytes")


class DocumentStore(BlobStore, Protocol):
    """A blob store that keeps documents too."""

    def get_document(self, name: str) -> GetOutcome:
        """The document and its tag; None: it, or the container, is absent. May be repeated.

        `Blocked` as `too_large` where it has more than `MAX_DOCUMENT` bytes.
        """
        ...

    def put_document(self, name: str, data: bytes, etag: str | None) -> PutOutcome:
        """Replaces the document if it still has this tag; None: makes it if it is absent.

        Repeated after a lost answer it says `Conflict` if the first attempt was carried out: read it then.
        """
        ...
