"""What a call of `collect()` was told of its rows beside the data: whose they are, of when, and which of their request."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import process
from .context import Context, Refused, left_of
from .core import Timestamp, Told
from .errors import CollectError
from .ids import LAST_TIME, Keys, is_list, parse_id, parse_ids, show_id, time_of
from .values import nanoseconds

if TYPE_CHECKING:
    from .request import Request

# Assigned, not imported: CPython binds a method anew for each call where the name comes from an import.
_ids = process.ids
_now = time.time_ns


class Call:
    """The arguments of one call, and what became of them."""

    __slots__ = ("context", "correlation_id", "known", "request", "request_id", "row", "timestamp")

    def __init__(self, told: Told) -> None:
        self.correlation_id, self.request_id, self.context, self.timestamp, self.row, self.request = told
        self.known: Refused | None = None
        """Whose rows these are, before anybody has looked at them; stays if they are refused."""

    def identify(self, source: Context | None, offers: bool) -> Refused:
        """Finds that out: what was given, else what `source` says. Raises CollectError for what cannot be used."""
        given = self.correlation_id
        time_ns = (
            _nanoseconds(self.timestamp) if self.timestamp is not None and not is_list(self.timestamp)  # type: ignore[arg-type]
            else source.time_ns if source is not None
            else _now()
        )  # fmt: skip
        keys: Sequence[bytes | str] | None = None
        if given is None:
            keys = None if source is None else source._keys
            id = _ids.make(time_ns) if source is None else source._id
        elif is_list(given):
            keys = parse_ids(given)
            id = keys[0] if keys else _ids.make(time_ns)
        else:
            id = parse_id(given)
        self.known = Refused(id, time_ns, None, self._asked(source, offers), keys)
        return self.known

    def names_others(self, source: Context) -> bool:
        """Whether the ids that were given name inputs of another request than `source`. One that tells no time may be another
        name for the same."""
        given = self.correlation_id
        if given is None:
            return False
        try:
            named = parse_ids(given) if is_list(given) else (parse_id(given),)
        except CollectError:
            # `identify` will say so.
            return False
        theirs = {str(show_id(id)) for id in source._keys or (source._id,)}
        return any(time_of(id) is not None and str(show_id(id)) not in theirs for id in named)

    def ids(self, rows: int) -> tuple[bytes | str, Sequence[bytes | str] | None]:
        """The id of the request, or one per row."""
        assert self.known is not None
        keys = self.known._keys
        if keys is None or len(keys) == rows:
            return self.known._id, keys
        if self.correlation_id is not None:
            raise CollectError("bad_id", f"{len(keys)} correlation ids for {rows} rows", rows)
        # Those of the inputs, of which there were more or fewer.
        return _ids.make(self.known.time_ns), None

    def keys(
        self, id: bytes | str, ids: Sequence[bytes | str] | None, rows: int, later: bool
    ) -> tuple[int, Keys | None, bool]:
        """The time of the first row; what each row has of its own, if anything; and whether nobody knows the day. `later` is
        what may belong to inputs that were collected elsewhere, or before: then their id tells it."""
        assert self.known is not None
        time_ns, undated = self.known.time_ns, False
        times: Sequence[int] | None = None
        if is_list(self.timestamp):
            times = [_nanoseconds(one) for one in _listed(self.timestamp, rows)]
        named = self.correlation_id is not None
        if self.timestamp is None and later and (named or self.request_id is not None):
            told = [time_of(one) for one in (ids or (id,))] if named else [None]
            undated = None in told
            if ids is not None:
                times = [time_ns if one is None else one for one in told]
            elif told[0] is not None:
                time_ns = told[0]
        requests = parse_ids(_listed(self.request_id, rows)) if is_list(self.request_id) else None
        numbers = _numbers(self.row, rows) if self.row is not None else None
        if ids is None and times is None and requests is None and numbers is None:
            return time_ns, None, undated
        return time_ns if times is None else times[0], Keys(ids or (id,) * rows, times, requests, numbers), undated

    def _asked(self, source: Context | None, offers: bool) -> bytes | str | None:
        """The request's id; with one per row, None."""
        if self.request_id is not None:
            return None if is_list(self.request_id) else parse_id(self.request_id)
        if source is not None:
            return source._request
        # A label that names its inputs comes with a request of its own, which is not theirs.
        named = self.correlation_id is not None
        return self.request.id if self.request is not None and (offers or not named) else None


def refusal(context: Context | None, rows: int | None, request: Request | None) -> Refused:
    """The context of rows that were not taken, `rows` of them as far as is known, under the ids they would have had."""
    if isinstance(context, Context):
        return Refused(context._id, context.time_ns, rows, context._request, context._keys, left_of(context))
    now = _now()
    return Refused(_ids.make(now), now, rows, None if request is None else request.id)


def _nanoseconds(value: Timestamp) -> int:
    if isinstance(value, datetime.datetime):
        # pandas' missing time is an instance of datetime, and is not equal to itself.
        value = nanoseconds(value) if value == value else -1
    elif isinstance(value, float) or not hasattr(value, "__index__"):
        raise CollectError("bad_timestamp", "a timestamp is a datetime or whole nanoseconds since 1970")
    value = value.__index__()
    if not 0 <= value <= LAST_TIME:
        raise CollectError("bad_timestamp", "the timestamp lies outside 1970 to 2262")
    return value


def _listed(given: Any, rows: int) -> list[Any]:
    """One for each row, as a list."""
    for method in ("to_pylist", "to_list"):
        if hasattr(given, method):
            given = getattr(given, method)()
            break
    # numpy's own times would become plain numbers of whatever unit they have.
    if getattr(getattr(given, "dtype", None), "kind", "") == "M":
        given = given.astype("M8[ns]").view("i8")
    listed = given.tolist() if hasattr(given, "tolist") else list(given)
    if len(listed) != rows:
        raise CollectError("bad_id", f"{len(listed)} times, ids or indices for {rows} rows", rows)
    return listed


def _numbers(given: Any, rows: int) -> list[int]:
    numbers = _listed(given, rows)
    if not all(type(number) is int and 0 <= number < 1 << 32 for number in numbers):
        raise CollectError("bad_id", "a row's index is a whole number from 0 to 2**32 - 1", rows)
    return numbers
