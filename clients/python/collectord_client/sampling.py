"""Which requests are collected: a pure function of the correlation id, so that inputs, predictions and labels of a request
share their fate, in whatever process, language and year they are collected.

An id is taken where the first eight bytes of the SHA-256 of it, as a big-endian number, are below fraction * 2**64. What is
hashed are the 16 bytes of a uuid in canonical text, and the UTF-8 of any other id (docs/formats/wire.md).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256

from .budget import Budget
from .context import Context, left_of
from .ids import parse_id

VARIABLE = "COLLECTORD_SAMPLING"
WHOLE = 1 << 64

Fractions = float | Mapping[str, float]


def place(id: bytes | str) -> int:
    """Where an id lies between 0 and 2**64."""
    if isinstance(id, str):
        # A uuid among other texts is text on the wire, and is the same id.
        found = parse_id(id) if len(id) == 36 else id
        id = found if isinstance(found, bytes) else found.encode()
    return int.from_bytes(sha256(id).digest()[:8], "big")


class Sampler:
    """The decisions for one designation."""

    __slots__ = ("_bound", "budget", "fraction")

    def __init__(self, fraction: float, budget: Budget | None) -> None:
        self.fraction = fraction
        """As configured, in (0, 1]."""
        self.budget = budget
        self._bound = _bound(fraction)

    def factor(self, source: Context | None, named: bool) -> float:
        """What the latency budget leaves of the fraction. Rows that belong to a request go by what was decided for it, here
        or elsewhere."""
        if source is not None:
            return left_of(source)
        return 1.0 if named or self.budget is None else self.budget.factor

    def takes(self, id: bytes | str, factor: float) -> tuple[bool, bool]:
        """Whether the rows of `id` are collected; and where not, whether they would have been without the budget."""
        at = place(id)
        return at < (self._bound if factor == 1.0 else _bound(self.fraction * factor)), at < self._bound

    def among(self, ids: Sequence[bytes | str], factor: float) -> tuple[list[bool], int]:
        """The same for one id per row; and how many are left out by the budget alone."""
        places = list(map(place, ids))
        bound = _bound(self.fraction * factor)
        taken = [at < bound for at in places]
        return taken, 0 if bound == self._bound else sum([bound <= at < self._bound for at in places])


def _bound(fraction: float) -> int:
    # Exact: a power of two only moves the point.
    return int(fraction * WHOLE)


def read(given: Fractions | None) -> Fractions | None:
    """What was given, else what the environment says. Raises ValueError for what is no fraction."""
    if given is not None:
        return _checked(given, "sampling")
    told = os.environ.get(VARIABLE, "").strip()
    if not told:
        return None
    try:
        if "=" not in told:
            return _checked(float(told), VARIABLE)
        pairs = [one.partition("=") for one in told.split(",")]
        return _checked({name.strip(): float(fraction) for name, _, fraction in pairs}, VARIABLE)
    except ValueError as error:
        if str(error).startswith(VARIABLE):
            raise
        raise ValueError(
            f"{VARIABLE} is a fraction, such as 0.1, or one per designation, such as inputs=0.1,predictions=0.1,"
            f" not {told!r}"
        ) from None


def fraction_of(fractions: Fractions | None, designation: str) -> float:
    """The fraction of one designation; 1 where nothing is said of it."""
    if fractions is None:
        return 1.0
    return fractions.get(designation, 1.0) if isinstance(fractions, Mapping) else fractions


def _checked(given: object, name: str) -> Fractions:
    if isinstance(given, Mapping):
        for designation, fraction in given.items():
            if not isinstance(designation, str):
                raise ValueError(f"{name} names designations by their text, not {designation!r}")
            _check(fraction, f"{name} of {designation!r}")
        return {designation: float(fraction) for designation, fraction in given.items()}
    _check(given, name)
    return float(given)  # type: ignore[arg-type]


def _check(fraction: object, name: str) -> None:
    number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not number or not math.isfinite(fraction) or not 0 < fraction <= 1:  # type: ignore[operator, arg-type]
        raise ValueError(
            f"{name} is a fraction above 0 and up to 1, not {fraction!r}; enabled=False is what collects nothing"
        )
