"""What events belong to: the operation that a request, or a dependency within one, stands for."""

from __future__ import annotations

import contextvars
import re
import time
from typing import TYPE_CHECKING

from .. import process
from ..ids import show_id
from ..request import current
from .traceparent import parse

if TYPE_CHECKING:
    from ..request import Request


_ids = process.ids
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""Also in capitals, and without hyphens, as nginx makes the ids of requests."""


def _made() -> bytes:
    # A clock may stand before 1970.
    return _ids.make(max(0, time.time_ns()))


class Operation:
    """Where an event stands in a trace. `id` is 32 hexadecimal digits, the same for all that belongs together; `span` 16 of
    them, the id of what this is, to which the events within it belong."""

    __slots__ = ("client_request_id", "id", "name", "parent", "request_id", "span")

    def __init__(self, id: str, parent: str | None = None, name: str | None = None) -> None:
        self.id = id
        self.parent = parent
        """The span that this one belongs to; None: nobody has said."""
        self.span = _made()[8:].hex()
        self.name = name
        self.request_id: str | None = None
        self.client_request_id: str | None = None

    @staticmethod
    def alone() -> Operation:
        """One that belongs to nothing."""
        return Operation(_made().hex())

    def within(self) -> Operation:
        """One that belongs to this one."""
        made = Operation(self.id, self.span, self.name)
        made.request_id, made.client_request_id = self.request_id, self.client_request_id
        return made


_entered: contextvars.ContextVar[tuple[Request | None, Operation] | None] = contextvars.ContextVar(
    "collectord_operation", default=None
)
"""A dependency that is under way on this thread or task, and the request that it is in."""


def underway() -> Operation | None:
    """What an event that is told now belongs to; None outside of a request."""
    request = current()
    entered = _entered.get()
    if entered is not None and entered[0] is request:
        return entered[1]
    return None if request is None else of(request)


def enter(operation: Operation) -> contextvars.Token[tuple[Request | None, Operation] | None]:
    """What is told on this thread or task from now on belongs to `operation`."""
    return _entered.set((current(), operation))


def leave(token: contextvars.Token[tuple[Request | None, Operation] | None]) -> None:
    try:
        _entered.reset(token)
    except ValueError:
        # Left in another context than it was entered in: a generator that was handed to another task.
        _entered.set(None)


def bare(uuid: str) -> str:
    """A UUID as the id of an operation."""
    return uuid.replace("-", "").lower()


def of(request: Request) -> Operation:
    """The operation of a request.

    Its id is that of the trace which the caller names, else the request's own where that is a UUID, else another one, which
    also becomes the request's if it has none: so rows and events find each other.
    """
    found = request.operation
    if found is None:
        if isinstance(request.id, bytes):
            found = Operation(request.id.hex())
        elif request.id is not None and _UUID.fullmatch(request.id) and request.id.strip("0-"):
            # A text for the rows, which have it as it came.
            found = Operation(bare(request.id))
        else:
            id = _made()
            found = Operation(id.hex())
            if request.id is None:
                request.id = id
        _remember(request, found)
    return found


def called(request: Request, traceparent: object) -> None:
    """The caller names its trace, in the form of W3C; what is not in that form is ignored."""
    found = parse(traceparent)
    if found is not None and request.operation is None:
        operation = Operation(*found)
        if request.id is None:
            request.id = bytes.fromhex(operation.id)
        _remember(request, operation)


def _remember(request: Request, operation: Operation) -> None:
    if request.id is not None:
        operation.request_id = str(show_id(request.id))
    request.operation = operation
