"""An event as it was told: all that its row needs, in things that nobody changes any more."""

from __future__ import annotations

from typing import NamedTuple

from .cuts import Cuts
from .dimensions import Plain
from .operation import Operation

Own = str | int | float | bool | None
"""A value in one of the columns that a kind of event has for itself."""


class Event(NamedTuple):
    """Made on the calling thread, which must not take long."""

    kind: int
    time_ns: int
    """When it began."""
    operation: Operation | None
    """What it belongs to, or, of a request or a dependency, what it is."""
    own: tuple[Own, ...]
    dimensions: dict[str, Plain]
    """Without those that all events of a client, or of a request, have."""
    contents: str | None = None
    """What was printed."""
    cuts: Cuts | None = None
    altered: bool = False
    """Something in it has no form in JSON, and is told otherwise."""
