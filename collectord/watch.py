"""Whether files are still what they were at the last look: by what the file system says of them, without reading them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Seen = tuple[tuple[int, ...] | None, ...]
"""Per file what says that it is another one, has other content, or that others may read it; None where there is none."""


def seen(paths: Iterable[Path]) -> Seen:
    """What stands at these paths now. Links are followed, so a directory that is swapped behind one shows too, as Kubernetes does
    it with a ConfigMap or a Secret."""
    return tuple(map(_seen, paths))


def _seen(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # Mode and time of change are there for rights that are given later: they alter neither content nor its time.
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_ctime_ns
