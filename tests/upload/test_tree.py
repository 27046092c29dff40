"""The files of a directory store, where root runs commands beside a daemon of another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectord.upload.localdir import LocalDirectory
from collectord.upload.store import Blocked, Unknown

SOMEBODY = 12345


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store's directory that is not root's, for a process that is, or takes itself for it."""
    made = tmp_path / "store"
    made.mkdir()
    if os.geteuid() == 0:
        os.chown(made, SOMEBODY, SOMEBODY)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


def test_what_root_makes_belongs_to_whoever_has_the_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    really = os.fchown

    def fchown(fd: int, uid: int, gid: int) -> None:
        given.append(fd)
        really(fd, uid, gid)

    monkeypatch.setattr(os, "fchown", fchown)
    store = LocalDirectory(root)
    store.create("_collectord/doctor/it", "text/plain", {})
    store.append("_collectord/doctor/it", b"x", 0)
    made = list(root.rglob("*"))
    assert {"_collectord", "doctor", "it", "appends"} <= {path.name for path in made}
    assert {path.stat().st_uid for path in made} == {root.stat().st_uid}
    assert len(given) == len(made)


def test_a_lock_that_root_was_the_first_to_take_is_its_owners_too(root: Path) -> None:
    held = LocalDirectory(root).lock("_collectord/erasing")
    assert held is not None and not isinstance(held, Blocked | Unknown)
    held.release()
    made = root / "_collectord" / "erasing"
    assert (made.stat().st_uid, made.stat().st_mode & 0o777) == (root.stat().st_uid, 0o600)


def test_nothing_that_is_there_changes_hands(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken, by a link to somebody's file too, is not made, hence not given."""
    precious = root.parent / "precious"
    precious.write_text("root's")
    (root / "a").mkdir()
    (root / "a" / "blob").symlink_to(precious)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("given away"))
    (root / "a" / "lock").symlink_to(precious)
    store = LocalDirectory(root)
    store.create("a/blob", "text/plain", {})
    held = store.lock("a/lock")
    assert held is not None and not isinstance(held, Blocked | Unknown)
    held.release()
    assert precious.read_text() == "root's"
