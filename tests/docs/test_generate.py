"""The tables of docs/operations.md and docs/configuration.md are those of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from collectord.metrics import TABLE
from collectord.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_are_up_to_date(generate: ModuleType) -> None:
    """If not: python docs/generate.py."""
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("table", "cell"), [("settings", "`flush_interval`"), ("metrics", "collectord_wal_bytes"), ("limits", "49,000")]
)
def test_a_page_that_differs_in_any_table_fails_the_check_and_is_mended(
    generate: ModuleType, table: str, cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    original, tables = next((path, names) for path, names in generate.PAGES.items() if table in names)
    text = generate.generated(original.read_text(encoding="utf-8"), tables)
    block = next(found[0] for found in generate.BLOCK.finditer(text) if found["name"] == table)
    assert cell in block
    page.write_text(text.replace(block, block.replace(cell, "something else")), encoding="utf-8")
    assert generate.main(["--check"], {page: tables}) == 1
    assert f"{table} differ from the code" in capsys.readouterr().err
    assert generate.main([], {page: tables}) == 0
    assert page.read_text(encoding="utf-8") == text
    assert generate.main(["--check"], {page: tables}) == 0


def test_only_what_is_a_number_of_bytes_is_told_in_mib(generate: ModuleType) -> None:
    allowed = {name: generate._allowed(field) for name, field in Settings.model_fields.items()}
    assert allowed["max_remembered"] == "≥ 1,000 and ≤ 10,000,000"
    assert allowed["mdc_connections"] == "≥ 1 and ≤ 65,536"
    assert allowed["max_value_bytes"] == "≥ 1 KiB and ≤ 1 MiB"
    assert allowed["quarantine_budget"] == "≥ 1 MiB", "also where it may be left out"
    assert allowed["late_days"] == "≥ 0 and ≤ 36,525"


def test_a_page_without_a_place_for_a_table_fails(generate: ModuleType) -> None:
    with pytest.raises(ValueError, match="has places for"):
        generate.stale("# Operations\n\nno tables here\n", ("metrics",))


def test_a_wrong_argument_is_refused(generate: ModuleType) -> None:
    assert generate.main(["--chek"]) == 2


def test_every_setting_and_every_metric_has_a_row(generate: ModuleType) -> None:
    settings, page = (path.read_text(encoding="utf-8") for path in generate.PAGES)
    assert all(f"\n| `{name}` |" in settings for name in Settings.model_fields)
    assert all(f"\n| `{metric.name}` |" in page for metric in TABLE)


def test_every_metric_that_the_page_speaks_of_exists(generate: ModuleType) -> None:
    """Also those in prose and in the table of limits, with the labels that they have."""
    page = (generate.DOCS / "operations.md").read_text(encoding="utf-8")
    labels = {metric.name: metric.labels for metric in TABLE}
    named = re.findall(r"(collectord_[a-z_]+)(?:\{([a-z]+)=)?", page)
    assert len(named) > 2 * len(TABLE)
    for name, label in named:
        assert name in labels, name
        assert not label or label in labels[name], (name, label)
