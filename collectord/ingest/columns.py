"""Column rules: what must not be kept as it is, and never reaches the log. Pure.

A rule is a column's name and `drop` (the column is left out), `mask` (each value becomes `***`) or `hmac` (each value
becomes the HMAC-SHA256, in lower-case hex, of its text in the CSV under the key of the settings). A null stays a null. The
ids of a payload, which stand in its headers, have rules by the names of our columns that hold them. The clients act on the
same words in the same way, so that a value has one HMAC whichever way it came.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from collectord.ingest.records import Cover
from collectord.model import CORRELATION_COLUMN, REQUEST_COLUMN
from collectord.uuids import is_v7, raw_uuid

MASK = "***"


def covers(rules: Mapping[str, str], key: bytes) -> dict[str, Cover | None]:
    """By column what becomes of its values; None: the column is left out."""
    acts: dict[str, Cover | None] = {
        "drop": None,
        "mask": lambda text: MASK,
        "hmac": lambda text: hmac.digest(key, text.encode(), "sha256").hex(),
    }
    return {name: acts[act] for name, act in rules.items()}


def ids(correlation_id: str, rules: Mapping[str, Cover | None]) -> tuple[str, str]:
    """The correlation id and the request id of a payload, as they may be kept; both came as `correlation_id`. The second is
    empty where it is dropped.

    A UUIDv7 stays as the correlation id: it tells nothing but its time, and names rows of old.
    """
    if not rules:
        return correlation_id, correlation_id
    raw = raw_uuid(correlation_id)
    correlation = None if raw is not None and is_v7(raw) else rules.get(CORRELATION_COLUMN)
    request = rules.get(REQUEST_COLUMN, str)
    return (
        correlation_id if correlation is None else correlation(correlation_id),
        "" if request is None else request(correlation_id),
    )
