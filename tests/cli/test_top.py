"""`collectord top` in a terminal: keys, and that the terminal is as it was."""

from __future__ import annotations

import os
import pty
import sys
import termios

import pytest

from collectord.cli.top import keys


def test_q_ends_it_and_the_terminal_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin, os.fdopen(ours, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(theirs)
        with keys() as wait:
            assert not wait(0.0)
            os.write(ours, b"x")
            assert not wait(10.0)
            os.write(ours, b"q")
            assert wait(10.0)
        assert termios.tcgetattr(theirs) == before


def test_without_a_terminal_it_only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with keys() as wait:
            assert not wait(0.0)
