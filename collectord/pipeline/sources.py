"""Where the bytes of an entry that waits are: in the log, or parked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from collectord.model import Place
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.raw import Raw, read_raw

Read = TypeVar("Read")


class Sources:
    """Callable from any thread; an entry may be parked, and its segment retired, while it is looked for."""

    def __init__(self, log: Catalog, parked: ParkedLog) -> None:
        self._log = log
        self._parked = parked

    def read_payload(self, place: Place) -> memoryview:
        """The payload of an entry, verified. Raises DamagedEntry, and OSError if the disk fails."""
        return self._find(place, self._parked.read_payload, self._log.read_payload)

    def read_raw(self, place: Place) -> Raw:
        """The entry as it is: see `wal.raw`. Raises DamagedEntry if there is nothing, OSError if the disk fails."""
        return self._find(place, self._parked.read_raw, partial(read_raw, self._log))

    def _find(self, place: Place, parked: Callable[[Place], Read], logged: Callable[[Place], Read]) -> Read:
        if self._parked.holds(place.lsn):
            return parked(place)
        try:
            return logged(place)
        except DamagedEntry:
            if self._parked.holds(place.lsn):
                return parked(place)
            raise

    def schema(self, schema_id: bytes) -> bytes:
        """The raw schema. Raises DamagedEntry if no declaration of it survives."""
        raw = self._parked.schema(schema_id)
        return raw if raw is not None else self._log.schema(schema_id)
