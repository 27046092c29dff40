"""What landing costs: appends and bytes, at the prices of the settings. An estimate: what else a store charges for, such as reading
and the copies of a geo-redundant account, is not in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

HOURS_OF_A_MONTH = 730
GB = 1 << 30
LEAST_SECONDS = 60.0
"""What was seen for less than this is taken for as long: the first append is not a rate."""


@dataclass(frozen=True, slots=True)
class Prices:
    """In whatever currency."""

    write_10k: float
    """10,000 write operations."""
    gb_month: float
    """1 GiB, kept for a month."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a stream, or of all of them."""

    bytes_per_hour: float
    operations_per_hour: float
    writes_per_month: float
    storage_per_month: float
    """What a month brings, kept for a month."""

    @property
    def per_month(self) -> float:
        return self.writes_per_month + self.storage_per_month


def cost_of(size: int, operations: int, seconds: float, prices: Prices) -> Cost:
    """If it goes on as in these seconds, in which so many bytes and appends were counted."""
    hours = max(seconds, LEAST_SECONDS) / 3600
    per_hour, bytes_per_hour = operations / hours, size / hours
    return Cost(
        bytes_per_hour,
        per_hour,
        per_hour * HOURS_OF_A_MONTH / 10_000 * prices.write_10k,
        bytes_per_hour * HOURS_OF_A_MONTH / GB * prices.gb_month,
    )


def advice(cost: Cost) -> str:
    """Which setting changes it, in a sentence."""
    if not cost.per_month:
        return "Nothing was appended within the last hour, so nothing is expected."
    if cost.writes_per_month >= cost.storage_per_month:
        return (
            "Mostly appends: a longer flush_interval makes fewer of them (twice as long, about half), and so does a layout with "
            "fewer blobs, such as one without {node} in it, as long as few nodes share a blob."
        )
    return (
        "Mostly bytes: codec=zstd with a higher level makes fewer of them, and so do a fraction of the requests (sampling, see "
        "`collectord service`) and a rule of the store that deletes or cools old blobs; flush_interval and layout hardly matter."
    )
