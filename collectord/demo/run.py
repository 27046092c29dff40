"""Runs the demonstration and reports. Leaves files under ./demo-data, and no process."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from collectord.config import load
from collectord.control.client import ControlClient, NoDaemon
from collectord.errors import CallHuman, CollectordError
from collectord.testing.child import bound

DATA = Path("demo-data")
MARKER = ".collectord-demo"
START_SECONDS = 30.0
ROWS_PER_REQUEST = (1, 1, 1, 2, 5)


@dataclass
class Timing:
    """What a collector's calls cost inside the requests, in nanoseconds."""

    inner: Any
    calls: list[int] = field(default_factory=list)

    def collect(self, data: Any, **named: Any) -> Any:
        began = time.perf_counter_ns()
        context = self.inner.collect(data, **named)
        self.calls.append(time.perf_counter_ns() - began)
        return context


class Daemon:
    """A daemon process of the demonstration."""

    def __init__(self, folder: Path, socket: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._socket = socket
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "daemon.log"

    def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            CallHuman: it does not.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                bound([sys.executable, "-m", "collectord", "serve", "--spool", str(self._folder / "spool"),
                       "--listen", f"unix:{self._socket}", "--flush-interval", "2"]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        with self.control() as control:
            while True:
                try:
                    if control.status()["state"] == "ready":
                        return
                except NoDaemon:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise CallHuman(f"the daemon did not start: {self._log.read_text()[-2000:]}") from None
                time.sleep(0.05)

    def control(self) -> ControlClient:
        return ControlClient((self._folder / "spool" / "admin.sock").resolve())

    def end(self, number: signal.Signals) -> None:
        """Sends the signal and waits for the process to be gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run(store: str | None, requests: int) -> None:
    """Scores `requests` requests into `store`: a directory, `az://CONTAINER`, or `azurite` to start the emulator.

    Raises:
        CallHuman: something that it needs is missing.
        CollectordError: what landed is not what was collected.
    """
    from rich.console import Console

    console = Console(soft_wrap=True)
    _need_libraries()
    _fresh_folder()
    environment = dict(os.environ)
    emulated = store == "azurite"
    with ExitStack() as stack:
        if emulated:
            from collectord.testing import azurite

            console.print("starting Azurite, the emulator of Azure Blob Storage …")
            service = stack.enter_context(azurite.running(Path.cwd()))
            environment["COLLECTORD_AZURE_CONNECTION_STRING"] = service.connection_string()
            store = "az://modeldata"
        store = store or str(DATA / "store")
        environment["COLLECTORD_STORE"] = store
        # A socket's path must be short, and this folder may lie anywhere.
        socket = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="collectord-"))) / "collectord.sock"
        environment["COLLECTORD_ENDPOINT"] = os.environ["COLLECTORD_ENDPOINT"] = f"unix:{socket}"
        daemon = Daemon(DATA, socket, environment)
        stack.callback(daemon.end, signal.SIGTERM)
        daemon.start()
        console.print(f"a daemon runs, with its log in {DATA / 'spool'} and the store {store}\n")
        with _environment(environment):
            _show(console, daemon, requests)
    console.print(
        "The emulator has ended with the demo; without STORE=azurite the blobs stay."
        if emulated
        else f"Look around: collectord ls --store {store}"
    )


def _show(console: Any, daemon: Daemon, requests: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    score: Any = importlib.import_module("collectord.demo.score")
    client = score.init()
    timings = _time_the_calls(score)
    asked = 0
    durations: list[int] = []
    started, began = datetime.now(timezone.utc), time.perf_counter()
    with Progress(
        TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn(), console=console
    ) as progress:
        task = progress.add_task("scoring", total=requests)
        for number, body in enumerate(_requests(requests)):
            if number == requests // 2:
                daemon.end(signal.SIGKILL)
                progress.console.print("[red]kill -9[/] for the daemon; scoring goes on")
            if number == requests * 5 // 8:
                daemon.start()
                progress.console.print("[green]started again[/]; it takes up its log where it was")
            before = time.perf_counter_ns()
            answer = score.run(body)
            durations.append(time.perf_counter_ns() - before)
            if isinstance(answer, str):
                raise CollectordError(f"the scoring script failed: {answer}")
            asked += len(answer)
            progress.advance(task)
    seconds = time.perf_counter() - began
    if not client.flush(30):
        raise CollectordError(f"the client could not send everything: {client.stats()}")
    with daemon.control() as control:
        flushed = control.flush(60)
        if not flushed.complete:
            raise CollectordError(f"{flushed.rows_waiting} rows have not landed: {flushed.reason}")
        books = control.ledger()
    stats = client.stats()
    client.close()
    _report(console, books, stats, timings, durations, asked, requests, seconds, started)


def _report(
    console: Any, books: Any, stats: dict[str, Any], timings: list[Timing], durations: list[int], rows: int,
    requests: int, seconds: float, started: datetime,
) -> None:  # fmt: skip
    import io

    import pandas as pd

    from collectord.cli.ask import books_table
    from collectord.destination import open_store
    from collectord.reader.blobs import data_blobs
    from collectord.reader.cat import cat

    store = open_store(load())
    blobs = data_blobs(store)
    console.rule("what landed where")
    for blob in blobs:
        console.print(f"{blob.size:>10,} bytes  {blob.name}")
    tables = {
        designation: pd.read_csv(
            io.BytesIO(b"".join(cat(store, [blob for blob in blobs if f"/{designation}/" in blob.name])))
        )
        for designation in ("inputs", "predictions")
    }
    # A lasting store may hold what earlier demonstrations scored today.
    since = started.strftime("%Y-%m-%dT%H:%M:%S.%f")
    tables = {name: table[table["$aml_dc_scoring_timestamp"] >= since] for name, table in tables.items()}
    keys = ["$aml_dc_correlation_id", "$aml_dc_row"]
    joined = tables["inputs"].merge(tables["predictions"][[*keys, "progression"]], on=keys, validate="one_to_one")
    console.rule("inputs and predictions, joined on correlation id and row")
    shown = joined[["age", "bmi", "bp", *keys, "progression"]].head(5)
    console.print(shown.to_string(index=False))
    console.rule("what collecting cost inside the requests")
    calls = sorted(cost for timing in timings for cost in timing.calls)
    console.print(
        f"{requests:,} requests with {rows:,} rows in {seconds:.1f} s; a request took {_median(durations) / 1000:,.0f} µs, "
        f"of that each of its two collect() calls {_median(calls) / 1000:,.1f} µs (median; 99 of 100 below "
        f"{calls[len(calls) * 99 // 100] / 1000:,.0f} µs)"
    )
    console.rule("the books")
    console.print(books_table(books))
    wrong = _differences(books, stats, rows, len(joined))
    if wrong:
        raise CollectordError("; ".join(wrong))
    console.print(
        f"\n[green]every row is there exactly once:[/] {rows:,} inputs and {rows:,} predictions were scored, collected, "
        "acknowledged and read back, through one kill -9."
    )


def _differences(books: Any, stats: dict[str, Any], rows: int, joined: int) -> list[str]:
    landed = sum(stream.landed for stream in books)
    checks = {
        "rows scored and rows joined": (rows, joined),
        "rows collected and twice the rows scored": (stats["collected"], 2 * rows),
        "rows acknowledged and rows collected": (stats["acknowledged"], stats["collected"]),
        "rows landed and rows acknowledged": (landed, stats["acknowledged"]),
        "rows received and rows landed": (sum(stream.received for stream in books), landed),
        "rows dropped and none": (sum(stats["dropped"].values()), 0),
    }
    return [f"{what} differ: {a:,} and {b:,}" for what, (a, b) in checks.items() if a != b]


def _requests(number: int) -> Iterator[str]:
    """Bodies of requests: rows of the diabetes data set, one to five at a time."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes().data
    at = 0
    for index in range(number):
        rows = ROWS_PER_REQUEST[index % len(ROWS_PER_REQUEST)]
        yield json.dumps({"data": [data[(at + row) % len(data)].tolist() for row in range(rows)]})
        at += rows


def _time_the_calls(score: Any) -> list[Timing]:
    timings = []
    for name in ("inputs_dc", "prediction_dc"):
        timing = Timing(getattr(score, name))
        setattr(score, name, timing)
        timings.append(timing)
    return timings


def _median(values: list[int]) -> float:
    return sorted(values)[len(values) // 2]


def _need_libraries() -> None:
    try:
        import collectord_client  # noqa: F401
        import pandas  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise CallHuman(f"the demo needs {error.name}: pip install collectord-client scikit-learn pandas") from None


def _fresh_folder() -> None:
    if DATA.exists():
        if not (DATA / MARKER).exists():
            raise CallHuman(f"{DATA.resolve()} exists and is not from an earlier demo; move it away")
        shutil.rmtree(DATA)
    DATA.mkdir()
    (DATA / MARKER).touch()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The settings of the daemon for this process too, so that it reads from the same store."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
