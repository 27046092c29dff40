"""No test of this room leaves a file open: all of them together would use up the descriptors that a process may have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wal.spool import Spool

OURS = re.compile(r"\.(seg|spare|new|parked|bin)\b")


def open_files() -> dict[str, str]:
    """Descriptors of files as a spool has them, removed ones included."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            # The one with which the directory is listed.
            continue
        if OURS.search(target):
            found[entry.name] = target
    return found


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Closes the spools that the test has made; what else it has opened it has to close itself."""
    before = open_files()
    Spool.made = []
    yield
    made, Spool.made = Spool.made, None
    for spool in made:
        spool.close()
    assert open_files() == before
