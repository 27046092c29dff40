"""What may not leave the process as it is: columns that are dropped, masked, or written as a keyed hash.

The text that is hashed is the value's in the CSV, before anything is quoted: so a daemon that does the same with the same
key writes the same hash.
"""

from __future__ import annotations

import logging
import os
import uuid
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from .block import STRING, Block, Part, Unread, all_read
from .cells import cells
from .context import Context
from .errors import CollectError
from .ids import NIL, Keys, parse_id, show_id, time_of
from .names import SYSTEM, resolve
from .notices import once

VARIABLE = "COLLECTORD_COLUMNS"
KEY_VARIABLE = "COLLECTORD_COLUMNS_KEY"
KEY_FILE_VARIABLE = "COLLECTORD_COLUMNS_KEY_FILE"

DROP, MASK, HMAC = "drop", "mask", "hmac"
MASKED = b"***"
CORRELATION, REQUEST = "$aml_dc_correlation_id", "$aml_request_id"
NO_REQUEST = str(uuid.UUID(bytes=NIL))
OF_IDS = {CORRELATION: (HMAC,), REQUEST: (HMAC, DROP)}
"""What may be done to ids: whatever else took away what joins the rows."""
OF_ERRORS = ("error_type", "error_message")
"""Columns that are there only once a request has failed."""

Plan = tuple[str, ...]
"""What is done with each column of a kind of data; "" is nothing."""
MAX_REMEMBERED = 64
"""Kinds of data of which it is known which columns are dropped."""


class Rules:
    """The rules of one client, by the name of the column."""

    def __init__(self, actions: Mapping[str, str], key: bytes) -> None:
        self._actions = {name: action for name, action in actions.items() if name not in OF_IDS}
        # RFC 2104 by hand: both halves of the key are hashed once, which makes each value more than twice as fast.
        block = (key if len(key) <= 64 else sha256(key).digest()).ljust(64, b"\0")
        self._inner, self._outer = (sha256(bytes([byte ^ pad for byte in block])) for pad in (0x36, 0x5C))
        self.unmatched = set(self._actions)
        """Names that no data has had so far."""
        self.correlation = actions.get(CORRELATION, "")
        self.request = actions.get(REQUEST, "")
        self.of_ids = bool(self.correlation or self.request)
        self._drops = DROP in self._actions.values()
        self._unread: dict[tuple[object, ...], frozenset[int]] = {}

    def plan(
        self,
        names: tuple[str, ...],
        own: tuple[str, ...] | None,
        order: tuple[int, ...] | None,
        rows: int,
        stream: object = None,
    ) -> Plan | None:
        """What is to be done with columns that will be called `names`; `own` is what the data calls its columns, of which those
        in `order` are left. None where nothing is. Tells of rules that never applied, if it is given a `stream` to name. Raises
        CollectError `no_columns`, for `rows` rows, where no column would be left.

        A rule is for the name that lands, for the data's own, and for repeated ones, which differ by a number at the end.
        """
        if own is None:
            own = names
        elif order is not None:
            own = tuple([own[at] for at in order])
        found = [self._of(*pair) for pair in zip(names, own, strict=True)]
        if stream is not None:
            for name in self.unmatched.difference(OF_ERRORS):
                message = "no column of %s is called %r: there the rule for it does nothing (said once)"
                once(logging.WARNING, f"rule {name} {id(self)}", message, stream, name)
        if all(action == DROP for action in found):
            raise CollectError("no_columns", "the column rules drop every column", rows)
        return tuple(found) if any(found) else None

    def unread(self, given: tuple[str, ...] | None) -> Unread:
        """What tells the columns that will not be left, where the feature names are `given`: what is in them need not be of a
        kind that can be collected."""
        return partial(self._dropped, given) if self._drops else all_read

    def _dropped(self, given: tuple[str, ...] | None, own: tuple[str, ...], positional: bool) -> frozenset[int]:
        key = (given, own, positional)
        found = self._unread.get(key)
        if found is None:
            names, _, order = resolve(given, own, len(own), positional)
            # How many rows there are the caller of `collect` counts.
            plan = self.plan(names, own, order, 0) or ("",) * len(names)
            at = range(len(names)) if order is None else order
            left = {one for one, action in zip(at, plan, strict=True) if action != DROP}
            if len(self._unread) >= MAX_REMEMBERED:
                self._unread.clear()
            found = self._unread[key] = frozenset(range(len(own))) - left
        return found

    def apply(self, block: Block, plan: Plan) -> Block:
        """The block as it may leave."""
        keep = tuple([at for at, action in enumerate(plan) if action != DROP])
        if len(keep) < len(plan):
            block = block.select(keep)
        actions = [plan[at] for at in keep]
        if not any(actions):
            return block
        parts = list(_parts(block))
        types = list(block.types)
        for at, action in enumerate(actions):
            if action:
                parts[at] = (
                    _masked(types[at], parts[at], block.rows) if action == MASK else self._hashed(types[at], parts[at])
                )
                types[at] = STRING
        return Block(None, tuple(types), block.rows, None, tuple(parts))

    def hashed(self, text: str) -> str:
        """HMAC-SHA256 in lower-case hex."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer.hexdigest()

    def disguise(self, context: Context, keys: Keys | None) -> tuple[Context, Keys | None]:
        """The ids of a call as they may leave."""
        request = None if context._request is None or self.request == DROP else self.request_id(context._request)
        if keys is not None:
            requests = None if keys.requests is None or self.request == DROP else _alike(keys.requests, self.request_id)
            keys = Keys(_alike(keys.ids, self.id), keys.times, requests, keys.numbers)
            request = request if requests is None else requests[0]
        return Context(self.id(context._id), context.time_ns, context.rows, request), keys

    def id(self, id: bytes | str) -> bytes | str:
        """A correlation id as it may leave: a UUIDv7 as it is, for it tells nothing but its time, and names rows of old."""
        if not self.correlation or _is_generated(id):
            return id
        return self.hashed(str(show_id(id)))

    def request_id(self, id: bytes | str) -> bytes | str:
        """A request id as it may leave; what stands for none stays."""
        text = str(show_id(id))
        if not self.request or text == NO_REQUEST:
            return id
        return NIL if self.request == DROP else self.hashed(text)

    def shown(self, told: dict[str, Any]) -> dict[str, Any]:
        """Columns beside the user's own, as they may be shown: each one value for all rows, or a list."""
        return told | {
            name: [str(show_id(change(parse_id(str(one))))) for one in value]
            if isinstance(value := told[name], list)
            else str(show_id(change(parse_id(str(value)))))
            for name, change in ((CORRELATION, self.id), (REQUEST, self.request_id))
        }

    def _of(self, name: str, own: str) -> str:
        for candidate in (name, own, _stem(name), _stem(own)):
            action = self._actions.get(candidate)
            if action is not None:
                self.unmatched.discard(candidate)
                return action
        return ""

    def _hashed(self, kind: int, part: Part) -> Part:
        shown = cells(kind, part)
        # The same value comes again and again in most columns.
        known = {cell: self.hashed(cell) for cell in set(shown) if cell is not None}
        mask = bytes([cell is not None for cell in shown]) if None in shown else None
        data = "".join([known[cell] for cell in shown if cell is not None]).encode()
        return Part(data, array("i", [0 if cell is None else 64 for cell in shown]), mask)


def outcome(
    plan: Plan, names: tuple[str, ...], types: tuple[int, ...], tensor: bool
) -> tuple[tuple[str, ...], tuple[int, ...], bool]:
    """The names and types of the columns that remain, and whether they are still one tensor."""
    left = [
        (name, STRING if action else kind, action)
        for name, kind, action in zip(names, types, plan, strict=True)
        if action != DROP
    ]
    return (
        tuple([name for name, _, _ in left]),
        tuple([kind for _, kind, _ in left]),
        tensor and not any(action for _, _, action in left),
    )


def _is_generated(id: bytes | str) -> bool:
    if isinstance(id, str):
        if len(id) != 36:
            return False
        found = parse_id(id)
        if isinstance(found, str):
            return False
        id = found
    return time_of(id) is not None


def _alike(ids: Sequence[bytes | str], change: Callable[[bytes | str], bytes | str]) -> tuple[bytes | str, ...]:
    """The ids changed, and still all of them bytes or all of them text."""
    known = {id: change(id) for id in set(ids)}
    if len(set(map(type, known.values()))) > 1:
        known = {id: str(show_id(made)) for id, made in known.items()}
    return tuple([known[id] for id in ids])


def _stem(name: str) -> str:
    stem, dot, number = name.rpartition(".")
    return stem if dot and number.isdecimal() else name


def _parts(block: Block) -> tuple[Part, ...]:
    """The columns of a block, each for itself."""
    if block.tensor is None:
        return block.parts
    columns = len(block.types)
    if columns == 1:
        return (Part(block.tensor),)
    return tuple([Part(block.select((at,)).tensor or b"") for at in range(columns)])


def _masked(kind: int, part: Part, rows: int) -> Part:
    if part.mask is None:
        return Part(MASKED * rows, array("i", [len(MASKED)]) * rows)
    there = sum(map(bool, part.mask))
    return Part(MASKED * there, array("i", [len(MASKED) if one else 0 for one in part.mask]), part.mask)


def read(given: Mapping[str, str] | None, key: bytes | str | None) -> Rules | None:
    """The rules given, else those of the environment; None where there are none. Raises ValueError."""
    name = "columns"
    if given is None:
        told = os.environ.get(VARIABLE, "").strip()
        if not told:
            return None
        name = VARIABLE
        given = _told(told)
    if not isinstance(given, Mapping):
        raise ValueError(
            f'{name} is a dictionary such as {{"ssn": "drop", "email": "mask"}}, not {type(given).__name__}'
        )
    for column, action in given.items():
        if not isinstance(column, str) or not column:
            raise ValueError(f"{name} has a rule for {column!r}: a column's name is a text that is not empty")
        if action not in (DROP, MASK, HMAC):
            raise ValueError(f'{name} says {action!r} of {column!r}: a rule is "drop", "mask" or "hmac"')
        if column in SYSTEM and action not in OF_IDS.get(column, ()):
            allowed = " or ".join(OF_IDS.get(column, ()))
            raise ValueError(
                f"{name} says {action!r} of {column!r}: "
                + (f"that can only be {allowed}" if allowed else "the daemon adds that column, no rule reaches it")
            )
    if not given:
        return None
    found = _key(key)
    if HMAC in given.values() and not found:
        raise ValueError(
            f"{name} asks for hmac and there is no key: pass columns_key, or set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}"
        )
    return Rules(given, found)


def _told(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        column, equals, action = (part.strip() for part in pair.rpartition("="))
        if not equals or not column or not action:
            raise ValueError(f"{VARIABLE} has {pair!r}, which is no rule such as ssn=drop")
        if any(f"={one}" in column for one in (DROP, MASK, HMAC)):
            # `ssn=drop;email=mask` would be one rule, for a column that never comes, and both of these would leave as they are.
            raise ValueError(f"{VARIABLE} has {pair!r}, which looks like several rules: commas stand between them")
        if column in found:
            raise ValueError(f"{VARIABLE} has two rules for {column!r}: leave one")
        found[column] = action
    return found


def _key(given: bytes | str | None) -> bytes:
    if given is not None:
        if not isinstance(given, (bytes, bytearray, str)):
            raise ValueError(f"columns_key is bytes, not {type(given).__name__}")
        return given.encode() if isinstance(given, str) else bytes(given)
    told = os.environ.get(KEY_VARIABLE, "")
    file = os.environ.get(KEY_FILE_VARIABLE, "")
    if told and file:
        raise ValueError(f"{KEY_VARIABLE} and {KEY_FILE_VARIABLE} are both set: leave one")
    if not file:
        return told.encode()
    try:
        # Editors and `echo` end a file with a line end that nobody means.
        return Path(file).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ValueError(f"{KEY_FILE_VARIABLE} names {file!r}, which cannot be read: {error.strerror}") from None
