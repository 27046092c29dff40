"""What `collectord config check` finds out beyond the settings themselves: files and directories that they name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectord.assembly import look_around
from collectord.config import load
from collectord.errors import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_folder(no_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def found(**given: object) -> list[str]:
    return list(look_around(load(overrides=given)))


def test_directories_that_the_daemon_will_make_are_noted() -> None:
    assert found(store="a/b", spool="s") == [
        "store: a/b does not exist yet; the daemon makes it",
        "spool: s does not exist yet; the daemon makes it",
    ]
    Path("a/b").mkdir(parents=True)
    Path("s").mkdir()
    assert found(store="a/b", spool="s") == []
    assert [path.name for path in sorted(Path().iterdir())] == ["a", "s"], "it only looks"


@pytest.mark.parametrize("name", ["store", "spool"])
def test_directories_that_cannot_be_made_or_written_stop_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    for path in ("file", "file/below"):
        with pytest.raises(ConfigError, match=f"^{name}: .*/file is not a directory"):
            found(**{name: path})
    monkeypatch.setattr(os, "access", lambda *given: False)
    with pytest.raises(ConfigError, match=rf"^{name}: .* belongs to user \d+, and this one, {os.geteuid()}, may not"):
        found(
            **{"store": "az://modeldata", "azure_account_url": "https://a.example"} if name == "spool" else {},
            **{name: "x"},
        )


def test_a_credential_whose_file_is_absent_stops_it() -> None:
    given = {
        "store": "az://modeldata",
        "azure_account_url": "https://a.blob.core.windows.net",
        "azure_sas_file": "none",
    }
    with pytest.raises(ConfigError, match=r"^azure_sas_file: none cannot be read: No such file"):
        found(**given)
    Path("none").write_text("sig=x")
    assert found(**given) == ["spool: collectord-data/spool does not exist yet; the daemon makes it"]
