"""The correlation of one request, and where it waits for those that follow."""

from __future__ import annotations

import contextvars
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ids import show_id

if TYPE_CHECKING:
    from ..request import Request


class Context:
    """The correlation of one request's rows: hand what `collect(inputs)` returned to `collect(predictions)`.

    Both then carry the same correlation id, the same scoring time, hence the same day, and the same row indices.
    Immutable for its users; may be passed between threads.
    """

    __slots__ = ("_id", "_keys", "_request", "_taken", "rows", "time_ns")

    def __init__(
        self,
        id: bytes | str,
        time_ns: int,
        rows: int,
        request: bytes | str | None = None,
        keys: Sequence[bytes | str] | None = None,
    ) -> None:
        self._id = id
        self.time_ns = time_ns
        """The scoring time in nanoseconds since 1970-01-01T00:00:00Z."""
        self.rows = rows
        """How many rows were collected under it; 0 if they were refused."""
        self._request = request
        self._keys = keys
        self._taken = False

    @property
    def _request_rows(self) -> int | None:
        """How many rows the request has; None where nobody can tell."""
        return self.rows

    @property
    def correlation(self) -> uuid.UUID | str:
        """The correlation id; with a key per row, the first row's."""
        return show_id(self._id)

    @property
    def correlations(self) -> tuple[uuid.UUID | str, ...]:
        """The correlation id of each row."""
        if self._keys is not None:
            return tuple(show_id(key) for key in self._keys)
        return (show_id(self._id),) * self.rows

    @property
    def request_id(self) -> uuid.UUID | str | None:
        """The request id given to `collect`, if any."""
        return None if self._request is None else show_id(self._request)

    def __repr__(self) -> str:
        return f"Context(correlation={str(self.correlation)!r}, time_ns={self.time_ns}, rows={self.rows})"


class Pending:
    """Where the last inputs of one model wait for the prediction that takes them, once.

    That is in their request; where nobody knows of one, on the thread or task.
    """

    __slots__ = ("_variable",)

    def __init__(self) -> None:
        self._variable: contextvars.ContextVar[Context | None] = contextvars.ContextVar(
            "collectord_inputs", default=None
        )

    def get(self, request: Request | None) -> Context | None:
        return self._variable.get() if request is None else request.inputs.get(self)

    def set(self, request: Request | None, context: Context) -> None:
        if request is None:
            self._variable.set(context)
        else:
            request.inputs[self] = context
