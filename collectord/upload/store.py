"""What a blob store must do for the recipe of `appender.py` to be right.

A store keeps named sequences of bytes that only grow. The recipe rests on three duties:

* `append` is atomic, and takes place only while the blob is exactly `position` bytes long.
* `create` never touches a blob that exists.
* a blob never shrinks while it lives: once it is longer than P, no append at P can land any more, however late it
  arrives. (A person may delete or replace a blob; the recipe notices and counts that. So does an erasure, which leaves a
  note of what was there: `erased.py`.)

Outcomes are values, not exceptions: every caller matches all of them. `Unknown` is the honest answer whenever the
effect is in doubt. No outcome, exception or description holds a secret.

Threads: a store may be used from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from collectord.model import BlobInfo

MAX_APPEND = 4 * 1024 * 1024
"""Bytes of one append; what every version of the Azure service takes in one block."""

CONTROL_PREFIX = "_collectord/"
"""Everything that is not data lives under this prefix, beside the data, never among them."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The bytes are in the blob, durably."""

    end: int
    """Length of the blob right behind them."""
    blocks: int | None = None
    """How many appends the blob has seen, by whomever, where the store knows."""


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such blob; the container exists."""


@dataclass(frozen=True, slots=True)
class NoContainer:
    """There is no such container."""


@dataclass(frozen=True, slots=True)
class WrongPosition:
    """Nothing was appended by this call: a condition did not hold.

    Nearly always the length: somebody else, or an earlier attempt of ours, has appended. A lease answers the same.
    """

    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotAppendable:
    """This blob will never take another append: `block_limit`, `sealed` or `wrong_type`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing was done, and it will stay so until somebody changes something: permission, policy, name, disk."""

    reason: str
    """A short word from a bounded set, fit for a metric's label."""
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have happened, be about to happen, or not happen at all."""

    detail: str
    retry_after: float | None = None
    """Seconds to wait at least, where the store asked for it."""


@dataclass(frozen=True, slots=True)
class Created:
    """It was absent and is there now, empty."""


@dataclass(frozen=True, slots=True)
class AlreadyExists:
    """It was there already and was left alone."""


Failure = Blocked | Unknown
AppendOutcome = Appended | Absent | NoContainer | WrongPosition | NotAppendable | Blocked | Unknown
CreateOutcome = Created | AlreadyExists | NoContainer | Blocked | Unknown
ContainerOutcome = Created | AlreadyExists | Blocked | Unknown
LengthOutcome = int | None | Blocked | Unknown
ReadOutcome = bytes | None | Blocked | Unknown


class BlobStore(Protocol):
    """A container of append-only blobs. Names are relative, `/` separates levels."""

    @property
    def lateness(self) -> float:
        """Seconds after an `Unknown` for which the request may still be on its way, and take effect."""
        ...

    @property
    def skew(self) -> float | None:
        """Seconds that our clock was ahead of the store's at its last answer; None where it tells no time."""
        ...

    def append(self, blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        """Appends `data` (1 byte to `MAX_APPEND`) if the blob is exactly `position` bytes long.

        May be repeated with the same position: at most one of the attempts lands. `Absent` and `NoContainer` say that
        nothing was done. The store does not keep `data` after the call returns.
        """
        ...

    def create(self, blob: str, content_type: str, metadata: Mapping[str, str]) -> CreateOutcome:
        """Creates an empty blob unless it exists. May be repeated: the second answer is `AlreadyExists`."""
        ...

    def create_container(self) -> ContainerOutcome:
        """Creates the container unless it exists. May be repeated."""
        ...

    def length(self, blob: str) -> LengthOutcome:
        """Bytes of a blob; None: it, or the container, is absent. May be repeated."""
        ...

    def read(self, blob: str, offset: int, length: int) -> ReadOutcome:
        """At most `length` (up to `MAX_APPEND`) bytes from `offset`, fewer only where the blob ends, `b""` behind it.

        None: the blob, or the container, is absent. May be repeated.
        """
        ...

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """The blobs whose names begin with `prefix`, in any order; none if the container is absent.

        Raises `TryAgain` if the store did not answer, `CallHuman` if it refused.
        """
        ...

    def is_there(self) -> bool:
        """Whether there is such a container. Raises as `list` does."""
        ...

    def addresses(self, blob: str) -> dict[str, str]:
        """Where people find the blob: `https`, `wasbs`, `abfss` for Azure, `file` for a directory. No request is made."""
        ...

    def describe(self) -> str:
        """One line for logs and status, without secrets."""
        ...

    def close(self) -> None:
        """Lets go of connections. The store is not used afterwards."""
        ...
