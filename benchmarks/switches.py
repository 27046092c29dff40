"""How long a switch takes: `python -m benchmarks.switches [RUNS]`, on a machine where nothing else need be quiet.

Two daemons share a store and look at it as they do by default. A service is switched off and on in turn by `Webservice.update`,
by a recipe, and by the command line, beside one of the daemons; the time is from the call, or the command's start, until a running
client of each daemon has heard of it. Of each switch it is checked that the clients then do as they are told. Each is made right
after the other daemon has looked at the store, so that it has the longest wait before it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from collectord_client import Client
from collectord_client.azureml import Webservice

from benchmarks.daemon import Running, daemon
from collectord.settings import Settings

RUNS = 2
TARGETS = {"own daemon": 1.0, "other daemon": 10.0}
"""Seconds."""
LONGEST = 60.0
SERVICE = "svc"


def update(on: bool) -> None:
    Webservice(None, SERVICE).update(collect_model_data=on)


def capture(on: bool) -> None:
    if on:
        Webservice(None, SERVICE).capture(1_000_000)
    else:
        Webservice(None, SERVICE).stop_capture()


def command(on: bool) -> None:
    words = ["service", "set", SERVICE, f"--collect-model-data={str(on).lower()}"]
    subprocess.run([sys.executable, "-m", "collectord", *words], check=True, stdout=subprocess.DEVNULL)


WAYS: dict[str, Callable[[bool], None]] = {
    "Webservice.update": update,
    "Webservice.capture": capture,
    "collectord service set": command,
}


def client_of(running: Running) -> Client:
    made = Client("m", webservice=SERVICE, endpoint=f"unix:{running.socket}", linger=0.05)
    made.collect([[0.0]])
    assert made.flush(10)
    return made


def measure(switch: Callable[[bool], None], on: bool, clients: list[Client]) -> list[float]:
    """Seconds until each client does as it is told."""
    heard: list[float | None] = [None] * len(clients)
    began = time.perf_counter()
    switch(on)
    while None in heard:
        for at, client in enumerate(clients):
            if heard[at] is None and client.stats()["collecting"] is on:
                heard[at] = time.perf_counter() - began
        assert time.perf_counter() - began < LONGEST, heard
        time.sleep(0.001)
    for client in clients:
        before = client.stats()["acknowledged"]
        client.collect([[1.0]])
        assert client.flush(10)
        assert client.stats()["acknowledged"] - before == on
    return [one for one in heard if one is not None]


def main(runs: int) -> None:
    with daemon() as near:
        # As of a notebook beside it; a daemon takes it for settings of its own, so this comes after its start.
        os.environ["COLLECTORD_SPOOL"] = str(near.folder / "spool")
        with daemon("--store", str(Path(near.folder) / "store")) as far:
            clients = [client_of(near), client_of(far)]
            print(f"| seconds, of {2 * runs} switches | {' | '.join(TARGETS)} |\n|---|" + "---|" * len(TARGETS))
            for name, switch in WAYS.items():
                if switch is capture:
                    measure(update, False, clients)
                found = [
                    measure(partial(switch), on, clients)
                    for _ in range(runs)
                    for on in (switch is capture, switch is not capture)
                ]
                cells = []
                for (_, most), took in zip(TARGETS.items(), zip(*found, strict=True), strict=True):
                    cells.append(
                        f"{statistics.median(took):.3f}, at most {max(took):.3f} ({'met' if max(took) <= most else 'missed'}: {most:g})"
                    )
                print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
            for client in clients:
                client.close()
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "collectord", "service", "set", "--help"], check=True, stdout=subprocess.DEVNULL
    )
    print(f"\nOf the command's time, {time.perf_counter() - began:.3f} is its own start.")
    print(f"The daemons look at the store every {Settings.model_fields['switches_interval'].default:g} s.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
