"""What the events cost, measured: the table that a run ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Figures:
    """One line per figure, in the order in which they were told."""

    told: list[tuple[str, str, str]] = field(default_factory=list)

    def tell(self, event: str, what: str, value: object) -> None:
        self.told.append((event, what, str(value)))

    def lines(self) -> list[str]:
        """As a table in Markdown, an event's name in its first line only."""
        found, last = ["| event | measured | |", "|---|---|---|"], ""
        for event, what, value in self.told:
            found.append(f"| {event if event != last else ''} | {what} | {value} |")
            last = event
        return found


def seconds(value: float) -> str:
    return f"{value:.1f} s"


def mib(value: float) -> str:
    return f"{value / (1 << 20):.1f} MiB"


def quantile(values: Sequence[float], share: float) -> float:
    """Of the values the one below which so large a share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
