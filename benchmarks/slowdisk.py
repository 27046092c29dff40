"""A disk on which each sync takes longer, as those of a cloud do: what is a multiple of a sync here is not the same there.

The library that tests put between a process and its disk (`tests/faults/shim.c`) has each sync take so much longer.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.daemon import FOLDER
from tests.faults.shim import Call, Shim


@contextmanager
def slow_disk(delay: float) -> Iterator[Mapping[str, str] | None]:
    """The environment of processes whose syncs below a `daemon`'s folder take `delay` seconds longer, until the block is left;
    None, which is our own, where there is no delay."""
    if not delay:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="collectord-disk-") as folder:
        shim = Shim(Path(folder) / "control")
        try:
            with shim.armed(Call.SYNC, FOLDER, 0, delay=delay):
                yield {**os.environ, **shim.env}
                assert shim.fired, "no sync was slow"
        finally:
            shim.close()


def sync(descriptor: int, delay: float) -> None:
    """As such a process does it, in this one."""
    if delay:
        time.sleep(delay)
    os.fdatasync(descriptor)
