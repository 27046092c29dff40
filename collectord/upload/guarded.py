"""A store as whoever has to hold the spool's claim sees it.

Threads: as the store's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collectord.model import BlobInfo
from collectord.upload.claim import Claim
from collectord.upload.documents import DocumentStore, GetOutcome, PutOutcome
from collectord.upload.store import (
    AppendOutcome,
    ContainerOutcome,
    CreateOutcome,
    LengthOutcome,
    ReadOutcome,
    Unknown,
)


class Guarded:
    """A store that appends and creates only while a claim is held; what is sent later may meet another holder's."""

    def __init__(self, store: DocumentStore, claim: Claim) -> None:
        self._store = store
        self._claim = claim

    @property
    def lateness(self) -> float:
        return self._store.lateness

    @property
    def skew(self) -> float | None:
        return self._store.skew

    def append(self, blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        return self._refusal() or self._store.append(blob, data, position)

    def create(self, blob: str, content_type: str, metadata: Mapping[str, str]) -> CreateOutcome:
        return self._refusal() or self._store.create(blob, content_type, metadata)

    def create_container(self) -> ContainerOutcome:
        return self._refusal() or self._store.create_container()

    def length(self, blob: str) -> LengthOutcome:
        return self._store.length(blob)

    def read(self, blob: str, offset: int, length: int) -> ReadOutcome:
        return self._store.read(blob, offset, length)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        return self._store.list(prefix)

    def is_there(self) -> bool:
        return self._store.is_there()

    def get_document(self, name: str) -> GetOutcome:
        return self._store.get_document(name)

    def put_document(self, name: str, data: bytes, etag: str | None) -> PutOutcome:
        return self._refusal() or self._store.put_document(name, data, etag)

    def addresses(self, blob: str) -> dict[str, str]:
        return self._store.addresses(blob)

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> None:
        self._store.close()

    def _refusal(self) -> Unknown | None:
        return (
            None if self._claim.held else Unknown(self._claim.why or "the spool's claim has not been renewed in time")
        )
