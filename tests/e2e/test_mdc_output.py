"""Streams written as Azure ML's Model Data Collector writes them: exactly once, and read back as its monitoring reads them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from collectord_client import Client

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.test_kills import WIRE_STREAM, Sender, _kill_often, _kills_met_rows
from tests.e2e.waiting import eventually

NAME = re.compile(r"modelDataCollector/default/wire/inputs/\d{4}/\d\d/\d\d/\d\d/[0-9a-f]{32}\.jsonl")


def as_monitoring_reads(folder: Path, start: datetime, end: datetime) -> pd.DataFrame:
    """The rows of a window by the rules of Azure ML's own preprocessor: all `{PartitionDate:yyyy/MM/dd/HH}/{fileName}.jsonl`
    below a collection's folder whose hour lies in the window, `data` a list of objects, each a row; the correlation id of
    a row is that of its line and its place in there."""
    rows = []
    for path in sorted(folder.glob("**/*.jsonl")):
        hour = datetime.strptime("/".join(path.relative_to(folder).parts[:-1]), "%Y/%m/%d/%H").replace(
            tzinfo=timezone.utc
        )
        if not start.replace(minute=0, second=0, microsecond=0) <= hour <= end:
            continue
        for line in path.read_text().split("\n")[:-1]:
            event = json.loads(line)
            assert isinstance(event["data"], list)
            rows += [row | {"correlationid": f"{event['correlationid']}_{at}"} for at, row in enumerate(event["data"])]
    return pd.DataFrame(rows)


def test_azure_mls_monitoring_reads_the_rows_that_were_collected(make_daemon: MakeDaemon) -> None:
    """Requests of several rows in two hours, of all types that a frame has; inputs and predictions join row by row, and a
    stream that no pattern names stays CSV."""
    daemon = make_daemon(mdc_output="svc/best/inputs,svc/best/pred*").start()
    now = datetime.now(timezone.utc)
    frame = pd.DataFrame(
        {
            "ratio": [0.1, float("nan"), 1e300, -2.0], "count": np.array([1, 2, 3, 2**53 + 1]),
            "text": ['a"b\\c\n', "", None, "Ä漢😀"], "flag": [True, False, True, False],
        }
    )  # fmt: skip
    said: list[tuple[str, datetime, pd.DataFrame]] = []
    with Client("best", "10", "svc", "sub/rg/ws", endpoint=daemon.endpoint, strict=True) as client:
        for number in range(40):
            time = now - timedelta(hours=2 * (number % 2))
            data = frame.iloc[: 1 + number % 4].assign(count=lambda rows, n=number: rows["count"] + n)
            context = client.collect(data, correlation_id=f"id {number}", timestamp=time)
            client.collect(data["count"].to_numpy() * 2.0, "predictions", ["score"], context=context)
            client.collect(np.array([[1.0]]), "labels", ["truth"], context=context)
            said.append((f"id {number}", time, data))
        assert client.flush(30)
    daemon.flush()
    folder = daemon.folder / "store" / "modelDataCollector" / "svc" / "best"
    inputs, predictions = (
        as_monitoring_reads(folder / of, now - timedelta(hours=2), now) for of in ("inputs", "predictions")
    )
    wanted = pd.concat(
        [data.assign(correlationid=[f"{one}_{at}" for at in range(len(data))]) for one, _, data in said],
        ignore_index=True,
    ).sort_values("correlationid", ignore_index=True)
    found = inputs.sort_values("correlationid", ignore_index=True)
    pd.testing.assert_frame_equal(found, wanted[found.columns.tolist()], check_dtype=False)
    joined = inputs.merge(predictions, on="correlationid", validate="one_to_one")
    assert len(joined) == len(wanted)
    assert (joined["score"] == joined["count"] * 2.0).all()
    only = as_monitoring_reads(folder / "inputs", now, now)
    assert {one.split("_")[0] for one in only["correlationid"]} == {one for one, time, _ in said if time == now}
    blobs = landed.directory(daemon.folder / "store")
    assert sorted({name.split("/")[-1].split(".", 1)[1] for name in blobs}) == ["csv.zst", "jsonl"]
    assert [name for name in blobs if "labels" in name] == [name for name in blobs if name.endswith("data.csv.zst")]
    _ask(daemon, said[0][0], blobs)
    assert daemon.terminate() == 0


def _ask(daemon: Any, correlation: str, blobs: dict[str, bytes]) -> None:
    """What the command line says of such a store."""
    store = str(daemon.folder / "store")
    lines = [name for name in blobs if name.endswith(".jsonl")]
    listed = json.loads(daemon.cli("ls", "--store", store, "--json").stdout)
    assert sorted(one["name"] for one in listed if one["codec"] == "jsonl") == sorted(lines)
    (first, *_) = lines
    assert daemon.cli("cat", "--store", store, first).stdout.encode() == blobs[first]
    verified = daemon.cli("verify", "--store", store, "--spool", str(daemon.spool))
    assert verified.returncode == 0, verified.stdout
    assert "svc/best/10/inputs" in verified.stdout
    assert "not compared" not in verified.stdout
    where = json.loads(daemon.cli("where", "--store", store, correlation, "--json").stdout)
    assert [(hit["row"], "score" in json.loads(hit["text"])) for hit in where["landed"] if hit["blob"] in lines] == [
        (1, False), (1, True),
    ]  # fmt: skip


def test_every_acknowledged_row_is_in_its_lines_once_through_kills_and_a_faulty_wire(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """Without header, tag or checksum in the blob: the writer in its name and the conditions on each append are enough."""
    chance = random.Random(11)
    container = new_container()
    with FaultProxy(azurite.port, rate=0.25, seed=11, delay=2.0) as proxy:
        daemon = make_daemon(
            store=f"az://{container}/some/prefix", mdc_output="*/wire/*", impatience=1.0, flush_interval=0.2,
            flush_bytes=65536, env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
        )  # fmt: skip
        sender = Sender(daemon.endpoint, chance)
        _kill_often(daemon, sender, 2, chance, 20)
        daemon.start()
        sender.connect()
        sender.client.wait_acknowledged()
        eventually(lambda: proxy.injected() > 2, "more than two faults happen", 60)
        proxy.rate = 0.05
        daemon.flush(150)
        sender.send()
        sender.client.wait_acknowledged()
        daemon.flush()
        book = daemon.books()[WIRE_STREAM]
        assert (book.received, book.landed, book.in_log) == (sender.rows, sender.rows, 0), book
        sender.client.close()
        proxy.rate = 0.0
        verified = daemon.cli("verify", "--spool", str(daemon.spool))
        assert verified.returncode == 0, verified.stdout
        assert daemon.terminate() == 0
    _kills_met_rows(daemon, 2)
    blobs = landed.container(azurite.connection_string(), container)
    assert blobs
    assert all(NAME.fullmatch(name.removeprefix("some/prefix/")) for name in blobs), sorted(blobs)
    sender.check(landed.rows(blobs))
