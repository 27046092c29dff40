"""Which control groups this process belongs to: as the kernel tells it under /proc and /sys/fs/cgroup (cgroups(7))."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def groups(controller: str, proc: Path = PROC, cgroups: Path = CGROUPS) -> Iterator[tuple[Path, bool]]:
    """The directories of our group and of those above it, as far as they are seen from here, for what `controller` limits; and whether
    they are of version 2. What counts is the least of their limits. Raises nothing."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not path.startswith("/") or (controllers and controller not in controllers.split(",")):
            continue
        root = cgroups / controller if controllers else cgroups
        # In a container the path may be the host's, and only the root is there.
        here = root / path.lstrip("/")
        for place in (here, *here.parents):
            yield place, not controllers
            if place == root:
                break
