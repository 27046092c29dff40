"""A fleet: nodes that share one container of Azurite, with scoring pods, and the table of what was measured."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectord.testing.azurite import Azurite
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon, folder, make_daemon
from tests.e2e.process import Daemon, collectord
from tests.fleet.figures import Figures
from tests.fleet.scorers import Scorer
from tests.fleet.settling import Landed, read

__all__ = ["Fleet", "figures", "fleet", "folder", "make_daemon"]

_FIGURES = Figures()


@pytest.fixture
def figures() -> Figures:
    """Of the whole run; shown at its end."""
    return _FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES.told:
        terminalreporter.section("measured")
        for line in _FIGURES.lines():
            terminalreporter.write_line(line)


LATE_WINDOW = 10.0
"""As the chart sets it."""
CLAIM_INTERVAL = 2.0
"""Seconds, of nodes that are killed: who adopts their spool watches for two and a half of them, 150 s by default."""


class Fleet:
    """Nodes whose daemons write to one container, so to the same blobs."""

    def __init__(self, make_daemon: MakeDaemon, azurite: Azurite, container: str) -> None:
        self._make, self._azurite = make_daemon, azurite
        self.store = f"az://{container}"
        self._container = container
        self._scorers: list[Scorer] = []

    def node(self, name: str, port: int | None = None, **settings: Any) -> Daemon:
        """A node's daemon, not started. `port`: of a proxy in front of the store."""
        env = {"COLLECTORD_AZURE_CONNECTION_STRING": self._azurite.connection_string(port)}
        return self._make(**{"store": self.store, "node": name, "env": env, "late_window": LATE_WINDOW, **settings})

    def scorer(self, daemon: Daemon, **settings: Any) -> Scorer:
        self._scorers.append(Scorer(daemon, **settings))
        return self._scorers[-1]

    def adopt(self, node: Daemon, spool: Path) -> tuple[int, float]:
        """Finishes a spool of `node`'s, as somebody does it on another one: rows landed, and seconds."""
        began = time.monotonic()
        done = collectord(
            "adopt", str(spool), "--store", self.store, "--claim-interval", str(CLAIM_INTERVAL), "--node",
            str(node.settings["node"]), env=node.env, cwd=node.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = re.search(r"finished: ([\d,]+) rows have landed", done.stdout)
        assert said, done.stdout
        return int(said[1].replace(",", "")), time.monotonic() - began

    def landed(self) -> Landed:
        """What is in the blobs now."""
        return read(landed.container(self._azurite.connection_string(), self._container))

    def clear_away(self) -> None:
        for scorer in self._scorers:
            scorer.clear_away()


@pytest.fixture
def fleet(make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]) -> Iterator[Fleet]:
    made = Fleet(make_daemon, azurite, new_container())
    yield made
    made.clear_away()
