"""What the collects of one scoring request share."""

from __future__ import annotations

import copyreg
import time
from collections.abc import Sequence
from typing import Any

from .core import Context, Correlations, Pending
from .ids import time_of
from .recipe import Trial

__all__ = ["Context", "Held", "Pending", "Recalled", "Refused", "Thinned", "left_of", "pending", "recalled"]


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


class Held(Context):
    """The context of a request on which a capture recipe decides, or has decided. `rows` is 0 where they were not taken, but
    the request may still have some."""

    __slots__ = ("_expected", "_trial")

    def __init__(
        self,
        id: bytes | str,
        time_ns: int,
        rows: int,
        request: bytes | str | None,
        keys: Sequence[bytes | str] | None,
        trial: Trial,
    ) -> None:
        super().__init__(id, time_ns, rows, request, keys)
        self._trial = trial
        self._expected: int | None = rows

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


def recalled(id: bytes | str, time_ns: int | None, request: bytes | str | None) -> tuple[Recalled, bool]:
    """The context of a request whose id is known, and its time, or not (None): then the id may tell it. Also whether nobody
    knows the day."""
    found = time_of(id) if time_ns is None else time_ns
    return Recalled(id, time.time_ns() if found is None else found, request), found is None


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


# One form for both cores: what a process with the one has pickled, a process with the other may read.


def _parts(context: Context) -> tuple[Any, ...]:
    """How a context is copied and pickled."""
    kind = type(context)
    more = {} if kind is Context else {name: getattr(context, name) for name in kind.__slots__}
    held = (context._id, context.time_ns, context.rows, context._request, context._keys, context._taken)
    return _revived, (kind.__name__, *held, more)


def _revived(
    kind: str,
    id: bytes | str,
    time_ns: int,
    rows: int,
    request: bytes | str | None,
    keys: Sequence[bytes | str] | None,
    taken: bool,
    more: dict[str, Any],
) -> Context:
    made: Context = KINDS[kind].__new__(KINDS[kind])
    Context.__init__(made, id, time_ns, rows, request, keys)
    made._taken = taken
    for name, value in more.items():
        setattr(made, name, value)
    return made


def _parts_by_value(told: Correlations) -> tuple[Any, ...]:
    return _revived_by_value, (dict(told), told.context)


def _revived_by_value(told: dict[str, Any], context: Context) -> Correlations:
    made = Correlations(told)
    made.context = context
    return made


KINDS: dict[str, type[Context]] = {kind.__name__: kind for kind in (Context, Thinned, Refused, Held, Recalled)}
for _kind in KINDS.values():
    copyreg.pickle(_kind, _parts)
copyreg.pickle(Correlations, _parts_by_value)
