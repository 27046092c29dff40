"""Streams that are written as lines of JSON: cut anywhere, changed any time, their ledger lost, every row lands once."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from collectord._pb import collector_pb2 as pb
from collectord.model import Entry, EntryKind, Partition, Schema
from collectord.schema import parse_schema
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import CONTROL_PREFIX, Unknown
from tests.pipeline.node import HOUR, NOON, Client, Node, find

ALL = ("*/*/*",)
FOLDER = "modelDataCollector/svc/m/inputs/2023/11/14/12"


def schema(column: str = "x", kind: int = pb.COLUMN_TYPE_INT64, version: str = "1") -> Schema:
    message = pb.Schema(
        stream=pb.Stream(webservice="svc", model="m", version=version, designation="inputs"),
        columns=[pb.Column(name=column, type=kind)],
        layout=pb.LAYOUT_COLUMNS if kind == pb.COLUMN_TYPE_STRING else pb.LAYOUT_TENSOR,
        correlation=pb.ID_LAYOUT_UUID,
    )
    return parse_schema(message.SerializeToString())


class Counting(Client):
    """The values count up from 0."""

    rows = 0

    def batch(self, *requests: int, time_ns: int = NOON, minutes: int = 60, texts: Sequence[str] = ()) -> Entry:
        """One batch of requests of so many rows."""
        self.sequence += 1
        rows = sum(requests)
        message = pb.Batch(
            sequence=self.sequence,
            schema_id=self.schema.id,
            rows=rows,
            requests=pb.Requests(
                times=np.full(len(requests), time_ns).tobytes(),
                correlation_ids=b"".join(uuid.uuid4().bytes for _ in requests),
                row_counts=np.array(requests, np.uint32).tobytes(),
            ),
        )
        if texts:
            data = "".join(texts).encode()
            message.columns.add(data=data, offsets=np.cumsum([0, *map(len, texts)]).astype(np.int32).tobytes())
        else:
            message.tensor = np.arange(self.rows, self.rows + rows).tobytes()
        self.rows += rows
        partition = Partition.of(self.schema.id, time_ns, minutes)
        return Entry(EntryKind.BATCH, self.id, self.sequence, rows, message.SerializeToString(), self.schema, partition)


def blobs(store: MemoryStore) -> dict[str, bytes]:
    return {name: bytes(blob.content) for name, blob in store.blobs.items() if not name.startswith(CONTROL_PREFIX)}


def events(store: MemoryStore) -> list[dict[str, Any]]:
    return [json.loads(line) for text in blobs(store).values() for line in text.splitlines()]


def values(store: MemoryStore, column: str = "x") -> list[Any]:
    return [row[column] for event in events(store) for row in event["data"]]


def test_a_request_in_two_frames_is_two_lines_that_say_which_rows_they_have(
    node: Callable[..., Node], store: MemoryStore
) -> None:
    """One entry of the log, cut where a frame is full; nothing of it is lost or twice, and the pieces fit."""
    daemon, client = node(mdc=ALL, flush_bytes=65536), Counting(schema())
    daemon.append(client.batch(5, 50_000, 1))
    assert daemon.pipeline.flush(20)
    (name,) = blobs(store)
    assert name.rpartition("/")[0] == FOLDER
    assert name.rpartition("/")[2] == f"{daemon.ledger.writer_id.hex()}.jsonl"
    assert values(store) == list(range(client.rows))
    found = events(store)
    assert len({event["id"].rpartition("-")[0] for event in found}) > 1, "one frame had it all"
    assert len({event["correlationid"] for event in found}) == 3
    large = [event["contentrange"] for event in found if len(event["data"]) > 5]
    edges = [tuple(map(int, text.removeprefix("rows ").removesuffix("/*").split("-"))) for text in large]
    assert edges[0][0] == 0
    assert edges[-1][1] == 49_999
    assert all(before[1] + 1 == behind[0] for before, behind in pairwise(edges))
    assert daemon.balanced()


def test_schemas_and_versions_of_a_deployment_share_a_file(node: Callable[..., Node], store: MemoryStore) -> None:
    """Each row names its columns, and each line its version; there is no header that could differ."""
    daemon = node(mdc=ALL)
    clients = [Counting(schema()), Counting(schema("y")), Counting(schema(version="2"))]
    for client in clients:
        daemon.append(client.batch(3, 2))
    assert daemon.pipeline.flush(20)
    assert len(blobs(store)) == 1
    assert Counter((event["modelversion"], *event["data"][0]) for event in events(store)) == {
        ("1", "x"): 2, ("1", "y"): 2, ("2", "x"): 2,
    }  # fmt: skip
    assert not [name for name in store.blobs if "schemas" in name]


def test_each_hour_has_its_folder(node: Callable[..., Node], store: MemoryStore) -> None:
    daemon, client = node(mdc=ALL), Counting(schema())
    for hour in (-1, 0, 3):
        daemon.append(client.batch(1, time_ns=NOON + hour * HOUR))
    assert daemon.pipeline.flush(20)
    assert [name.split("/")[-2] for name in sorted(blobs(store))] == ["11", "12", "15"]


@pytest.mark.parametrize(
    ("before", "after", "minutes", "folder", "suffix"),
    [
        ((), ALL, 1440, "inputs/2023/11/14/data", ".csv.zst"),
        ((), ALL, 60, FOLDER, ".jsonl"),
        (ALL, (), 60, "inputs/2023/11/14/12/data", ".csv.zst"),
        (ALL, ("other/*/*",), 60, "inputs/2023/11/14/12/data", ".csv.zst"),
    ],
)
def test_rows_that_wait_when_their_streams_output_changes_land_once(
    node: Callable[..., Node], store: MemoryStore, before: Sequence[str], after: Sequence[str], minutes: int, folder: str, suffix: str
) -> None:  # fmt: skip
    """Those of a whole day stay CSV, since their hours are not known any more."""
    first, client = node(mdc=before), Counting(schema())
    first.append(client.batch(2, 3, minutes=minutes))
    first.stop()
    second = node(mdc=after)
    assert second.pipeline.flush(20)
    (name,) = blobs(store)
    assert folder in name
    assert name.endswith(suffix)
    assert second.balanced()
    assert second.pipeline.overview.books()[0].landed == 5


def test_a_frame_whose_answer_was_lost_is_settled_after_the_output_has_changed(
    node: Callable[..., Node], store: MemoryStore
) -> None:
    """It was written down with its blob's name; it is not made again as CSV."""
    first, client = node(mdc=ALL), Counting(schema())
    store.plan("append", Fault(Unknown("the answer was lost"), "after"), *[Fault(Unknown("again"))] * 50)
    first.append(client.batch(4))
    while not store.fired:
        assert not first.pipeline.flush(0.2)
    first.stop()
    store.heal()
    second = node()
    assert second.pipeline.flush(20)
    (name,) = blobs(store)
    assert name.startswith(FOLDER)
    assert values(store) == [0, 1, 2, 3]
    assert second.balanced()


def test_a_row_too_large_as_json_is_set_aside_and_holds_nothing_up(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CSV it would fit, so ingest has acknowledged it; it stays in quarantine, counted, and the others land."""
    monkeypatch.setattr("collectord.pipeline.poison.TRIES", 1)
    daemon, client = node(mdc=ALL), Counting(schema("t", pb.COLUMN_TYPE_STRING))
    daemon.append(client.batch(1, 1, texts=["before", "a"]))
    daemon.append(client.batch(1, texts=["\x01" * 800_000]))
    daemon.append(client.batch(1, texts=["behind"]))
    assert daemon.pipeline.flush(15), daemon.pipeline.last_error
    assert sorted(values(store, "t")) == ["a", "before", "behind"]
    (book,) = daemon.pipeline.overview.books()
    assert (book.landed, book.quarantined) == (3, 1)
    assert daemon.balanced()


def test_what_landed_is_found_again_however_it_was_cut(node: Callable[..., Node], store: MemoryStore) -> None:
    """Requests that fill several lines, cut by a frame in the middle: other lines than a search would write itself."""
    daemon, client = node(mdc=ALL, flush_bytes=65536), Counting(schema())
    daemon.append(client.batch(3, 30_000, 2))
    assert daemon.pipeline.flush(20)
    daemon.append(client.batch(10))
    daemon.lose_ledger()
    again = node(mdc=ALL)
    assert "ledger rebuild" in again.pipeline.dispatch.held
    (found,) = find(again, store)
    assert (found.rows, found.landed, found.again, found.given_up, found.notes) == (30_015, 30_005, 0, 0, ())
    again.pipeline.rebuild([found])
    assert again.pipeline.flush(20)
    assert values(store) == list(range(client.rows))
    assert len(blobs(store)) == 2, "the writer is another one, and so is its file"
    assert again.balanced()


def test_a_damaged_line_hides_its_own_rows_only(node: Callable[..., Node], store: MemoryStore) -> None:
    daemon, client = node(mdc=ALL), Counting(schema())
    daemon.append(client.batch(1, 1, 1))
    assert daemon.pipeline.flush(20)
    daemon.lose_ledger()
    again = node(mdc=ALL)
    (blob,) = (blob for name, blob in store.blobs.items() if not name.startswith(CONTROL_PREFIX))
    blob.content[blob.content.index(b"\n") + 30] ^= 0xFF
    (found,) = find(again, store)
    assert (found.landed, found.again) == (1, 1)
    assert "lines that are damaged" in found.notes[0]
