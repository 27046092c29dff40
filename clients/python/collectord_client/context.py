"""What the collects of one scoring request share."""

from __future__ import annotations

from collections.abc import Sequence

from .core import Context, Pending

__all__ = ["Context", "Pending", "Recalled", "Refused", "pending"]


class Refused(Context):
    """The context of rows that were not taken: `rows` is 0, but the request may still be known to have some."""

    __slots__ = ("_expected",)

    def __init__(
        self,
        id: bytes | str,
        time_ns: int,
        expected: int | None,
        request: bytes | str | None = None,
        keys: Sequence[bytes | str] | None = None,
    ) -> None:
        super().__init__(id, time_ns, 0, request, keys)
        self._expected = expected

    @property
    def _request_rows(self) -> int | None:
        return self._expected


class Recalled(Context):
    """The context of a request that was scored elsewhere: its id and time are known, and not how many rows it had."""

    __slots__ = ()

    def __init__(self, id: bytes | str, time_ns: int, request: bytes | str | None = None) -> None:
        super().__init__(id, time_ns, 0, request)

    @property
    def _request_rows(self) -> int | None:
        return None


_pending: dict[tuple[str, ...], Pending] = {}


def pending(model: tuple[str, ...]) -> Pending:
    """The one of `model` in this process, because context variables are never freed."""
    found = _pending.get(model)
    if found is None:
        found = _pending.setdefault(model, Pending())
    return found
