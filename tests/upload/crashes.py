"""A process that ends at a chosen step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collectord import files
from collectord.upload.ledger import Ledger

Steps = Sequence[tuple[Any, tuple[str, ...]]]


class Crash(BaseException):
    """The process ends here."""


class Fuse:
    """Counts the steps that change or ask something, and crashes before or after the one it is set to."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.blown = False

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.blown = True
            raise Crash

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            self.step()
            result = function(*given, **named)
            self.step()
            return result

        return wrapped


def steps(store: type) -> Steps:
    """All steps of a writer on a store of this class: its requests, and what becomes durable in the spool."""
    return [
        (files, ("write_durably",)),
        (Ledger, ("stage", "move", "reassign", "confirm")),
        (store, ("append", "create", "create_container", "length", "read")),
        (Path, ("unlink",)),
    ]


@contextmanager
def wired(fuse: Fuse, steps: Steps) -> Iterator[None]:
    """Inside, every one of the steps passes the fuse."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in steps:
            for name in names:
                patch.setattr(owner, name, fuse.around(getattr(owner, name)))
        yield
