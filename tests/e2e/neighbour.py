"""A client in order beside those that are not: it sends all the time, notices nothing, and all of its rows land once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import grpc

from tests.e2e import landed, wire
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

MIB = 1 << 20


class Neighbour:
    """Sends ten rows, waits until they are acknowledged, and again, in a thread of its own; a context manager."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.client = wire.WireClient(daemon.endpoint)
        self.schema = wire.schema("neighbour")
        self.rows = 0
        self.waits: list[float] = []
        """Seconds from sending to acknowledgement."""
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Neighbour:
        self.client.connect()
        self.client.declare(self.schema)
        self._connection = self.client.welcome
        self.pid = self.daemon.status()["pid"]
        self.before = peak(self.daemon)
        self._thread.start()
        self.goes_on(3)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.goes_on(3)
        self._stop.set()
        self._thread.join(60)
        self.client.close()

    def goes_on(self, batches: int = 1) -> None:
        """Waits until so many more are acknowledged."""
        target = len(self.waits) + batches
        eventually(lambda: self.failure or len(self.waits) >= target, "the neighbour's rows are acknowledged", 60)
        if self.failure is not None:
            raise self.failure

    def check(self, *, most_mib: int, slowest: float = 15.0, usual: float = 1.0) -> None:
        """After the block: nothing was lost, doubled or late, and the daemon is the same process, of a bounded size."""
        daemon = self.daemon
        assert daemon.running
        assert daemon.status()["pid"] == self.pid
        waits = sorted(self.waits)
        told = (f"{len(waits)} batches acknowledged after {waits[len(waits) // 2] * 1e3:.1f} ms, at most "
                f"{waits[-1] * 1e3:.0f} ms; the daemon had {self.before} and then {peak(daemon)} MiB")  # fmt: skip
        print(told)
        assert waits[-1] < slowest and waits[len(waits) // 2] < usual, told
        assert peak(daemon) < most_mib, told
        daemon.flush()
        found = landed.rows(landed.directory(Path(str(daemon.settings["store"]))), "/neighbour/")
        assert Counter(int(row["n"]) for row in found) == Counter(range(self.rows))
        daemon.books()
        assert "Traceback" not in daemon.said()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.01):
                began = time.monotonic()
                self.client.send(self.schema, range(self.rows, self.rows + 10), time.time_ns())
                self.rows += 10
                eventually(self._answered, "a batch is acknowledged", 60, step=0.001)
                self.waits.append(time.monotonic() - began)
        except (AssertionError, ValueError, grpc.RpcError) as error:
            self.failure = error

    def _answered(self) -> bool:
        client = self.client
        assert client.welcome is self._connection, "the neighbour had to connect again"
        assert client.ended is None, (client.ended, client.detail)
        assert not client.rejected and not client.resumes, (client.rejected, client.resumes)
        return client.acknowledged >= client.sent


def peak(daemon: Daemon) -> int:
    """The most memory that the process has had resident, in MiB."""
    assert daemon.process is not None
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 // MIB
    raise AssertionError("Linux tells VmHWM")
