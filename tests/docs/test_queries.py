"""docs/telemetry.md on queries: its examples are answered so, and its table says what there is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from collectord.cli.main import main
from collectord.query.aggregates import ARITY
from collectord.query.cursor import COMPARISONS, SETS, TEXT_OPERATORS
from collectord.query.functions import FUNCTIONS

PAGE = (
    (Path(__file__).resolve().parents[2] / "docs" / "telemetry.md")
    .read_text()
    .split("\n## Queries\n")[1]
    .split("\n## ")[0]
)
TABLES = {"request": "requests", "trace": "traces"}


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_examples_give_what_the_page_says(tmp_path: Path) -> None:
    for text in block("jsonl").splitlines():
        table = TABLES[json.loads(text)["itemType"]]
        blob = tmp_path / f"_collectord/telemetry/{table}/s/g/w/my-service/m/1/2026/11/21/17/w.jsonl"
        blob.parent.mkdir(parents=True, exist_ok=True)
        with blob.open("a") as file:
            file.write(text + "\n")
    examples = re.split(r"^\$ ", block("console"), flags=re.MULTILINE)[1:]
    assert len(examples) >= 6
    for example in examples:
        command, _, expected = example.partition("\n")
        words = shlex.split(command)
        assert words[:2] == ["collectord", "query"]
        done = CliRunner().invoke(main, [*words[1:], "--store", str(tmp_path)])
        said = done.stderr.split("\n", 1)[1] if done.stderr.startswith("collectord: no daemon") else done.stderr
        assert done.stdout + said == expected, command


def row(name: str) -> set[str]:
    (cells,) = re.findall(rf"^\| {name} \| (.*) \|$", PAGE, re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", cells))


def test_the_table_names_what_there_is() -> None:
    assert row("functions") == set(FUNCTIONS)
    assert row("aggregates") == set(ARITY)
    assert row("of lists") == set(SETS)
    assert set(COMPARISONS) <= row("comparisons")
    bare = {word.lstrip("!").removesuffix("_cs") for word in TEXT_OPERATORS}
    assert {word.lstrip("!").removesuffix("_cs") for word in row("of texts")} - {"", "_cs"} == bare
