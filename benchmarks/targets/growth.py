"""Target 8: what a record costs does not depend on how many others there are."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.growth import index, load
from benchmarks.pairs import Interval, interval, ratio
from benchmarks.targets.figure import Figure, Measured, Series, at_most

WITHIN = 1.15


def measure(pairs: int) -> Measured:
    """Ratios of the daemon's CPU per record, and the costs that the target wants to be told."""
    growing = {
        "50 clients / 1, full pages": load.clients(pairs),
        "500 streams / 1, full frames": load.streams(pairs),
        "spool near its budget / empty, to the ack": load.spool(pairs),
    }
    figures = [
        Figure(what, "×", ratio(found["many"], found["one"]), at_most(WITHIN), _least(found))
        for what, found in growing.items()
    ]
    by_rows = load.batch_rows(pairs)
    figures += [_nanoseconds(f"batches of {rows:,} rows: daemon CPU per record", of) for rows, of in by_rows.items()]
    writing, size = index.writing(pairs)
    figures += [
        Figure(
            "frame with index of UUIDv4 / without",
            "×",
            ratio(writing["UUIDv4"], writing["without"]),
            note=f"{size / index.ROWS:.2f} bytes per row",
        ),
        Figure("frame with index of UUIDv7 / without", "×", ratio(writing["UUIDv7"], writing["UUIDv7 without"])),
    ]
    figures += [
        Figure(f"where, CPU per million rows: {name}", "ms", interval([one * 1e3 for one in of]))
        for name, of in index.asking(pairs).items()
    ]
    return Measured(
        figures,
        {
            "growth": [
                Series(
                    "daemon, socket to store",
                    [float(rows) for rows in by_rows],
                    [_micro(of) for of in by_rows.values()],
                )
            ]
        },
    )


def _micro(seconds: Sequence[float]) -> Interval:
    return interval([one * 1e6 for one in seconds])


def _nanoseconds(what: str, seconds: Sequence[float]) -> Figure:
    return Figure(what, "ns", interval([one * 1e9 for one in seconds]))


def _least(found: load.Samples) -> str:
    return " and ".join(f"{interval(of).middle * 1e9:,.0f} ns" for of in (found["one"], found["many"])) + " per record"
