"""What is made from the chart and the settings is as it would be made now."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
import yaml

from collectord.config import load
from tests.deploy.chart import DEPLOY, of_kind, pods

import render  # isort: skip  (deploy/ is on the path since tests.deploy.chart)


def test_files_are_as_they_would_be_made_now() -> None:
    made = list(render.made())
    assert len(made) == 6
    for path, text in made:
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `python deploy/render.py`"


def test_a_file_that_was_edited_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = tmp_path / "daemonset.yaml"
    edited.write_text("kind: DaemonSet\n", encoding="utf-8")
    monkeypatch.setattr(render, "DEPLOY", tmp_path / "deploy")
    monkeypatch.setattr(render, "made", lambda: [(edited, "kind: Other\n")])
    monkeypatch.setattr("sys.argv", ["render.py", "--check"])
    assert render.main() == 1
    assert "differs" in capsys.readouterr().out
    assert edited.read_text(encoding="utf-8") == "kind: DaemonSet\n"


@pytest.mark.parametrize("name", render.PLAIN)
def test_a_daemon_understands_the_plain_files_and_has_time_to_stop(name: str, tmp_path: Path) -> None:
    plain = list(yaml.safe_load_all((DEPLOY / "manifests" / name).read_text(encoding="utf-8")))
    (config,) = of_kind("ConfigMap", plain)
    file = tmp_path / "collectord.toml"
    file.write_text(config["data"]["collectord.toml"], encoding="utf-8")
    settings = load(file)
    assert settings.store == "az://modeldata"
    graces = [pod["terminationGracePeriodSeconds"] for _, pod in pods(plain) if "terminationGracePeriodSeconds" in pod]
    assert graces
    assert all(grace >= settings.drain_deadline + 10 for grace in graces)


def test_the_unit_leaves_time_to_drain_and_has_the_least_rights() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "systemd" / "collectord.service").read_text(encoding="utf-8"))
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) >= 60
    assert service["User"] == "collectord"
    for name in (
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
    ):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["RuntimeDirectoryPreserve"] == "yes", "containers hold the directory that they have mounted"
    assert service["CapabilityBoundingSet"] == ""


def test_the_unit_and_its_settings_agree_about_the_directories() -> None:
    unit = (DEPLOY / "systemd" / "collectord.service").read_text(encoding="utf-8")
    settings = load(DEPLOY / "systemd" / "collectord.toml")
    assert "Environment=" not in unit, "a setting there would win over the file, and commands would not know of it"
    assert str(settings.spool) == "/var/lib/collectord/spool"
    assert settings.listen == ("unix:/run/collectord/collectord.sock",)
