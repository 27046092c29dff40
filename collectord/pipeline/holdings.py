"""What the quarantine holds now: the ledger's `held`, in memory, and what has been recognised since it was told."""

from __future__ import annotations

from pathlib import Path

from collectord import quarantine
from collectord.quarantine import Item
from collectord.upload.held import Held, HeldItem


class Holdings:
    """The items under `directory`, as the ledger has them at the start.

    Shared by `Shelf`, `Returning` and `Undecided`, which change them. Guarded by the pipeline's lock from then on; a sum of
    bytes may be looked at without it.
    """

    def __init__(self, directory: Path, held: Held) -> None:
        self.directory = directory
        known = held.items()
        self.items = {item.id: item for item in known if not item.gone}
        self.gone = [item.id for item in known if item.gone]
        """Have left, and are not forgotten: their files may still be there."""
        self.used_bytes = quarantine.used_bytes(directory)

    def measure(self) -> None:
        """Sums up the files that are there."""
        self.used_bytes = quarantine.used_bytes(self.directory)


def held_of(item: Item) -> HeldItem:
    """An item of which nothing has left yet."""
    return HeldItem(item.id, item.stream, item.reason, item.rows, len(item.entries), 0, gone=False)
