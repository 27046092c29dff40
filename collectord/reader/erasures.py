"""The records of erasures in the store: who looks at the rows that have landed learns which of them are gone, and how many.

One document for each erasure, `_collectord/erasures/<id>.json`. It says what was done to which blobs, and what could not be
done; of what was looked for only how many ids there were, or which columns. It holds no value of any row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from collectord.errors import CallHuman, TryAgain
from collectord.reader.erase import Erased
from collectord.reader.verify import BlobTotals
from collectord.upload.documents import MAX_DOCUMENT, Conflict, Document, DocumentStore
from collectord.upload.store import CONTROL_PREFIX, BlobStore, Blocked, NoContainer, Unknown

RECORDS = CONTROL_PREFIX + "erasures/"
_TIME_HEADER = b"$aml_dc_scoring_timestamp,$aml_dc_boundary\n"


@dataclass(slots=True)
class Record:
    """What an erasure has done so far."""

    erasure: str
    begun: str
    """UTC; as all times of the record."""
    sought: dict[str, Any]
    """How many ids, or which columns, and within what."""
    finished: str | None = None
    parts: list[Erased] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    """Blobs that have such rows and may not be replaced: `blob`, `why`."""
    unread: list[dict[str, str]] = field(default_factory=list)
    """Blobs that are damaged, so that nobody knows what they have: `blob`, `why`."""
    remains: list[dict[str, Any]] = field(default_factory=list)
    """What has not landed: entries of a log, items of a quarantine."""

    def as_json(self) -> str:
        return json.dumps({"format": 1, **asdict(self)}, indent=1) + "\n"


class Keeper:
    """Writes a record again whenever it has changed. What does not fit into one document goes on in the next."""

    def __init__(self, store: DocumentStore, record: Record) -> None:
        self._store = store
        self._record = record
        self._number = 0
        self._first = 0
        self._etag: str | None = None

    def save(self) -> None:
        """Raises TryAgain or CallHuman if the store does not take it."""
        data = self._data()
        if len(data) > MAX_DOCUMENT:
            # Without the last part it did fit, and so it stands there.
            self._number, self._first, self._etag = self._number + 1, len(self._record.parts) - 1, None
            data = self._data()
        for _ in range(3):
            outcome = self._store.put_document(self._name, data, self._etag)
            if isinstance(outcome, Conflict):
                # Nobody else writes it: an answer was lost.
                found = self._store.get_document(self._name)
                self._etag = found.etag if isinstance(found, Document) else self._etag
            elif isinstance(outcome, Blocked):
                raise CallHuman(f"{self._name}: {outcome.detail}")
            elif not isinstance(outcome, NoContainer | Unknown):
                self._etag = outcome.etag
                return
        raise TryAgain(f"{self._name} could not be written; the erasure goes on where it was if it is begun again")

    @property
    def _name(self) -> str:
        return f"{RECORDS}{self._record.erasure}{f'-{self._number}' if self._number else ''}.json"

    def _data(self) -> bytes:
        fields = asdict(self._record)
        fields["parts"] = fields["parts"][self._first :]
        return (json.dumps({"format": 1, **fields}, indent=1) + "\n").encode()


def recorded(store: BlobStore) -> list[Erased]:
    """All blobs that erasures have replaced, by their records.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused, or a record cannot be read.
    """
    parts = []
    for info in list(store.list(RECORDS)):
        if not info.name.endswith(".json"):
            continue
        data = store.read(info.name, 0, MAX_DOCUMENT)
        if isinstance(data, Unknown):
            raise TryAgain(f"{info.name}: {data.detail}")
        if isinstance(data, Blocked):
            raise CallHuman(f"{info.name}: {data.detail}")
        try:
            for part in json.loads(data or b"{}").get("parts", ()):
                period = part.pop("period")
                parts.append(Erased(period=None if period is None else (period[0], period[1]), **part))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CallHuman(f"{info.name} is no record of an erasure: {type(error).__name__}") from error
    return list({part.note: part for part in parts}.values())


def totals(parts: Iterable[Erased]) -> list[BlobTotals]:
    """The erased rows as if their blobs were there, to be counted beside those that are."""
    return [
        BlobTotals(
            part.blob, 0, "erased", rows=part.rows,
            writers={bytes.fromhex(writer): rows for writer, rows in part.writers.items()}, header=_TIME_HEADER,
            first_record=f"{part.period[0]},{part.period[1]}\n".encode(),
        )
        for part in parts
        if part.period is not None
    ]  # fmt: skip
