"""Which form the rows of a stream take where they land: CSV, lines for Azure ML's model monitoring, or lines of telemetry events.

A stream has one output, so that one cursor says what of it has landed. Rows are CSV unless a setting names their stream: then
they are written as Azure ML's Model Data Collector writes them. What is no row is an event, of whatever stream.

Both kinds of lines are kept an hour to a folder; that is why the choice is made where a batch gets its period, at the door, and
stays with it: rows that were acknowledged under the boundary of a day land as CSV, also where their stream is chosen
afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from collectord.model import MINUTES_PER_HOUR, Partition, Stream, StreamKind
from collectord.patterns import StreamPatterns


class Form(Enum):
    """What rows become. Each has names and text of its own."""

    CSV = "csv"
    MDC = "mdc"
    """docs/formats/mdc-jsonl.md."""
    TELEMETRY = "telemetry"
    """docs/formats/telemetry-jsonl.md."""


class Outputs:
    """Immutable; from any thread."""

    def __init__(self, mdc: Sequence[str] = ()) -> None:
        """`mdc`: the streams that are written for Azure ML, as `StreamPatterns` takes them. Raises ValueError."""
        self._mdc = StreamPatterns(mdc)

    @property
    def any_mdc(self) -> bool:
        """Whether any stream may be written for Azure ML."""
        return bool(self._mdc)

    def boundary(self, stream: Stream, boundary_minutes: int) -> int:
        """Minutes of the period of a stream's batches that come now, where it is `boundary_minutes` for all others."""
        hourly = stream.kind is not StreamKind.ROWS or stream in self._mdc
        return MINUTES_PER_HOUR if hourly else boundary_minutes

    def form(self, stream: Stream, partition: Partition) -> Form:
        """What these rows of a stream become."""
        if stream.kind is not StreamKind.ROWS:
            return Form.TELEMETRY
        if partition.boundary_minutes == MINUTES_PER_HOUR and stream in self._mdc:
            return Form.MDC
        return Form.CSV


def collection_of(stream: Stream) -> str:
    """What Azure ML calls the rows of a stream: its collection name if it has one, else its designation."""
    return stream.designation or "default" if stream.collection in ("", "default") else stream.collection
