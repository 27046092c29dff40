"""Ids: 16 raw bytes of a UUIDv7 (RFC 9562, section 5.7), which the core makes, and the ids that users bring.

A generated id carries its row's scoring time in milliseconds, so that a late label finds its day from the id alone.
"""

from __future__ import annotations

import operator
import uuid
from collections.abc import Sequence
from itertools import compress
from typing import Any

from .errors import CollectError

MAX_TEXT_ID = 1024
NIL = bytes(16)
"""Stands in the column of request ids where there is none."""
LAST_TIME = (1 << 63) - 1


def parse_id(value: object) -> bytes | str:
    """An id as the wire has it: 16 bytes where it is a uuid in canonical text or an object of it, else its text.

    Raises CollectError `bad_id` for anything that is not 1 to 1024 bytes of UTF-8 without NUL.
    """
    if isinstance(value, uuid.UUID):
        return value.bytes
    if not isinstance(value, str):
        # Keys are often whole numbers, such as a loan's.
        try:
            # Of arrays too, which have the method and mostly refuse.
            value = str(operator.index(value if type(value) is not bool else None))  # type: ignore[arg-type]
        except TypeError:
            raise CollectError("bad_id", f"an id is a str, an int or a UUID, not {type(value).__name__}") from None
    if len(value) == 36 and value[8] == value[13] == value[18] == value[23] == "-":
        try:
            raw = uuid.UUID(value)
        except ValueError:
            pass
        else:
            # Only the canonical form reads back as the same text.
            if str(raw) == value:
                return raw.bytes
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise CollectError("bad_id", "an id is not valid Unicode") from None
    if not 1 <= size <= MAX_TEXT_ID or "\0" in value:
        raise CollectError("bad_id", f"an id is 1 to {MAX_TEXT_ID} bytes of UTF-8 without NUL, this has {size}")
    return value


def is_list(value: object) -> bool:
    """True for what may hold one id per row: a sequence, an array, a series. Not for texts, bytes, mappings and sets."""
    if isinstance(value, (list, tuple)):
        return True
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return False
    return (
        isinstance(value, Sequence)
        or any(hasattr(value, name) for name in ("to_pylist", "to_list"))
        or (hasattr(value, "tolist") and getattr(value, "ndim", 1) > 0)
    )


def parse_ids(given: Any) -> tuple[bytes | str, ...]:
    """One id per row, all of them 16 bytes or all of them text. Raises CollectError `bad_id`."""
    for method in ("tolist", "to_pylist", "to_list"):
        if hasattr(given, method):
            given = getattr(given, method)()
            break
    kinds = set(map(type, given))
    if kinds == {int}:
        return tuple(map(str, given))
    if kinds == {uuid.UUID}:
        return tuple([key.bytes for key in given])
    if kinds == {str}:
        lengths = set(map(len, given))
        # Uuids only if all are; a canonical one among other texts is that text.
        if lengths != {36}:
            joined = "".join(given)
            if min(lengths) >= 1 and max(lengths) <= MAX_TEXT_ID // 4 and "\0" not in joined and _encodes(joined):
                return tuple(given)
    keys = tuple([parse_id(key) for key in given])
    if any(isinstance(key, str) for key in keys):
        keys = tuple([key if isinstance(key, str) else str(uuid.UUID(bytes=key)) for key in keys])
    return keys


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def show_id(value: bytes | str) -> uuid.UUID | str:
    """The id as users see it."""
    return uuid.UUID(bytes=value) if isinstance(value, bytes) else value


def time_of(id: bytes | str) -> int | None:
    """The time that a UUIDv7 tells, in nanoseconds since 1970 and to the millisecond, also where it ends a text behind a
    hyphen. None for any other id.
    """
    if isinstance(id, str):
        # Among texts of other kinds in one call, a uuid is a text too.
        found = parse_id(id[-36:]) if len(id) == 36 or id[-37:-36] == "-" else id
        if isinstance(found, str):
            return None
        id = found
    if id[6] >> 4 != 7 or id[8] >> 6 != 2:
        return None
    time_ns = int.from_bytes(id[:6], "big") * 1_000_000
    return time_ns if time_ns <= LAST_TIME else None


class Keys:
    """What each row of a call has of its own: its correlation id, and where they are not the call's, its time, its
    request's id and its index there."""

    __slots__ = ("ids", "numbers", "requests", "times")

    def __init__(
        self,
        ids: Sequence[bytes | str],
        times: Sequence[int] | None = None,
        requests: Sequence[bytes | str] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.ids = ids
        self.times = times
        self.requests = requests
        self.numbers = numbers

    def take(self, taken: Sequence[bool]) -> Keys:
        """Those of the rows that are `taken`, which keep their indices."""
        numbers = range(len(self.ids)) if self.numbers is None else self.numbers
        return Keys(
            *[
                None if of is None else list(compress(of, taken))
                for of in (self.ids, self.times, self.requests, numbers)
            ]  # type: ignore[arg-type]
        )

    def between(self, at: int, end: int) -> Keys:
        """Those of the rows from `at` to `end`."""
        return Keys(*[None if of is None else of[at:end] for of in (self.ids, self.times, self.requests, self.numbers)])  # type: ignore[arg-type]
