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
        self.at = at
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


def every_step(least: int) -> Iterator[Fuse]:
    """A fuse for each step of a run in turn, until one is not blown any more; at least so many were."""
    for at in range(1, 200):
        fuse = Fuse(at)
        yield fuse
        if not fuse.blown:
            assert at > least, f"only {at - 1} crashes"
            return
    raise AssertionError("the run has more steps than were tried")


def steps(store: type) -> Steps:
    """All steps of a writer on a store of this class: its requests, and what becomes durable in the spool."""
    return [
        (files, ("write_durably",)),
        (Ledger, ("stage", "move", "reassign", "confirm")),
        (store, ("append", "create", "create_container", "length", "read")),
        (Path, ("unlink", "replace")),
    ]


@contextmanager
def wired(fuse: Fuse, steps: Steps) -> Iterator[None]:
    """Inside, every one of the steps passes the fuse."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in steps:
            for name in names:
                patch.setattr(owner, name, fuse.around(getattr(owner, name)))
        yield
