"""The table in `docs/formats/log.md` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_row_of_the_damage_table_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "formats" / "log.md").read_text()
    table = text.split("## From damage to surviving entries")[1]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    code = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"\b(test_\w+)(?!\.py)\b", row.rsplit("|", 2)[1].replace("::", " "))
        found = [name for name in named if f"def {name}(" in code]
        assert found, row
        assert all(name in found or (ROOT / "tests" / "wal" / f"{name}.py").exists() for name in named), row
