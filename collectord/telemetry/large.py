"""What is too large for an item goes whole into a blob, and the item says where it is, how long, and what its hash is."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from urllib.parse import quote

from collectord.telemetry.event import Event, document

FOLDER = "_collectord/telemetry/large/"


def blob_of(event: Event) -> str:
    """Its name comes from the event alone, so that whoever writes it, and how often, writes the same blob."""
    day = datetime.fromtimestamp(event.time_ns // 1_000_000_000, timezone.utc)
    return f"{FOLDER}{day:%Y/%m/%d}/{quote(event.item_id, safe='')}.json"


def reference(event: Event) -> tuple[tuple[str, bytes], dict[str, str]]:
    """The blob with its bytes, and the properties that refer to it."""
    data, blob = document(event), blob_of(event)
    return (blob, data), {
        "collectord.blob": blob,
        "collectord.size": str(len(data)),
        "collectord.sha256": hashlib.sha256(data).hexdigest(),
    }
