"""A store that is not there is a mistake of whoever names it, and no empty store. (`ls` shows what there is: nothing.)"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from collectord.cli.main import main
from collectord.upload.ledger import Ledger
from collectord.upload.mount import NOTED


@pytest.mark.parametrize(
    "words",
    [
        ["verify"], ["where", "a"], ["query", "traces"], ["query", "--tables"], ["logs", "my-service"],
        ["retention", "--default", "3"], ["retention", "--default", "3", "--apply"], ["erase", "--correlation-id", "a", "--yes"],
        ["service", "show"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_who_reads_of_a_store_that_is_not_there_is_told_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, [*words, "--store", "lended"])
    assert answer.exit_code == 2, answer.stdout
    assert "there is no directory lended: nothing has landed there yet" in answer.stderr
    assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lended").mkdir()
    assert "there is no directory" not in CliRunner().invoke(main, [*words, "--store", "lended"]).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["ls"], ["cat", "m"], ["verify"], ["where", "a"], ["query", "['m/w/inputs']"], ["retention", "--default", "3"],
        ["erase", "--correlation-id", "a"], ["erase", "--correlation-id", "a", "--yes"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_who_reads_of_a_store_whose_disk_is_away_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """In the empty directory below the mount point nobody's rows are found, and they are not erased."""
    disk, spool = tmp_path / "disk", tmp_path / "spool"
    disk.mkdir()
    spool.mkdir()
    ledger = Ledger(spool)
    ledger.remember(NOTED, f"{disk}\n{disk}")
    ledger.close()
    monkeypatch.setenv("COLLECTORD_SPOOL", str(spool))
    answer = CliRunner().invoke(main, [*words, "--store", str(disk)])
    assert answer.exit_code == 2, answer.stdout
    assert f"nothing is mounted at {disk} any more" in answer.stderr
    assert answer.stdout == ""
    assert list(disk.iterdir()) == []
