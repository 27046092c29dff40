"""docs/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_threat_that_is_stopped_names_a_test_that_is_there() -> None:
    """A row without one says that nothing of ours stops it, or that it lies in a number."""
    rows = re.findall(r"^\| (.+) \| (.+) \| ?(.*?) ?\|$", PAGE.partition("## What stops whom")[2], re.MULTILINE)
    rows = [row for row in rows if row[0] not in ("threat", "---")]
    assert len(rows) > 20
    for threat, _, shown in rows:
        for path in re.findall(r"`([^`]+)`", shown):
            assert (ROOT / path).exists(), (threat, path)
    assert [threat for threat, _, shown in rows if not shown] == [
        "he takes over another's sequence",
        "he forges rows",
    ]
