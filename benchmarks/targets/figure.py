"""A figure, what it should be, and whether it is. What a target's measuring hands on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.pairs import Interval


@dataclass(frozen=True, slots=True)
class Bound:
    """At least or at most so much."""

    side: Literal["≥", "≤"]
    value: float


def at_least(value: float) -> Bound:
    return Bound("≥", value)


def at_most(value: float) -> Bound:
    return Bound("≤", value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a target."""

    what: str
    unit: str
    interval: Interval
    bound: Bound | None = None
    """None: stated beside the targets, not a target itself."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """The interval decides: met only if all of it is on the right side."""
        if self.bound is None:
            return ""
        far, near = self.interval.low, self.interval.high
        if self.bound.side == "≤":
            far, near = -near, -far
        wanted = self.bound.value if self.bound.side == "≥" else -self.bound.value
        if far >= wanted:
            return "met"
        return "missed" if near < wanted else "missed, within its interval"

    def told(self) -> str:
        return f"{_short(self.interval.middle)} {self.unit}".rstrip()

    def spread(self) -> str:
        return f"{_short(self.interval.low)} to {_short(self.interval.high)}"

    def target(self) -> str:
        return "" if self.bound is None else f"{self.bound.side} {_short(self.bound.value)}"


@dataclass(slots=True)
class Series:
    """Points of a plot: x, numbers or names, and of each y its interval."""

    name: str
    x: list[float] | list[str]
    y: list[Interval]


@dataclass(slots=True)
class Measured:
    """What one target's measuring found."""

    figures: list[Figure]
    series: dict[str, list[Series]] = field(default_factory=dict)
    """Lines of a plot, by its name."""


def dump(measured: Measured) -> str:
    return json.dumps(asdict(measured), indent=1, ensure_ascii=False)


def load(text: str) -> Measured:
    raw = json.loads(text)
    return Measured(
        [_figure(one) for one in raw["figures"]],
        {
            name: [Series(one["name"], one["x"], [Interval(**y) for y in one["y"]]) for one in lines]
            for name, lines in raw["series"].items()
        },
    )


def _figure(raw: dict[str, Any]) -> Figure:
    bound = raw.pop("bound")
    return Figure(**raw | {"interval": Interval(**raw["interval"]), "bound": None if bound is None else Bound(**bound)})


def table(measured: Measured) -> str:
    """Lines for a terminal."""
    width = max(len(one.what) for one in measured.figures)
    lines = []
    for one in measured.figures:
        note = f"  ({one.note})" if one.note else ""
        lines.append(
            f"  {one.what:{width}}  {one.told():>14}  95 %: {one.spread():22} {one.target():>10}  {one.verdict}{note}"
        )
    return "\n".join(lines)


def _short(value: float) -> str:
    """Three digits, more where they stand before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
