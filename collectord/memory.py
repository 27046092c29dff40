"""How much memory this process has, and may have: as the kernel tells it under /proc and /sys/fs/cgroup."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from collectord.cgroups import CGROUPS, PROC, groups

UNLIMITED = 1 << 60
"""What a cgroup calls no limit is a little less than 2**63."""


class Memory(NamedTuple):
    """In bytes; None where the system does not say, or there is none."""

    resident: int | None
    """Of this process."""
    limit: int | None
    """The most that it may have: of its container or service, or as a resource limit."""
    available: int | None
    """Of the whole machine, without swapping."""


def look(proc: Path = PROC, cgroups: Path = CGROUPS) -> Memory:
    """As it is now. Raises nothing."""
    return Memory(resident(proc), min([*_cgroup_limits(proc, cgroups), *_own_limits()], default=None), _available(proc))


def resident(proc: Path = PROC) -> int | None:
    """Bytes of this process; None where the system does not say."""
    try:
        return int((proc / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _available(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)
    except (OSError, ValueError, IndexError):
        return None


def _own_limits() -> Iterator[int]:
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield soft


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    for place, second in groups("memory", proc, cgroups):
        try:
            limit = int((place / ("memory.max" if second else "memory.limit_in_bytes")).read_text())
        except (OSError, ValueError):
            continue
        if limit < UNLIMITED:
            yield limit
