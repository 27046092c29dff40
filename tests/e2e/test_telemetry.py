"""Telemetry events as lines of JSON: exactly once through kills, and read back by the command line."""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from collectord.cli.main import main
from collectord.kinds import EVENTS
from collectord.model import StreamKind
from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e import wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.test_kills import Sender, _kill_often, _kills_met_rows
from tests.e2e.waiting import eventually
from tests.sent_events import batch_of, schema_of

NAME = re.compile(
    r"_collectord/telemetry/traces/default/default/default/svc/best/1/\d{4}/\d\d/\d\d/\d\d/[0-9a-f]{32}\.jsonl"
)
TRACES = "trace:default/default/default/svc/best/1/traces/default"


class Talker(Sender):
    """Traces instead of rows."""

    def __init__(self, endpoint: str, chance: random.Random) -> None:
        super().__init__(endpoint, chance)
        self.events = schema_of(StreamKind.TRACE, model="best")
        self.schema = self.events.raw
        self.ids: list[str] = []

    def send(self) -> None:
        ids = [str(uuid.uuid4()) for _ in range(self._chance.choice((1, 1, 3, 20)))]
        said = [
            {"message": "STDOUT", "customDimensions": json.dumps({"Contents": {"n": at}})} for at in range(len(ids))
        ]
        self.client.post(batch_of(self.events, said, ids=ids))
        self.ids += ids
        self.rows += len(ids)

    def check_events(self, blobs: dict[str, bytes]) -> None:
        """Every event that was sent is there exactly once."""
        assert blobs
        assert all(NAME.fullmatch(name) for name in blobs), sorted(blobs)
        placed = [(name, json.loads(line)) for name, text in blobs.items() for line in text.splitlines()]
        events = [event for _, event in placed]
        hours = {("{}-{}-{}T{}".format(*name.split("/")[-5:-1]), event["timestamp"][:13]) for name, event in placed}
        assert all(folder == time for folder, time in hours), hours
        found, expected = Counter(event["itemId"] for event in events), Counter(self.ids)
        lost, doubled = expected - found, found - expected
        assert not lost and not doubled, f"{len(lost)} lost, {len(doubled)} doubled of {len(self.ids)}"
        assert all(event["message"] == "STDOUT" and event["customDimensions"]["Contents"]["n"] >= 0 for event in events)


def telemetry_in(store: Path) -> dict[str, bytes]:
    files = (path for path in store.glob("_collectord/telemetry/**/*") if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def telemetry_of(connection_string: str, name: str) -> dict[str, bytes]:
    from azure.storage.blob import ContainerClient

    with ContainerClient.from_connection_string(connection_string, name) as client:
        names = [blob.name for blob in client.list_blobs(name_starts_with="_collectord/telemetry/")]
        return {name: client.download_blob(name).readall() for name in names}


def test_every_acknowledged_event_is_in_a_directory_once_through_kills(make_daemon: MakeDaemon) -> None:
    """And the command line keeps events and rows apart."""
    chance = random.Random(7)
    daemon = make_daemon(flush_interval=0.2, flush_bytes=4096)
    talker = Talker(daemon.endpoint, chance)
    _kill_often(daemon, talker, 2, chance, 20)
    _end(daemon, talker)
    blobs = telemetry_in(daemon.folder / "store")
    talker.check_events(blobs)

    def asked(*words: str) -> Any:
        command = [words[0], "--store", str(daemon.folder / "store"), *words[1:]]
        return CliRunner().invoke(main, command, catch_exceptions=False)

    listed = {words: json.loads(asked("ls", *words, "--json").stdout) for words in ((), ("--telemetry",))}
    assert [one["name"].split("/")[-1] for one in listed[()]] == ["data.csv.zst"]
    assert {(one["codec"], one["name"]) for one in listed["--telemetry",]} == {("telemetry", name) for name in blobs}
    assert asked("cat", "_collectord/telemetry/traces").stdout_bytes == b"".join(blobs[name] for name in sorted(blobs))
    for words, hits in ((("--telemetry",), 1), ((), 0)):
        found = json.loads(asked("where", talker.ids[0], "--days", "2", "--json", *words).stdout)
        assert [json.loads(hit["text"])["itemId"] for hit in found["landed"]] == talker.ids[:1] * hits


def test_every_acknowledged_event_is_in_azure_once_through_kills_and_a_faulty_wire(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """At the root of the container, as all that is not data, whatever the prefix of the store."""
    chance = random.Random(11)
    container = new_container()
    with FaultProxy(azurite.port, rate=0.25, seed=11, delay=2.0) as proxy:
        daemon = make_daemon(
            store=f"az://{container}/some/prefix", impatience=1.0, flush_interval=0.2, flush_bytes=65536,
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
        )  # fmt: skip
        talker = Talker(daemon.endpoint, chance)
        _kill_often(daemon, talker, 2, chance, 20)

        def calm() -> None:
            eventually(lambda: proxy.injected() > 2, "more than two faults happen", 60)
            proxy.rate = 0.0

        _end(daemon, talker, calm)
    talker.check_events(telemetry_of(azurite.connection_string(), container))
    words = ["retention", "--store", f"az://{container}/some/prefix", "--days", "traces=30", "--default", "9"]
    told = CliRunner(env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()}).invoke(main, words)
    definitions = [rule["definition"] for rule in json.loads(told.stdout)["rules"]]
    rows = f"{container}/some/prefix/default/default/default/default/wire/default/inputs/"
    others = [f"{container}/_collectord/telemetry/{kind.table}/" for kind in EVENTS.values() if kind.table != "traces"]
    assert [sorted(one["filters"]["prefixMatch"]) for one in definitions] == [
        sorted([rows, *others]), [f"{container}/_collectord/telemetry/{folder}/" for folder in ("large", "traces")],
    ]  # fmt: skip


def _end(daemon: Any, talker: Talker, calm: Callable[[], None] = lambda: None) -> None:
    """The last start: everything lands, the books agree, and the store is as it should be."""
    daemon.start()
    talker.connect()
    talker.client.wait_acknowledged()
    calm()
    daemon.flush(150)
    talker.send()
    rows = wire.schema()
    talker.client.declare(rows)
    talker.client.send(rows, range(3), time.time_ns())
    talker.client.wait_acknowledged()
    daemon.flush()
    talker.client.close()
    assert not talker.client.rejected
    book = daemon.books()[TRACES]
    assert (book.received, book.landed, book.in_log) == (talker.rows, talker.rows, 0), book
    verified = daemon.cli("verify", "--spool", str(daemon.spool))
    assert verified.returncode == 0, verified.stdout
    assert TRACES in verified.stdout
    assert "not compared" not in verified.stdout
    assert daemon.terminate() == 0
    _kills_met_rows(daemon, daemon.starts - 1)
