"""How many cores this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from collectord.cgroups import CGROUPS, PROC, groups


def usable(proc: Path = PROC, cgroups: Path = CGROUPS) -> float:
    """Those that it may run on, or as much of them as its container is given. Raises nothing."""
    number = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    least = float(number)
    for place, second in groups("cpu", proc, cgroups):
        try:
            if second:
                quota, period = (place / "cpu.max").read_text().split()
            else:
                quota, period = ((place / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            share = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            # None, or `max`.
            continue
        if share > 0:
            least = min(least, share)
    return least
