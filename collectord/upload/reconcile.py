"""What a length says about an append that was refused or whose answer got lost: pure decisions.

"It was refused, so an earlier attempt worked" loses rows; "it was refused, so it failed" doubles them. Only the bytes
at the position tell.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """The blob is as long as we believed and still refuses: leased, or blocked by something else."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The blob is shorter than what we know to have been in it: another one stands under its name."""


@dataclass(frozen=True, slots=True)
class Compare:
    """The blob is long enough to hold our bytes at the position: they have to be looked at."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Somebody else's bytes stand at the position, so ours never will."""


Finding = Held | Replaced | Compare | Foreign


def judge(position: int, ours: int, length: int) -> Finding:
    """What it means that an append of `ours` bytes at `position` was refused by a blob of `length` bytes."""
    if length < position:
        return Replaced()
    if length == position:
        return Held()
    if length < position + ours:
        return Foreign()
    return Compare()
