"""Whoever switches a service reaches the daemon or the store that he named, or is told that he named none."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord import services
from collectord.config import load
from collectord.errors import CallHuman
from collectord.settings import Settings
from collectord.switches import BadSwitches

OFF = {"collect_model_data": False}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of somebody who has set nothing, such as a notebook's."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"COLLECTORD_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_daemon_and_a_store_nothing_is_switched_anywhere(elsewhere: Path) -> None:
    for question in (lambda: services.update(load(), "s", OFF), lambda: services.show(load())):
        with pytest.raises(CallHuman, match=r"no daemon answers at .*, and no store is named; set COLLECTORD_STORE"):
            question()
    assert list(elsewhere.iterdir()) == []


def test_the_usual_store_need_not_be_named_where_it_is(elsewhere: Path) -> None:
    (elsewhere / "collectord-data/store").mkdir(parents=True)
    assert services.update(load(), "s", OFF) == services.show(load()) == {"version": 1, "services": {"s": OFF}}


def test_a_named_store_may_be_made(elsewhere: Path) -> None:
    named = load(overrides={"store": str(elsewhere / "new")})
    with pytest.raises(CallHuman, match="there is no directory"):
        services.show(named)
    services.update(named, "a/b%", OFF)
    assert services.show(named)["services"] == {"a/b%": OFF}
    with pytest.raises(BadSwitches, match="sampling is an object by designation, not a number"):
        services.update(named, "s", {"sampling": 0.5})
    with pytest.raises(CallHuman, match="only a daemon can be told so"):
        services.update(named, "s", OFF, here=True)
