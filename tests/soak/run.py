"""Real daemons that share blobs, killed again and again, before a blob service whose wire fails: an account in the end.

    python -m tests.soak.run --writers 4 --appends 10000 --faults 5000

Half as many daemons again share a directory, killed alike. The exit status is 1 on any row lost or doubled, any part
without exactly one header, any row out of its client's order, and if too little happened to prove anything.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collectord.testing.azurite import Azurite, running
from collectord.testing.child import bound
from collectord.testing.proxy import FAULTS
from tests.e2e import landed
from tests.e2e.process import ROOT, Daemon, collectord, environment
from tests.soak.account import SHOWN, Account, settle
from tests.soak.load import Load

OFTEN = 4
RARE = (
    "applied_busy", "applied_condition", "applied_forbidden", "timed_out", "bad_gateway", "not_found", "being_deleted",
    "no_container", "position", "leased", "forbidden", "immutable", "sealed", "block_limit",
)  # fmt: skip
"""Drawn once where each of `FAULTS` is drawn `OFTEN` times: most of these make the daemon wait for seconds."""
READ_TIMEOUT = 0.6
DELAY = 1.2
CONTAINER = "soak"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.soak.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of load at least")
    parser.add_argument("--appends", type=int, default=10_000, help="frames landed in the container, at least")
    parser.add_argument("--faults", type=int, default=5_000, help="faults on the wire to it, at least")
    parser.add_argument("--writers", type=int, default=4, help="daemons on the container")
    parser.add_argument("--directory-writers", type=int, help="daemons on a directory (half of --writers)")
    parser.add_argument("--rate", type=float, default=0.3, help="share of requests that meet a fault")
    parser.add_argument("--kill-every", type=float, default=30.0, help="seconds between two kills of a daemon, about")
    parser.add_argument("--pace", type=float, default=0.03, help="seconds between two batches of a client")
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds of load after which it is given up")
    parser.add_argument("--seed", type=int, help="of everything; drawn and printed if not given")
    made = parser.parse_args(given)
    if made.seed is None:
        made.seed = random.SystemRandom().randrange(1 << 31)
    if made.directory_writers is None:
        made.directory_writers = made.writers // 2
    return made


class Wire:
    """The faulty proxy as a process of its own, so that it does not share our interpreter's lock."""

    def __init__(self, azurite: Azurite, rate: float, seed: int) -> None:
        faults = [*list(FAULTS) * OFTEN, *RARE]
        command = [
            sys.executable, "-m", "collectord.testing.proxy", "--upstream", azurite.url, "--rate", str(rate),
            "--seed", str(seed), "--delay", str(DELAY), "--faults", ",".join(faults),
        ]  # fmt: skip
        self._process = subprocess.Popen(bound(command), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(json.loads(self._process.stdout.readline())["port"])

    def counts(self) -> dict[str, int]:
        return self._ask("GET", "/_faults")

    def heal(self) -> None:
        self._ask("PUT", "/_faults?rate=0")

    def close(self) -> dict[str, int]:
        """What it injected in all; whatever it held back has arrived."""
        self._process.terminate()
        said, _ = self._process.communicate(timeout=60)
        counts: dict[str, int] = json.loads(said.splitlines()[-1])["counts"]
        return counts

    def _ask(self, method: str, path: str) -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path)
            counts: dict[str, int] = json.loads(connection.getresponse().read())["counts"]
            return counts
        finally:
            connection.close()


def injected(counts: Mapping[str, int]) -> int:
    return sum(count for name, count in counts.items() if name != "requests")


@contextmanager
def emulator(given: Azurite | None) -> Iterator[Azurite]:
    if given is not None:
        yield given
        return
    with running(ROOT, in_memory=False) as started:
        yield started


def soak(chosen: argparse.Namespace, azurite: Azurite | None = None) -> tuple[Account, list[str]]:
    """Runs it. Returns the account, and all that is wrong; prints on the way."""
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cd-soak-") as name, emulator(azurite) as service:
        return _soak(chosen, service, Path(name))


def _soak(chosen: argparse.Namespace, azurite: Azurite, folder: Path) -> tuple[Account, list[str]]:
    container = f"{CONTAINER}{os.getpid()}x{chosen.seed}"
    wire = Wire(azurite, chosen.rate, chosen.seed)
    stop, healed = threading.Event(), threading.Event()
    connection = {"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(wire.port)}
    loads = []
    for number in range(chosen.writers + chosen.directory_writers):
        place = folder / f"d{number}"
        place.mkdir()
        settings: dict[str, Any] = {"store": folder / "store", "flush_interval": 0.5}
        if number < chosen.writers:
            settings = {
                "store": f"az://{container}", "env": connection, "impatience": READ_TIMEOUT, "flush_interval": 0.1,
            }  # fmt: skip
        loads.append(
            Load(
                number, Daemon(place, flush_bytes=4096, **settings), stop, healed,
                seed=chosen.seed, pace=chosen.pace, kill_every=chosen.kill_every,
            )
        )  # fmt: skip
    began = time.monotonic()
    for load in loads:
        load.start()
    try:
        _watch(chosen, loads, wire, stop, began)
    finally:
        stop.set()
        wire.heal()
        healed.set()
        for load in loads:
            load.join()
        counts = wire.close()
    wall = time.monotonic() - began
    wrong = [f"daemon {load.number}: {type(load.error).__name__}: {load.error}" for load in loads if load.error]
    if wrong:
        # Without every daemon's own account there is nothing to compare with.
        return Account(), wrong
    sent = {key: rows for load in loads for key, rows in load.sent.items()}
    blobs = landed.container(azurite.connection_string(), container)
    blobs |= {f"directory/{name}": data for name, data in landed.directory(folder / "store").items()}
    account = settle(sent, blobs)
    remote = [load for load in loads if load.number < chosen.writers]
    local = [load for load in loads if load.number >= chosen.writers]
    appends, faults, kills = sum(map(Load.appends, remote)), injected(counts), sum(load.kills for load in loads)
    print(f"\n{wall:.0f} s, seed {chosen.seed}")
    print(
        f"appends {appends} by {len(remote)} daemons on one container, "
        f"{sum(map(Load.appends, local))} by {len(local)} on one directory"
    )
    print(f"requests on the wire {counts['requests']}, faults {faults}: {_kinds(counts)}")
    print(
        f"kills {kills}; batches {sum(load.batches for load in loads)}, sent again {sum(load.resent for load in loads)}"
    )
    for line in account.lines():
        print(line)
    wrong += account.violations[:SHOWN]
    wrong += _verified(azurite, container, folder)
    for what, happened, wanted in (
        ("appends", appends, chosen.appends), ("faults", faults, chosen.faults), ("kills", kills, 1)
    ):  # fmt: skip
        if happened < wanted:
            wrong.append(f"only {happened} {what}; {wanted} would prove something")
    missing = sorted({*FAULTS, *RARE} - set(counts))
    if missing and chosen.faults >= 1000:
        wrong.append(f"faults that never fired: {missing}")
    return account, wrong


def _watch(chosen: argparse.Namespace, loads: list[Load], wire: Wire, stop: threading.Event, began: float) -> None:
    """Prints how far it is, until enough has happened."""
    while not stop.wait(min(10.0, chosen.seconds)):
        seconds = time.monotonic() - began
        appends = sum(load.appends() for load in loads if load.number < chosen.writers)
        faults = injected(wire.counts())
        print(
            f"{seconds:6.0f} s  appends {appends}/{chosen.appends}  faults {faults}/{chosen.faults}  "
            f"kills {sum(load.kills for load in loads)}  batches acknowledged {sum(map(Load.acknowledged, loads))}",
            flush=True,
        )
        killed = all(load.kills for load in loads)
        if seconds >= chosen.seconds and appends >= chosen.appends and faults >= chosen.faults and killed:
            return
        if seconds > chosen.limit:
            return


def _verified(azurite: Azurite, container: str, folder: Path) -> list[str]:
    """What `collectord verify` finds in the two stores: nothing."""
    wrong = []
    env = environment({"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()})
    for store in (f"az://{container}", str(folder / "store")):
        if store.startswith("az://") or (folder / "store").exists():
            ran = collectord("verify", "--store", store, env=env, cwd=folder, timeout=600)
            print(f"collectord verify: {(ran.stdout.strip().splitlines() or [''])[-1]}")
            if ran.returncode:
                wrong.append(f"collectord verify {store}: {(ran.stdout + ran.stderr)[-600:]}")
    return wrong


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if name != "requests")


def main(given: Sequence[str] | None = None) -> int:
    _, wrong = soak(arguments(given))
    for line in wrong:
        print(f"VIOLATION: {line}")
    print("the soak failed" if wrong else "all is well", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
