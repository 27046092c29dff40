"""The daemon's CPU per record as there are more clients, more streams, more in the spool, and fewer rows in a batch.

All of it from the socket on: `clients`, `streams` and `batch_rows` up to the bytes in a directory store, the frames flushed at the
end of each round; `spool` up to the acknowledgement, since what a full log takes in cannot land meanwhile. The rows of a round
are counted in the daemon's books before its time counts. Two daemons take turns, so a round's ratio is that of neighbours.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.daemon import Running, Sender, daemon, together
from collectord.encode.frame_reader import iter_frames

COLUMNS = 6
PAGE_ROWS = 3276
"""Of 72 bytes: a page of 256 KB."""
FRAME_PAGES = 4
FRAME_PAGE_ROWS = 3000
"""So many pages of so many rows make one frame that is nearly full; a few rows more would make two."""
PAGES = 240
"""A round of one stream."""
SPOOL = 4 << 30
FILL_TO = 0.8
"""Of the log's budget, before the full spool is measured."""
STEP = 0.01
"""Of the log's budget: a round."""
ENTRY_BYTES = PAGE_ROWS * 72 + 200
QUIET = ("--flush-interval", "3600", "--log-level", "error")
Samples = dict[str, list[float]]
"""Seconds of the daemon's CPU per record, by case, a sample a round."""


class Spent(NamedTuple):
    """Seconds per record."""

    cpu: float
    """The daemon's."""
    wall: float


class Load:
    """A daemon and whoever sends to it."""

    def __init__(self, running: Running, clients: int = 1, streams: int = 1, rows: int = PAGE_ROWS) -> None:
        self._running = running
        self._rows = rows
        self._senders = [Sender(running.socket, COLUMNS, rows, 4, "inputs", streams) for _ in range(clients)]
        self._sent = 0

    def send(self, batches: int, lands: bool = True) -> Spent:
        """What so many batches from all clients together cost; with `lands` up to the store."""
        each, rest = divmod(batches, len(self._senders))
        assert each and not rest, f"{batches} batches of {len(self._senders)} clients"
        cpu, wall = self._running.cpu_seconds(), time.perf_counter()
        together(self._senders, each)
        if lands:
            with self._running.control() as control:
                assert control.flush(300).complete
        cpu, wall = self._running.cpu_seconds() - cpu, time.perf_counter() - wall
        rows = batches * self._rows
        self._sent += rows
        with self._running.control() as control:
            books = control.ledger()
        assert sum(book.received for book in books) == self._sent
        assert sum(book.landed if lands else book.in_log for book in books) == self._sent
        return Spent(cpu / rows, wall / rows)

    def frames_of_a_blob(self) -> int:
        """Of one of them, whichever comes first."""
        blob = next((self._running.folder / "store").rglob("*.csv.zst"))
        with blob.open("rb") as file:
            return sum(frame.tag is not None for frame in iter_frames("zstd", file))

    def log(self) -> tuple[int, int]:
        """Bytes of the log that are taken, and that may be."""
        with self._running.control() as control:
            said = control.status()["log"]
        return said["bytes"], said["budget_bytes"]

    def close(self) -> None:
        for sender in self._senders:
            sender.close()


@contextmanager
def loads(**cases: Callable[[Running], Load]) -> Iterator[dict[str, Load]]:
    """A landing daemon for each case."""
    with ExitStack() as inside:
        made = {}
        for name, make in cases.items():
            made[name] = make(inside.enter_context(daemon(*QUIET, "--memory-budget", "1GiB")))
            inside.callback(made[name].close)
        yield made


def clients(rounds: int, many: int = 50) -> Samples:
    """One client, and many that share the same pages."""
    pages = PAGES - PAGES % many or many
    with loads(one=Load, many=lambda running: Load(running, clients=many)) as made:
        return _rounds(rounds, {name: lambda load=load: load.send(pages) for name, load in made.items()})


def streams(rounds: int, many: int = 500) -> Samples:
    """One stream, and many with a full frame each."""
    with loads(
        one=lambda running: Load(running, rows=FRAME_PAGE_ROWS),
        many=lambda running: Load(running, streams=many, rows=FRAME_PAGE_ROWS),
    ) as made:
        found = _rounds(
            rounds,
            {"one": lambda: made["one"].send(PAGES), "many": lambda: made["many"].send(many * FRAME_PAGES)},
        )
        assert made["many"].frames_of_a_blob() == rounds + 1, "a round of a stream is not one frame"
        return found


def batch_rows(rounds: int, sizes: tuple[int, ...] = (1, 10, 100, 1000, PAGE_ROWS)) -> dict[int, list[float]]:
    """Batches of so many rows; 600 of them in a round, of large ones fewer."""
    with ExitStack() as inside:
        running = inside.enter_context(daemon(*QUIET))
        found: dict[int, list[float]] = {rows: [] for rows in sizes}
        made = {}
        for rows in sizes:
            made[rows] = Sender(running.socket, COLUMNS, rows, 4, f"of-{rows}")
            inside.callback(made[rows].close)
        for number in range(rounds + 1):
            for rows, sender in made.items():
                batches = 600 if rows <= 100 else 200
                before = running.cpu_seconds()
                sender.send(batches)
                with running.control() as control:
                    assert control.flush(60).complete
                spent = (running.cpu_seconds() - before) / (batches * rows)
                if number:
                    # In the first the stream is declared and its blob made.
                    found[rows].append(spent)
        with running.control() as control:
            landed = sorted(book.landed for book in control.ledger())
        assert landed == sorted((rounds + 1) * rows * (600 if rows <= 100 else 200) for rows in sizes), landed
        return found


def spool(rounds: int) -> Samples:
    """An empty spool, and one near its budget, both before a store that refuses."""
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder, ExitStack() as inside:
        obstacle = Path(folder) / "not-a-directory"
        obstacle.touch()
        options = (
            *QUIET, "--store", str(obstacle / "store"), "--spool-budget", str(SPOOL), "--drain-deadline", "0",
            "--tenant-share", "1",
        )  # fmt: skip
        made = {}
        for name in ("one", "many"):
            made[name] = Load(inside.enter_context(daemon(*options)))
            inside.callback(made[name].close)
        budget = made["many"].log()[1]
        pages = int(budget * min(STEP, 0.15 / (rounds + 1)) / ENTRY_BYTES)
        made["many"].send(int(budget * FILL_TO / ENTRY_BYTES), lands=False)
        found = _rounds(rounds, {name: lambda load=load: load.send(pages, lands=False) for name, load in made.items()})
        full = {name: bytes / budget for name, load in made.items() for bytes, budget in [load.log()]}
        assert full["one"] < 0.2 < FILL_TO < full["many"], full
        return found


def _rounds(rounds: int, cases: dict[str, Callable[[], Spent]]) -> Samples:
    """Cases in turn; the first round warms up."""
    found: Samples = {name: [] for name in cases}
    for number in range(rounds + 1):
        turned = list(cases.items())[:: 1 if number % 2 else -1]
        for name, case in turned:
            spent = case()
            if number:
                found[name].append(spent.cpu)
    return found
