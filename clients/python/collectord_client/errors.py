"""What can be wrong with a call, as reasons that are counted."""

from __future__ import annotations


class CollectError(Exception):
    """Raised by `collect()` of a strict client only. `reason` is one of the words that `Client.stats()` counts by.

    `detail` says what is wrong and never holds anybody's data: it is logged.
    """

    def __init__(self, reason: str, detail: str, rows: int = 0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.rows = rows
        """How many rows were given up with it; 0 where that cannot be told (then one is counted)."""
        self.counted = False
        """A strict client raises what it has counted, through callers that count what is raised."""


def unsupported_type(what: object) -> CollectError:
    """The error for a value that has no column type."""
    kind = type(what)
    return CollectError(
        "unsupported_type", f"a value of type {kind.__module__}.{kind.__qualname__} cannot be collected"
    )
