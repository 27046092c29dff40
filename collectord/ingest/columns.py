"""Column rules: what must not be kept as it is, and never reaches the log. Pure.

A rule is a column's name and `drop` (the column is left out), `mask` (each value becomes `***`) or `hmac` (each value
becomes the HMAC-SHA256, in lower-case hex, of its text in the CSV under the key of the settings). A null stays a null. The
clients act on the same words in the same way, so that a value has one HMAC whichever way it came.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from collectord.ingest.records import Cover

MASK = "***"


def covers(rules: Mapping[str, str], key: bytes) -> dict[str, Cover | None]:
    """By column what becomes of its values; None: the column is left out."""
    acts: dict[str, Cover | None] = {
        "drop": None,
        "mask": lambda text: MASK,
        "hmac": lambda text: hmac.digest(key, text.encode(), "sha256").hex(),
    }
    return {name: acts[act] for name, act in rules.items()}
