"""Capture recipes, as _collectord/services.json has them: for a while, only the requests that one selects are collected.

    "capture": {"id": "5f0c", "requests": 500, "where": "score > 0.9", "failed": true, "until": "2026-12-01T12:00:00Z"}

The client decides about requests (`recipe.py` there). Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from collectord import condition

CONDITIONS: Final = ("requests", "where", "failed")
KEYS: Final = (*CONDITIONS, "until", "id")
MAX_REQUESTS: Final = 1_000_000_000
MAX_ID: Final = 100
USUAL: Final = timedelta(hours=24)
"""How long one holds of which nothing else is said."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=timezone.utc)
"""Later times are no int64 in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The proto file says what its fields mean."""

    id: str
    requests: int
    where: str
    failed: bool
    until_ns: int


def read(said: object) -> Recipe:
    """Raises ValueError for what makes no sense. One that is over is read as well."""
    if not isinstance(said, Mapping):
        raise ValueError(f"is an object with {', '.join(KEYS)}")
    for name in said:
        if name not in KEYS:
            raise ValueError(f"has {', '.join(KEYS)}, not {str(name)[:80]!r}; it may be of a later version")
    requests, where, failed = (said.get(name) for name in CONDITIONS)
    if requests is not None and (type(requests) is not int or not 1 <= requests <= MAX_REQUESTS):
        raise ValueError(f"requests is a whole number from 1 to {MAX_REQUESTS}, not {_short(requests)}")
    if not isinstance(where, str | None):
        raise ValueError(f"where is a text such as 'score > 0.9', not {_short(where)}")
    if where is not None:
        try:
            condition.check(where)
        except ValueError as error:
            raise ValueError(f"where: {error}") from None
    if not isinstance(failed, bool | None):
        raise ValueError(f"failed is true or null, not {_short(failed)}")
    if requests is None and where is None and not failed:
        raise ValueError(f"selects nothing in particular: give {', '.join(CONDITIONS)}, or collect everything")
    id = said.get("id")
    if not isinstance(id, str | None) or not len(id or "") <= MAX_ID:
        raise ValueError(f"id is a text of at most {MAX_ID} characters, not {_short(id)}")
    until = time_of(said.get("until"))
    if not id:
        # Edited by hand: what says the same is the same.
        id = hashlib.sha256(json.dumps(dict(said), sort_keys=True).encode()).hexdigest()[:12]
    return Recipe(id, requests or 0, where or "", bool(failed), (until - _EPOCH) // timedelta(microseconds=1) * 1000)


def completed(said: object, now: datetime, id: str) -> object:
    """A recipe as somebody gives it, with when it ends and an `id`, if he names none. What is no recipe stays. Raises ValueError
    where it would be over already."""
    if not isinstance(said, Mapping):
        return said
    made: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    until = time_of(made["until"]) if "until" in made else now + USUAL
    if until <= now:
        raise ValueError(f"until {made['until']} lies in the past")
    made["until"] = shown(until)
    made.setdefault("id", id)
    return made


def time_of(text: object) -> datetime:
    """A time such as 2026-12-01T12:00:00Z; without a zone it is UTC. Raises ValueError."""
    try:
        if not isinstance(text, str):
            raise ValueError
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
        found = (found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        if not _EPOCH <= found < _LATEST:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"until is a time such as 2026-12-01T12:00:00Z, not {_short(text)}") from None
    return found


def shown(when: datetime) -> str:
    """A time as the document has it, to the second."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(value: object) -> str:
    return repr(value)[:80]
