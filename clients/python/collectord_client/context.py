"""What the collects of one scoring request share."""

from __future__ import annotations

from collections.abc import Sequence

from .core import Context, Pending

__all__ = ["Context", "Pending", "Recalled", "Refused", "pending"]


class Thinned(Context):
    """The context of a request that was decided on while the latency budget was short."""

    __slots__ = ("_left",)

    def __init__(
        self,
        id: bytes | str,
        time_ns: int,
        rows: int,
        request: bytes | str | None,
        keys: Sequence[bytes | str] | None,
        left: float,
    ) -> None:
        super().__init__(id, time_ns, rows, request, keys)
        self._left = left
        """What it left of the sampling."""


class Refused(Context):
    """The context of rows that were not taken: `rows` is 0, but the request may still be known to have some."""

    __slots__ = ("_expected", "_left")

    def __init__(
        self,
        id: bytes | str,
        time_ns: int,
        expected: int | None,
        request: bytes | str | None = None,
        keys: Sequence[bytes | str] | None = None,
        left: float = 1.0,
    ) -> None:
        super().__init__(id, time_ns, 0, request, keys)
        self._expected = expected
        self._left = left

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


def left_of(context: Context) -> float:
    """What the latency budget left of the sampling when the request was decided on."""
    return context._left if isinstance(context, (Thinned, Refused)) else 1.0
