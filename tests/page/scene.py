"""A daemon that has seen something: healthy streams, a blocked one, hostile names, telemetry, rejected and dropped rows."""

from __future__ import annotations

import random
import time

from collectord._pb import collector_pb2 as pb
from collectord.kinds import EVENTS
from collectord.model import StreamKind
from tests.e2e import wire
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.sent_events import batch_of, schema_of

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Scene:
    """One client and what it sends. `step` is a second of it."""

    def __init__(self, daemon: Daemon, seed: int = 1) -> None:
        self.daemon = daemon
        self.chance = random.Random(seed)
        self.client = wire.WireClient(daemon.endpoint).connect()
        self.numbers = 0
        self.streams = {
            name: wire.schema(name, designation)
            for name, designation in (
                ("fraud-score", "inputs"),
                ("churn", "predictions"),
                (HOSTILE, "inputs"),
                ("blocked", "inputs"),
            )
        }
        for raw in self.streams.values():
            self.client.declare(raw)
        self.events = {kind: schema_of(kind, webservice="fraud-score", model="", version="") for kind in EVENTS}
        for schema in self.events.values():
            self.client.declare(schema.raw)

    def close(self) -> None:
        self.client.close()

    def send(self, name: str, rows: int, time_ns: int | None = None) -> None:
        """Rows of a stream."""
        numbers = range(self.numbers, self.numbers + rows)
        self.numbers += rows
        self.client.send(self.streams[name], numbers, time_ns or time.time_ns())

    def send_events(self, kind: StreamKind, count: int) -> None:
        """Telemetry events, each with a time and an outcome of its own."""
        self.client.sent += 1
        made = batch_of(self.events[kind], [self._event() for _ in range(count)], self.client.sent)
        self.client.raw(pb.ClientMessage(batch=made).SerializeToString())

    def _event(self) -> dict[str, object]:
        return {"duration": self.chance.lognormvariate(3.5, 0.8), "success": self.chance.random() > 0.03}

    def block(self, name: str) -> None:
        """Something lies where the blob should be, so that the store refuses."""
        self.send(name, 10)
        root = self.daemon.folder / "store"
        (path,) = eventually(
            lambda: [one for one in root.rglob("data.csv.zst") if name in str(one)], "the blob is there"
        )
        eventually(lambda: not self.daemon.status()["waiting"]["rows"], "it has landed")
        path.unlink()
        path.parent.rmdir()
        path.parent.write_text("in the way")
        self.send(name, 25)
        eventually(lambda: [one for one in self.daemon.status()["troubles"] if one["blocked"]], "it is blocked")

    def complain(self) -> None:
        """A client drops rows and sends some that are refused."""
        drop = pb.DropCount(stream=pb.Stream(model="churn", designation="predictions"), reason="outbox_full", rows=120)
        self.client.raw(pb.ClientMessage(dropped=pb.Dropped(counts=[drop])).SerializeToString())
        self.send("churn", 7, time.time_ns() - 90 * 86_400 * 10**9)

    def step(self, wave: float = 1.0) -> None:
        """What comes within a second."""
        self.send("fraud-score", int(400 * wave) + self.chance.randrange(60))
        self.send("churn", 40 + self.chance.randrange(30))
        self.send(HOSTILE, 3)
        self.send_events(StreamKind.REQUEST, int(12 * wave) + self.chance.randrange(6))
        self.send_events(StreamKind.DEPENDENCY, int(9 * wave) + self.chance.randrange(4))
        self.send_events(StreamKind.TRACE, 5 + self.chance.randrange(5))
        if self.chance.random() < 0.2:
            self.send_events(StreamKind.EXCEPTION, 1)
