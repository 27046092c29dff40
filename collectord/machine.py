"""What is wrong with the machine below a daemon, as far as the daemon can see it: the mode of its spool, a full disk, too little
memory, a clock that is off. Each is said in the log, in the status and by the doctor, with what a person should do.

Threads: any.
"""

from __future__ import annotations

import logging
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from collectord import memory
from collectord.logs import event
from collectord.memory import Memory
from collectord.notation import mib

MAX_SKEW = 300.0
"""Seconds that the clock may be off: Azure refuses requests at 15 minutes, tokens earlier, and rows land in the wrong day before."""
NEARLY_ALL = 0.9
"""Share of the memory that a process may have, from which on it may soon be killed."""
LEAST_AVAILABLE = 64 << 20
"""Bytes that a machine should have left for all its processes."""
SAY_AGAIN = 60.0
"""Seconds before the log says the same again."""

_log = logging.getLogger("collectord.machine")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that somebody should mend."""

    about: str
    """`spool`, `disk`, `memory` or `clock`."""
    what: str
    todo: str


class Log(Protocol):
    """What is looked at of the log."""

    @property
    def stuck(self) -> str:
        """Why no segment can be begun; empty: one can, or nobody has tried."""
        ...

    @property
    def next_bytes(self) -> int:
        """Bytes of the disk that the next segment takes."""
        ...


def of_spool(spool: Path) -> Complaint | None:
    """Whether others than its owner get into the directory."""
    try:
        mode = stat.S_IMODE(spool.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return Complaint("spool", f"{spool} has mode {mode:04o}: others can read what is in it", f"chmod 0700 {spool}")


def of_place(spool: Path, begun_as: tuple[int, int] | None) -> Complaint | None:
    """Whether the directory is still the one, by device and inode, that the daemon has begun in. None: nobody knows which."""
    if begun_as is None or _identity(spool) == begun_as:
        return None
    return Complaint(
        "spool",
        f"{spool} is gone, or another directory: what is taken in is not uploaded, and nobody who asks there reaches the daemon",
        "mount or move it back and restart the daemon, which goes on with what it holds",
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def of_disk(spool: Path, free: int | None, stuck: str, next_bytes: int) -> Complaint | None:
    """Whether the log can go on. `stuck`, `next_bytes`: see `Log`."""
    full = free is not None and free < next_bytes
    if stuck:
        todo = (
            f"make room on the disk of {spool}" if full else "mend what keeps uploads, the disk, or raise spool_budget"
        )
        what = f"the log takes nothing in: {stuck}"
        return Complaint("disk", what, f"{todo}; clients keep their rows and send them again")
    if free is not None and full:
        what = f"{mib(free)} free, and the next segment of the log needs {mib(next_bytes)}"
        return Complaint("disk", what, f"make room on the disk of {spool}, or set segment_bytes lower")
    return None


def of_memory(found: Memory, budget: int) -> Complaint | None:
    """Whether the process may have what `memory_budget` plans with, and is not about to be killed."""
    if found.limit is not None and found.limit < budget:
        return Complaint(
            "memory",
            f"this process may have {mib(found.limit)}, less than the memory_budget of {mib(budget)}: it will be killed when it is busy",
            "raise the limit of the container, or set memory_budget lower",
        )
    if found.limit is not None and found.resident is not None and found.resident > NEARLY_ALL * found.limit:
        return Complaint(
            "memory",
            f"{mib(found.resident)} of the {mib(found.limit)} that this process may have are in use: with more it is killed",
            "raise the limit of the container, or set memory_budget lower",
        )
    if found.available is not None and found.available < LEAST_AVAILABLE:
        return Complaint(
            "memory",
            f"the machine has {mib(found.available)} left for all its processes",
            "give it less to do, or more memory; the daemon may be killed, and nothing acknowledged is lost then",
        )
    return None


def of_clock(off: float | None, whose: str) -> Complaint | None:
    """Whether the clock is too many seconds ahead of another."""
    if off is None or abs(off) <= MAX_SKEW:
        return None
    return Complaint(
        "clock",
        f"{abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} {whose}",
        "synchronize it (NTP): rows get the wrong day, and Azure refuses at 15 minutes",
    )


class Machine:
    """Looked at again and again; the log hears of what is new."""

    def __init__(
        self,
        spool: Path,
        memory_budget: int,
        log: Log,
        clock_off: Callable[[], float | None],
        *,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        measure: Callable[[], Memory] = memory.look,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock_off`: seconds that the clock is ahead of the store's, None where the store does not tell the time."""
        self._spool = spool
        self._begun_as = _identity(spool)
        self._budget = memory_budget
        self._journal = log
        self._clock_off = clock_off
        self._free = free
        self._measure = measure
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: set[str] = set()
        """What is wrong, by the log."""
        self._said: dict[str, float] = {}
        """When the log said so last."""
        self.memory = Memory(None, None, None)
        """As it was at the last look."""
        self.misplaced = ""
        """Why nothing that is taken in is kept: the spool is gone, as of the last look; empty: it is there."""

    def look(self) -> tuple[Complaint, ...]:
        """What is wrong now. Raises nothing."""
        with self._lock:
            self.memory = self._measure()
            complaints = tuple(self._find())
            now = self._monotonic()
            for one in complaints:
                if one.about not in self._told and now - self._said.get(one.about, float("-inf")) >= SAY_AGAIN:
                    self._said[one.about] = now
                    self._told.add(one.about)
                    event(_log, logging.ERROR, f"the machine needs somebody: {one.about}", what=one.what, todo=one.todo)
            for about in sorted(self._told - {one.about for one in complaints}):
                self._told.remove(about)
                event(_log, logging.INFO, f"the machine is well again: {about}")
            return complaints

    def _find(self) -> Iterator[Complaint]:
        place = of_place(self._spool, self._begun_as)
        self.misplaced = "" if place is None else place.what
        for one in (
            place or of_spool(self._spool),
            of_disk(self._spool, self._room(), self._journal.stuck, self._journal.next_bytes),
            of_memory(self.memory, self._budget),
            of_clock(self._clock_off(), "the store's"),
        ):
            if one is not None:
                yield one

    def _room(self) -> int | None:
        try:
            return self._free(self._spool)
        except OSError:
            return None
