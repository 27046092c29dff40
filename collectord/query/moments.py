"""Points in time as people write them, in microseconds since 1970. Without a zone they are UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from collectord.query.tokens import UNITS

_EPOCH = datetime(1970, 1, 1)
_DATETIME = re.compile(
    r"(\d{4})-(\d{1,2})(?:-(\d{1,2})(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d{2}:?\d{2})?)?)?"
)
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


def microseconds_of(text: str) -> int | None:
    """A point in time as people write it (UTC unless it says otherwise), since 1970; None: it is none."""
    match = _DATETIME.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
        if zone and zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            moment -= offset if zone[0] == "+" else -offset
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1) + int((fraction or "0").ljust(6, "0")[:6])


def moment_of(text: str) -> int | None:
    """A point in time, or how long ago it is, in microseconds since 1970; None: it is neither."""
    match = _AGO.fullmatch(text.strip())
    if match and match[2] in UNITS:
        return now() - round(float(match[1]) * UNITS[match[2]])
    return microseconds_of(text)


def as_datetime(microseconds: int) -> datetime | None:
    """A point in time without a zone; None: it is out of range."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def now() -> int:
    """This moment, in microseconds since 1970."""
    return (datetime.now(timezone.utc).replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)
