"""A blob store in memory that passes the same contract suite as the real ones, and fails as it is told."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

from collectord.model import BlobInfo
from collectord.upload.documents import Conflict, Document, GetOutcome, PutOutcome, Written
from collectord.upload.rewriting import (
    BlobState,
    LockOutcome,
    PutClosedOutcome,
    Removed,
    RemoveOutcome,
    Sealed,
    SealOutcome,
    StateOutcome,
)
from collectord.upload.store import (
    MAX_APPEND,
    Absent,
    AlreadyExists,
    Appended,
    AppendOutcome,
    ContainerOutcome,
    Created,
    CreateOutcome,
    LengthOutcome,
    NoContainer,
    NotAppendable,
    ReadOutcome,
    Unknown,
    WrongPosition,
)

Outcome = TypeVar("Outcome")


@dataclass(slots=True)
class StoredBlob:
    """A blob of the fake, open to tests."""

    content: bytearray = field(default_factory=bytearray)
    blocks: int = 0
    appendable: bool = True
    sealed: bool = False
    leased: bool = False
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to happen instead of the next operation of its kind. `answer`: an outcome, or an exception to be raised."""

    answer: Any
    when: str = "instead"
    """`instead`: nothing is done; `after`: it is done, then answered so; `later`: it is done when `release` is called."""


class _Held:
    """A lock of the fake, as long as it stands among `locks`."""

    def __init__(self, locks: set[str], name: str) -> None:
        self._locks, self._name = locks, name

    @property
    def held(self) -> bool:
        return self._name in self._locks

    def release(self) -> None:
        self._locks.discard(self._name)


class MemoryStore:
    """See `BlobStore`. `plan` says what fails next; `requests` records what was asked, `fired` counts the faults."""

    def __init__(self, *, container: bool = True, block_limit: int = 50_000) -> None:
        self.container = container
        self.block_limit = block_limit
        self.lateness = 0.0
        self.skew: float | None = None
        self.blobs: dict[str, StoredBlob] = {}
        self.locks: set[str] = set()
        self.requests: list[tuple[str, str, int]] = []
        self.fired = 0
        self._puts = 0
        self._plans: dict[str, deque[Fault | None]] = defaultdict(deque)
        self._held: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    def plan(self, operation: str, *faults: Fault | None) -> None:
        """The next requests of an operation (`append`, `create`, `length`, …) fail like this; None: one goes well."""
        self._plans[operation].extend(faults)

    def heal(self) -> None:
        """From here on all goes well; what is held back stays so."""
        self._plans.clear()

    def release(self) -> int:
        """Lets everything arrive that was held back. Returns how many requests that were."""
        with self._lock:
            held, self._held = self._held, []
            for request in held:
                request()
        return len(held)

    def append(self, blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        if not 0 < len(data) <= MAX_APPEND:
            raise ValueError(f"an append has 1 to {MAX_APPEND} bytes, not {len(data)}")
        return self._do("append", blob, position, lambda: self._append(blob, bytes(data), position))

    def create(self, blob: str, content_type: str, metadata: Mapping[str, str]) -> CreateOutcome:
        return self._do("create", blob, 0, lambda: self._create(blob, content_type, metadata))

    def create_container(self) -> ContainerOutcome:
        return self._do("create_container", "", 0, self._create_container)

    def length(self, blob: str) -> LengthOutcome:
        return self._do("length", blob, 0, lambda: self._length(blob))

    def read(self, blob: str, offset: int, length: int) -> ReadOutcome:
        return self._do("read", blob, offset, lambda: self._read(blob, offset, length))

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        with self._lock:
            found = [
                BlobInfo(name, len(blob.content), dict(blob.metadata))
                for name, blob in sorted(self.blobs.items())
                if name.startswith(prefix)
            ]
        yield from found

    def is_there(self) -> bool:
        return self.container

    def get_document(self, name: str) -> GetOutcome:
        return self._do("get_document", name, 0, lambda: self._get_document(name))

    def put_document(self, name: str, data: bytes, etag: str | None) -> PutOutcome:
        return self._do("put_document", name, 0, lambda: self._put_document(name, data, etag))

    def state(self, blob: str) -> StateOutcome:
        def action() -> StateOutcome:
            found = self.blobs.get(blob)
            if found is None:
                return None
            return BlobState(len(found.content), self._tag(found), found.appendable and not found.sealed)

        return self._do("state", blob, 0, action)

    def seal(self, blob: str, etag: str) -> SealOutcome:
        def action() -> SealOutcome:
            found = self.blobs.get(blob)
            if found is None or not found.appendable or self._tag(found) != etag:
                return Conflict()
            found.sealed = True
            return Sealed()

        return self._do("seal", blob, 0, action)

    def put_closed(self, blob: str, content: BinaryIO, size: int, content_type: str) -> PutClosedOutcome:
        def action() -> PutClosedOutcome:
            if not self.container:
                return NoContainer()
            if blob in self.blobs:
                return AlreadyExists()
            self._puts += 1
            self.blobs[blob] = StoredBlob(
                bytearray(data), appendable=False, content_type=content_type, etag=f"tag {self._puts}"
            )
            return Created()

        data = content.read(size)
        return self._do("put_closed", blob, 0, action)

    def remove(self, blob: str, etag: str) -> RemoveOutcome:
        def action() -> RemoveOutcome:
            found = self.blobs.get(blob)
            if found is not None and self._tag(found) != etag:
                return Conflict()
            self.blobs.pop(blob, None)
            return Removed()

        return self._do("remove", blob, 0, action)

    def lock(self, name: str) -> LockOutcome:
        def action() -> LockOutcome:
            if name in self.locks:
                return None
            self.locks.add(name)
            return _Held(self.locks, name)

        return self._do("lock", name, 0, action)

    @staticmethod
    def _tag(blob: StoredBlob) -> str:
        return blob.etag or f"{id(blob)}-{len(blob.content)}"

    def addresses(self, blob: str) -> dict[str, str]:
        return {"memory": f"memory:{blob}"}

    def describe(self) -> str:
        return "memory"

    def close(self) -> None:
        """Nothing to let go of."""

    def _do(self, operation: str, blob: str, at: int, action: Callable[[], Outcome]) -> Outcome:
        with self._lock:
            self.requests.append((operation, blob, at))
            plan = self._plans[operation]
            fault = plan.popleft() if plan else None
            if fault is None:
                return action()
            self.fired += 1
            if fault.when == "after":
                action()
            elif fault.when == "later":
                self._held.append(action)
            if isinstance(fault.answer, BaseException):
                raise fault.answer
            answer: Outcome = fault.answer
            return answer

    def _append(self, blob: str, data: bytes, position: int) -> AppendOutcome:
        if not self.container:
            return NoContainer()
        if (found := self.blobs.get(blob)) is None:
            return Absent()
        if not found.appendable:
            return NotAppendable("wrong_type")
        if found.leased:
            return WrongPosition("leased")
        if found.sealed:
            return NotAppendable("sealed")
        if position != len(found.content):
            return WrongPosition(f"{len(found.content)} bytes, not {position}")
        if found.blocks >= self.block_limit:
            return NotAppendable("block_limit")
        found.content += data
        found.blocks += 1
        return Appended(len(found.content), found.blocks)

    def _create(self, blob: str, content_type: str, metadata: Mapping[str, str]) -> CreateOutcome:
        if not self.container:
            return NoContainer()
        if blob in self.blobs:
            return AlreadyExists()
        self.blobs[blob] = StoredBlob(content_type=content_type, metadata=dict(metadata))
        return Created()

    def _get_document(self, name: str) -> GetOutcome:
        found = self.blobs.get(name)
        return None if found is None else Document(bytes(found.content), found.etag)

    def _put_document(self, name: str, data: bytes, etag: str | None) -> PutOutcome:
        if not self.container:
            return NoContainer()
        found = self.blobs.get(name)
        if (found.etag if found else None) != etag:
            return Conflict()
        self._puts += 1
        self.blobs[name] = StoredBlob(bytearray(data), appendable=False, etag=f"tag {self._puts}")
        return Written(f"tag {self._puts}")

    def _create_container(self) -> ContainerOutcome:
        if self.container:
            return AlreadyExists()
        self.container = True
        return Created()

    def _length(self, blob: str) -> LengthOutcome:
        found = self.blobs.get(blob)
        return None if found is None else len(found.content)

    def _read(self, blob: str, offset: int, length: int) -> ReadOutcome:
        found = self.blobs.get(blob)
        return None if found is None else bytes(found.content[offset : offset + length])


LOST = Fault(Unknown("the answer was lost"), "after")
UNSENT = Fault(Unknown("the connection was refused"))
LATE = Fault(Unknown("no answer in time"), "later")
