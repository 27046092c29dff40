"""What collecting costs a scoring request: Azure ML's two SDKs from the registry beside ours, in one run.

Run by `make bench-azureml`, in an environment of its own. A request is N x 10 inputs and N predictions in one dimension. What each
of them passes on is checked before anything is timed.

- v1: `azureml-monitoring` 0.1.0a21. Its native library loads on no current image, so the calls into it do nothing here:
  what is measured is its Python part, and the true cost is higher. Predictions as its documentation collects them, which
  become one row without ids; and `joined`, with `add_correlations`, which is what it takes to get a row each with ids.
- v2: `azureml-ai-monitoring` 1.0.0, which takes pandas frames only. It is given frames that are ready.
- ours: `ModelDataCollector` of collectord-client, for arrays as v1 and for frames as v2.
- a copy: numpy's, of inputs and predictions, which is the least that any collector must do in the request.

With `--samples FILE` every round's seconds are written there, by contestant and rows, as JSON.

"a request" is the median time of the calls of one request. "mean" has the first of each round in it, which comes after others'
rounds and a pause and finds neither code nor data in the processor's caches. "CPU" is that of the whole process until everything has
been sent: v2 makes its JSON in another thread, under the same lock as the model.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.azureml.receiver import Mdc, serve_mdc
from tests.client.fakedaemon import FakeDaemon

NAMES = [f"feat{n}" for n in range(1, 11)]
REQUESTS = {1: 400, 100: 100, 1000: 20}
"""How many requests of so many rows make a round."""
ROUNDS = 9
OURS = {"v1": "ours", "v1 joined": "ours", "v2": "ours, frames"}
"""Whom each is compared with."""


@dataclass
class Contestant:
    """One way to collect. `settle` returns when everything has been sent."""

    name: str
    collect: Callable[[Any, Any], object]
    settle: Callable[[], object]
    frames: bool = False
    wall: dict[int, list[float]] = field(default_factory=dict)
    """Seconds per request, a mean for each round."""
    cpu: dict[int, list[float]] = field(default_factory=dict)
    """The same of CPU."""
    requests: dict[int, list[float]] = field(default_factory=dict)
    """Seconds that each request took, of all rounds."""


def batch(rows: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(rows)
    return generator.random((rows, 10)), generator.random(rows)


# ------------------------------------------------------------------ v1


class Native:
    """In place of v1's native library: it has written everything, at once."""

    def __init__(self, kept: list[bytes] | None) -> None:
        self.kept = kept

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if self.kept is not None and name in ("WriteBinary", "WriteBinaryBasic"):
                self.kept.append(arguments[1])
            return 1

        setattr(self, name, call)
        return call


def v1(kept: list[bytes] | None) -> tuple[Any, Any]:
    from azureml.monitoring import ModelDataCollector

    assert ModelDataCollector.__module__ == "azureml.monitoring.modeldatacollector"
    assert hasattr(ModelDataCollector, "_convert_numpy_to_csv_buffer"), "it is Microsoft's, not ours"
    ModelDataCollector._lib = Native(kept)
    return ModelDataCollector("m", "inputs", NAMES), ModelDataCollector("m", "predictions", ["p"])


def check_v1() -> None:
    """Inputs have their ids; predictions are one row, unless they are joined by hand."""
    kept: list[bytes] = []
    inputs, predictions = v1(kept)
    data, said = batch(3)
    told = inputs.collect(data)
    predictions.collect(said)
    predictions.collect(predictions.add_correlations(said.reshape(-1, 1), told))
    rows = [list(csv.reader(io.StringIO(buffer.decode()))) for buffer in kept]
    assert [[float(cell) for cell in row[:10]] for row in rows[0]] == data.tolist()
    assert [[float(cell) for cell in row] for row in rows[1]] == [said.tolist()]
    assert [float(row[0]) for [row] in rows[2:]] == said.tolist()
    id = told["$aml_dc_correlation_id"]
    assert {row[10] for row in rows[0]} == {row[1] for [row] in rows[2:]} == {id}


def contestants_v1() -> list[Contestant]:
    inputs, predictions = v1(None)

    def documented(data: Any, said: Any) -> None:
        inputs.collect(data)
        predictions.collect(said)

    inputs_too, predictions_too = v1(None)

    def joined(data: Any, said: Any) -> None:
        told = inputs_too.collect(data)
        predictions_too.collect(predictions_too.add_correlations(said.reshape(-1, 1), told))

    return [Contestant("v1", documented, lambda: None), Contestant("v1 joined", joined, lambda: None)]


# ------------------------------------------------------------------ v2


def v2(port: int) -> Contestant:
    os.environ |= {"AZUREML_MDC_ENABLED": "true", "AZUREML_MDC_HOST": "127.0.0.1", "AZUREML_MDC_PORT": str(port)}
    from azureml.ai.monitoring import Collector
    from azureml.ai.monitoring.init import init, teardown

    teardown(wait_for_flush=True)
    init("default")
    inputs, outputs = Collector(name="inputs"), Collector(name="predictions")

    def collect(data: Any, said: Any) -> None:
        outputs.collect(said, inputs.collect(data))

    def settle() -> None:
        # The worker has no other end: what it has taken from the queue is sent when it has stopped.
        teardown(wait_for_flush=True)
        init("default")

    return Contestant("v2", collect, settle, frames=True)


def check_v2() -> None:
    """Bodies of JSON, to ten decimals."""

    class Keeping(Mdc):
        bodies: list[tuple[str, bytes]] = []  # noqa: RUF012

    server = serve_mdc(Keeping)
    one = v2(server.server_port)
    data, said = batch(3)
    one.collect(pd.DataFrame(data, columns=NAMES), pd.DataFrame({"p": said}))
    one.settle()
    server.shutdown()
    got = {kind.rpartition(".")[2]: pd.DataFrame(json.loads(body)).to_numpy() for kind, body in Keeping.bodies}
    assert np.allclose(got["inputs"], data, atol=1e-9)
    assert np.allclose(got["predictions"][:, 0], said, atol=1e-9)


# ------------------------------------------------------------------ ours


def ours(endpoint: str) -> list[Contestant]:
    os.environ["COLLECTORD_ENDPOINT"] = endpoint
    from collectord_client.azureml import ModelDataCollector

    inputs, predictions = ModelDataCollector("m", "inputs", NAMES), ModelDataCollector("m", "predictions", ["p"])

    def collect(data: Any, said: Any) -> None:
        inputs.collect(data)
        predictions.collect(said)

    def settle() -> None:
        assert predictions.flush(30)
        assert predictions.stats()["dropped"] == {}
        assert predictions.stats()["notes"] == {}

    return [Contestant("ours", collect, settle), Contestant("ours, frames", collect, settle, frames=True)]


def check_ours(folder: Path) -> None:
    """Every row to the last bit, predictions under the ids of their inputs."""
    daemon = FakeDaemon(f"unix:{folder}/check.sock")
    array, frames = ours(daemon.endpoint)
    data, said = batch(3)
    array.collect(data, said)
    frames.collect(pd.DataFrame(data, columns=NAMES), pd.DataFrame({"p": said}))
    array.settle()
    rows = {name: [row for row in daemon.rows if row.designation == name] for name in ("inputs", "predictions")}
    assert [row.values for row in rows["inputs"]] == [tuple(row) for row in data.tolist()] * 2
    assert [row.values for row in rows["predictions"]] == [(value,) for value in said.tolist()] * 2
    keys = [[(row.correlation, row.row, row.time_ns) for row in some] for some in rows.values()]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 6
    from collectord_client.azureml import collector

    for client in collector._clients.values():
        client.close()
    collector._clients.clear()
    daemon.stop()


# ------------------------------------------------------------------ the least


def copying() -> Contestant:
    """Copies into memory that is there already, checked here."""
    kept = batch(max(REQUESTS))

    def collect(data: Any, said: Any) -> None:
        np.copyto(kept[0][: len(data)], data)
        np.copyto(kept[1][: len(said)], said)

    data, said = batch(3)
    collect(data, said)
    assert (kept[0][:3] == data).all()
    assert (kept[1][:3] == said).all()
    return Contestant("a copy", collect, lambda: None)


# ------------------------------------------------------------------ the run


@contextmanager
def receiving(folder: Path) -> Iterator[tuple[str, int]]:
    """The endpoints of a receiver for ours and for v2."""
    endpoint = f"unix:{folder}/d.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.azureml.receiver", endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield endpoint, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def measure(contestants: list[Contestant], rows: int, arrays: Any, frames: Any) -> None:
    """One round: each of them scores the same requests, beginning with another one each time."""
    for one in contestants:
        data, said = frames if one.frames else arrays
        count = REQUESTS[rows]
        took = []
        cpu = time.process_time()
        for _ in range(count):
            began = time.perf_counter()
            one.collect(data, said)
            took.append(time.perf_counter() - began)
        one.settle()
        one.requests.setdefault(rows, []).extend(took)
        one.wall.setdefault(rows, []).append(statistics.mean(took))
        one.cpu.setdefault(rows, []).append((time.process_time() - cpu) / count)


def report(contestants: list[Contestant], rounds: int) -> None:
    from collectord_client import __version__

    by_name = {one.name: one for one in contestants}
    print(f"Python {platform.python_version()}, collectord-client {__version__}")
    print(f"\nmicroseconds; means and CPU are medians of {rounds} rounds, and so is how many of ours one of theirs is")
    print(f"{'rows':>5}  {'':14}{'a request':>11}{'mean':>11}{'CPU':>11}   {'against ours: mean':>21}{'CPU':>7}")
    for rows in REQUESTS:
        for one in contestants:
            middle = [statistics.median(times[rows]) * 1e6 for times in (one.requests, one.wall, one.cpu)]
            line = f"{rows:>5}  {one.name:14}" + "".join(f"{each:>11,.1f}" for each in middle)
            if one.name in OURS:
                other = by_name[OURS[one.name]]
                ratios = [
                    statistics.median(a / b for a, b in zip(mine[rows], theirs[rows], strict=True))
                    for mine, theirs in ((one.wall, other.wall), (one.cpu, other.cpu))
                ]
                line += f"   {ratios[0]:>20,.1f}x{ratios[1]:>6,.1f}x"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--samples", type=Path, help="where to write what each round took")
    given = parser.parse_args()
    os.environ["AML_MODEL_DC_STORAGE_ENABLED"] = "true"
    # v2 tells of its life on stdout.
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="cd-") as name:
        folder = Path(name)
        check_v1()
        check_v2()
        check_ours(folder)
        print("output checked")
        with receiving(folder) as (endpoint, port):
            contestants = [*contestants_v1(), v2(port), *ours(endpoint), copying()]
            for rows in REQUESTS:
                data, said = batch(rows)
                frames = pd.DataFrame(data, columns=NAMES), pd.DataFrame({"p": said})
                for number in range(given.rounds + 1):
                    turned = contestants[number % len(contestants) :] + contestants[: number % len(contestants)]
                    measure(turned, rows, (data, said), frames)
                for one in contestants:
                    # The first round warms up.
                    del one.wall[rows][0], one.cpu[rows][0], one.requests[rows][: REQUESTS[rows]]
            report(contestants, given.rounds)
        if given.samples is not None:
            samples = {one.name: {"wall": one.wall, "cpu": one.cpu} for one in contestants}
            given.samples.write_text(json.dumps(samples))


if __name__ == "__main__":
    main()
