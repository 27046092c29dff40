"""How much time collecting may take of a request: a client that needs more thins itself.

What a collected call costs is averaged; of all requests so many are collected that the average over all calls stays below
the budget. Fractions are powers of two, and which requests remain is decided by hash as in `sampling`.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable

from .notices import say

VARIABLE = "COLLECTORD_MAX_US_PER_CALL"
LEAST = 2.0**-10
"""One request in 1,024 is always collected: it also tells when there is time again."""
WEIGHT = 1 / 32
"""Of a call in the average."""
LONGEST, LONGER = 16, 4
"""A call counts as at most so many budgets, or so many averages if that is more: one pause of the machine is no reason to
thin for long."""
SETTLING = 8
"""Calls before the first and between two decisions."""
EASY = 0.8
"""More is collected again only where that would stay below this part of the budget, so as not to go to and fro."""


class Budget:
    """Of one client. Its calls are counted without a lock: threads that meet lose a measurement, which does no harm."""

    def __init__(self, us_per_call: float, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.limit = us_per_call
        self.clock = clock
        """In nanoseconds."""
        self.factor = 1.0
        """Which part of the requests is collected, of those that sampling takes."""
        self.mean = 0.0
        """Microseconds that a collected call takes."""
        self._calls = 0

    def spent(self, ns: int) -> None:
        """A call that was collected took so long."""
        self._calls += 1
        calls = self._calls - SETTLING
        if calls <= 0:
            # The first ones load modules and make schemas.
            return
        us = min(ns / 1000, max(self.limit * LONGEST, self.mean * LONGER))
        # An average over all calls until there are enough of them for a moving one.
        self.mean += (us - self.mean) * max(WEIGHT, 1 / calls)
        if calls % SETTLING == 0:
            self._decide()

    def _decide(self) -> None:
        factor = self.factor
        if self.mean * factor > self.limit and factor > LEAST:
            self.factor = factor / 2
        elif factor < 1.0 and self.mean * factor * 2 <= self.limit * EASY:
            self.factor = factor * 2
        if self.factor != factor:
            say(
                logging.WARNING, f"budget {self.factor < factor}",
                "collecting takes %.0f us per call, the budget is %g: one request in %d is collected now",
                self.mean, self.limit, round(1 / self.factor),
            )  # fmt: skip


def read(given: float | None) -> Budget | None:
    """The budget given, else that of the environment; None where there is none, or it is infinite. Raises ValueError."""
    name = "max_us_per_call"
    if given is None:
        told = os.environ.get(VARIABLE, "").strip()
        if not told:
            return None
        name = VARIABLE
        try:
            given = float(told)
        except ValueError:
            raise ValueError(_wrong(name, told)) from None
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not given > 0:
        raise ValueError(_wrong(name, given))
    return None if given == math.inf else Budget(float(given))


def _wrong(name: str, given: object) -> str:
    return f"{name} is a number of microseconds above 0, not {given!r}; without it there is no budget"
