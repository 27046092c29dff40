"""Daemons that a test starts are gone when it ends, and what they said is shown where it failed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import Daemon

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder whose name is short enough for sockets in it."""
    made = Path(tempfile.mkdtemp(prefix="cd-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def make_daemon(folder: Path) -> Iterator[MakeDaemon]:
    """Makes daemons, each with a folder of its own unless one is named; not started."""
    made: list[Daemon] = []

    def make(where: Path | None = None, **settings: Any) -> Daemon:
        place = where or folder / f"d{len(made)}"
        place.mkdir(exist_ok=True)
        made.append(Daemon(place, **settings))
        return made[-1]

    yield make
    for daemon in made:
        daemon.clear_away()
    for daemon in made:
        print(f"---- {daemon.folder.name} said\n{daemon.said()[-6000:]}")
