"""What a store must do so that a blob can be replaced by another one: only erasing (`reader/erase.py`) asks for it.

A blob is sealed, so that nobody appends to it any more; what is kept of it is written under a free name, as a blob that was
never open to appends; then the old one is removed. All of it is conditional: on the tag of what was seen, or on the name
being free. Outcomes are values, as in `store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol

from collectord.upload.documents import Conflict, DocumentStore
from collectord.upload.store import AlreadyExists, Blocked, Created, NoContainer, Unknown

LOCK = "_collectord/erasures/lock"
"""Who holds it erases; nobody else does meanwhile."""


@dataclass(frozen=True, slots=True)
class BlobState:
    """A blob as it is."""

    length: int
    etag: str
    """Changes with the content at least."""
    appendable: bool
    """Whether it may take another append."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """It takes no append any more, now and for ever."""


@dataclass(frozen=True, slots=True)
class Removed:
    """It is not there any more."""


StateOutcome = BlobState | None | Blocked | Unknown
SealOutcome = Sealed | Conflict | Blocked | Unknown
PutClosedOutcome = Created | AlreadyExists | NoContainer | Blocked | Unknown
RemoveOutcome = Removed | Conflict | Blocked | Unknown


class Lock(Protocol):
    """A lock that a program has until it releases it or ends."""

    @property
    def held(self) -> bool:
        """Whether nobody else can have it at this moment."""
        ...

    def release(self) -> None:
        """May be repeated."""
        ...


LockOutcome = Lock | None | Blocked | Unknown


class RewritableStore(DocumentStore, Protocol):
    """A store whose blobs can be sealed, replaced and removed."""

    def state(self, blob: str) -> StateOutcome:
        """Length, tag and whether it may be appended to. None: it, or the container, is absent. May be repeated."""
        ...

    def seal(self, blob: str, etag: str) -> SealOutcome:
        """Closes an appendable blob for ever, if it still has this tag. May be repeated; an appender is told `sealed`."""
        ...

    def put_closed(self, blob: str, content: BinaryIO, size: int, content_type: str) -> PutClosedOutcome:
        """Makes a whole blob at once, unless the name is taken. It never takes an append."""
        ...

    def remove(self, blob: str, etag: str) -> RemoveOutcome:
        """Removes a blob if it still has this tag; one that is absent is `Removed`. May be repeated."""
        ...

    def lock(self, name: str) -> LockOutcome:
        """Takes the lock of this name, at once or not. None: somebody else has it."""
        ...
