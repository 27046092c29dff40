"""What the doctor says of one link of the chain."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from collectord.files import nearest


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain. `ok`: None if it could not be looked at because an earlier one is broken."""

    name: str
    ok: bool | None
    what: str
    todo: str = ""
    """What a person should do, where it is broken."""

    def line(self) -> str:
        word = {True: "ok", False: "BROKEN", None: "-"}[self.ok]
        return f"{word:<7}{self.name:<11}{self.what}" + (f"; {self.todo}" if self.todo else "")


def to_be_made(name: str, path: Path) -> Link:
    """What is to be said of a directory that is not there yet."""
    above = nearest(path.parent)
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return Link(name, True, f"{path} is not there yet; the daemon can make it")
    return Link(name, False, f"{path} does not exist, and user {os.geteuid()} cannot make it in {above}", "make it")
