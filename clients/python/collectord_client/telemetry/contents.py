"""The contents of a print: JSON as the object or list that it is, all else as text."""

from __future__ import annotations

import json

from .dimensions import Budget, Plain, plain

LONGEST = 256 << 10
"""Characters of a text that is read as JSON."""


def read(text: str, budget: Budget) -> Plain:
    """What the text says, where it is a JSON object or list; else the text."""
    if text[:1] not in ("{", "[") or len(text) > LONGEST or text[-1:] not in ("}", "]"):
        return text
    try:
        found = json.loads(text)
        return plain(found, budget)
    except (ValueError, RecursionError):
        # Looks like JSON and is none, or nobody can read so deep.
        return text
