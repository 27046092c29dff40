"""What we need to develop and test is pinned, and so are the peers: with checksums, and without the address of any index."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.bounds.lock import GROUPS, LOCKS
from tests.bounds.lowest import ROOT, dependencies, dependency_groups

SOURCES = {lock: sources for locks in LOCKS.values() for lock, sources in locks.items()}


def requirements(file: str) -> Iterator[str]:
    """What a file asks for."""
    if not file.endswith(".toml"):
        yield from filter(None, (ROOT / file).read_text().split("\n"))
        return
    yield from dependencies(ROOT / file)
    for group, wanted in dependency_groups(ROOT / file).items():
        assert group in GROUPS
        yield from wanted


@pytest.mark.parametrize("lock", SOURCES)
def test_all_that_is_asked_for_is_pinned_with_its_checksums(lock: str) -> None:
    text = (ROOT / lock).read_text()
    wanted = {
        re.split(r"[][=<>~;! ]", line)[0].lower()
        for source in SOURCES[lock]
        for file in source
        if not file.startswith("-")
        for line in requirements(file)
    }
    pinned = re.findall(r"^([a-z0-9-]+)==\S+(?: ;[^\n]*)? \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert wanted and wanted <= set(pinned), f"make the lock again: {sorted(wanted - set(pinned))} are missing"
    assert len(pinned) == len(re.findall(r"^[^ #\n]", text, re.MULTILINE)), "a line without a version and a checksum"
    assert "://" not in text
