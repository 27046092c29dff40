"""The peers are pinned, with checksums, and without the address of any index."""

from __future__ import annotations

import re

import pytest

from benchmarks.lock import HERE, LOCKS


@pytest.mark.parametrize("lock", LOCKS)
def test_each_peer_is_pinned_with_its_checksums(lock: str) -> None:
    text = (HERE / lock).read_text()
    wanted = {
        re.split(r"[=<>~ ]", line)[0]
        for name, _ in LOCKS[lock]
        for line in (HERE / name).read_text().split("\n")
        if line
    }
    pinned = re.findall(r"^([a-z0-9-]+)==\S+(?: ;[^\n]*)? \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert wanted and wanted <= set(pinned)
    assert len(pinned) == len(re.findall(r"^[^ #\n]", text, re.MULTILINE)), "a line without a version and a checksum"
    assert "://" not in text
