"""Prints what a suite measured beside the time: CPU per record, ratios to its peers."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    measured = [one for one in getattr(session, "benchmarks", ()) if one.extra_info]
    if measured:
        terminalreporter.section("measured besides")
    for one in measured:
        said = ", ".join(f"{name} {value}" for name, value in one.extra_info.items())
        terminalreporter.write_line(f"{one.name}: {said}")
