"""`collectord where`: what the quarantine of a spool holds, what was looked at, and why an id may be nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.books import StreamBooks
from collectord.encode.frame import FrameEncoder
from collectord.model import FrameIds, FrameTag, IdLayout, Lsn, Partition
from collectord.quarantine import HeldEntry, Item, path_of
from collectord.reader import find as module
from collectord.reader.find import Found, find
from collectord.reader.verify import OUR_COLUMNS
from collectord.testing.store import MemoryStore, StoredBlob

ITEM = b"i" * 16
DAY = date(2026, 11, 21)


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    """One item, whose payload holds the id `order-4711`."""
    entry = HeldEntry(Lsn(1), b"c" * 16, 1, 0, 3, True, b"...order-4711...")
    item = Item(ITEM, "stream", Partition(b"s" * 16, 0, 1440), b"", "unencodable", "a detail", 0, (entry,))
    path_of(tmp_path, ITEM).write_bytes(item.pack())
    return tmp_path


def test_what_is_in_quarantine_is_found_with_its_reason(quarantine: Path) -> None:
    """Item, rows and reason, for people and for scripts; it counts as found."""
    found = find(MemoryStore(), "order-4711", None, None, "", None, quarantine)
    assert found
    assert any(
        line == f"in quarantine: stream, item {ITEM.hex()} of 3 rows: unencodable" for line in found.lines(False)
    )
    (held,) = json.loads(found.as_json())["quarantined"]
    assert held == {"stream": "stream", "item": ITEM.hex(), "reason": "unencodable", "rows": 3}


def test_another_id_is_not_there(quarantine: Path) -> None:
    found = find(MemoryStore(), "order-4712", None, None, "", None, quarantine)
    assert not found
    lines = list(found.lines(False))
    assert lines[0].startswith("not known: order-4712 is not in 0 blobs of ")
    assert "no daemon was asked" in lines[-1]


def test_an_item_that_is_damaged_is_named_and_the_rest_is_searched(quarantine: Path) -> None:
    path_of(quarantine, b"d" * 16).write_bytes(b"no item at all")
    found = find(MemoryStore(), "order-4711", None, None, "", None, quarantine)
    assert len(found.held) == 1
    assert any((b"d" * 16).hex() in note for note in found.notes)


# ---------------------------------------------------------------- what was looked at


def test_the_answer_says_how_much_was_read_and_passed_over() -> None:
    """For people and for scripts, found or not."""
    encoder = FrameEncoder("zstd")
    text = b"1,order-1,2026-11-21T03:04:05.000006,1440,w,s,m,1,r,0\n"
    content = encoder.header_frame(b"a," + OUR_COLUMNS + b"\n")
    for bits in (b"\xff" * 8, bytes(8)):
        content += encoder.data_frame(text, FrameTag(bytes(16), 1, 1), FrameIds(IdLayout.TEXT, 1, 0, bits))
    store = MemoryStore()
    store.blobs["m/2026/11/21/a.csv.zst"] = StoredBlob(bytearray(content))
    store.blobs["m/2026/11/21/b.csv"] = StoredBlob(bytearray(b"a," + OUR_COLUMNS + b"\n" + text))
    size = len(content) + len(store.blobs["m/2026/11/21/b.csv"].content)
    found = find(store, "order-1", DAY, None, "", None)
    assert [(hit.blob, hit.row) for hit in found.hits] == [("m/2026/11/21/a.csv.zst", 1), ("m/2026/11/21/b.csv", 1)]
    assert list(found.lines(False))[-1] == (
        f"searched 2 blobs of 2026-11-21 to 2026-11-21, {size:,} bytes "
        f"({size:,} bytes read, 1 of 2 frames passed over by their index)"
    )
    assert json.loads(found.as_json())["searched"] == {
        "days": ["2026-11-21"], "blobs": 2, "bytes": size, "bytes_read": size, "frames": 2, "frames_passed": 1
    }  # fmt: skip


# ---------------------------------------------------------------- why it is nowhere

V7 = "019a9f3e-7c1b-7000-8000-000000000001"
CLEAN = "default/default/default/default/clean/1/inputs/default"
POOR = "default/default/default/default/poor/1/inputs/default"


class Daemon:
    """What `find` asks of a daemon."""

    books: list[StreamBooks]

    def __init__(self, socket: Path) -> None:
        assert socket == Path("socket")

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def where(self, needles: Iterable[bytes]) -> pb.WhereResponse:
        return pb.WhereResponse(complete=True)

    def ledger(self) -> list[StreamBooks]:
        return self.books

    def status(self) -> dict[str, Any]:
        return {"layout": "documented", "node": "n", "writer": "w" * 32}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> type[Daemon]:
    """One that knows a stream with losses of every kind, and one without."""
    Daemon.books = [
        StreamBooks(stream=CLEAN, received=9, landed=9),
        StreamBooks(
            stream=POOR, quarantined=7, expired=1, dropped_from_quarantine=2, rejected={"no_rows": 3, "malformed": 4000},
            dropped_by_clients={"outbox_full": 5},
        ),
    ]  # fmt: skip
    monkeypatch.setattr(module, "ControlClient", Daemon)
    return Daemon


def ask(wanted: str = "order-1", stream: str = "", quarantine: Path | None = None, prefix: str = "") -> Found:
    return find(MemoryStore(), wanted, None, None, stream, Path("socket"), quarantine, prefix)


def test_what_never_landed_is_said_by_stream_and_reason(daemon: type[Daemon]) -> None:
    """Streams of which all has landed are not named."""
    found = ask()
    lines = list(found.lines(False))
    assert lines[0].startswith("not known: order-1 is not in 0 blobs")
    assert lines[2:] == [
        "what never landed, by the daemon's books, in rows of any id since its spool was made:",
        f"  {POOR}: rejected 4,000 (malformed), 3 (no_rows); dropped by clients 5 (outbox_full); lost 7; expired 1; "
        "dropped from quarantine 2",
    ]
    (one,) = json.loads(found.as_json())["never_landed"]
    assert one == {
        "stream": POOR, "rejected": {"no_rows": 3, "malformed": 4000}, "dropped_by_clients": {"outbox_full": 5},
        "lost": 7, "expired": 1, "dropped_from_quarantine": 2,
    }  # fmt: skip


@pytest.mark.parametrize("stream", ["", "somewhere/else"])
def test_rows_of_which_nobody_knows_the_stream_may_be_anybodys(daemon: type[Daemon], stream: str) -> None:
    """As of a schema that is one too many: their books have no name, and are no reason to find nothing."""
    daemon.books = [StreamBooks(stream="", rejected={"too_many_schemas": 500})]
    assert list(ask(stream=stream).lines(False))[-1] == "  (stream unknown): rejected 500 (too_many_schemas)"


def test_rows_in_quarantine_are_not_called_lost(daemon: type[Daemon], quarantine: Path) -> None:
    """The books count both together; what an item holds was searched."""
    item = Item(ITEM, POOR, Partition(b"s" * 16, 0, 1440), b"", "unencodable", "", 0, (
        HeldEntry(Lsn(1), b"c" * 16, 1, 0, 4, True, b""),
    ))  # fmt: skip
    path_of(quarantine, ITEM).write_bytes(item.pack())
    assert any("; lost 3; " in line for line in ask(quarantine=quarantine).lines(False))


@pytest.mark.parametrize(
    ("stream", "prefix", "says"),
    [
        ("default/default/default/default/poor", "", "rejected 4,000"),
        ("default/default/default/default/poor/1/inputs/2026/11/21/data.csv.zst", "", "rejected 4,000"),
        ("default/default/default/default/clean/1/inputs", "", "books of 1 streams know of no row that was rejected"),
        ("other", "", "knows no stream whose blobs have such names"),
        ("below/default/default/default/default/poor", "below", "rejected 4,000"),
        ("default/default/default/default/poor", "below", "knows no stream whose blobs have such names"),
    ],
)
def test_only_streams_whose_blobs_may_be_called_so_are_told_of(
    daemon: type[Daemon], stream: str, prefix: str, says: str
) -> None:
    assert says in "\n".join(ask(stream=stream, prefix=prefix).lines(False))


def test_nothing_of_that_kind_is_said_too(daemon: type[Daemon]) -> None:
    daemon.books = daemon.books[:1]
    assert "know of no row that was rejected, dropped by clients, lost," in list(ask().lines(False))[-1]
    assert json.loads(ask().as_json())["never_landed"] == []


def test_without_a_daemon_it_says_that_none_was_asked() -> None:
    found = find(MemoryStore(), "order-1", None, None, "", None)
    assert list(found.lines(False))[-1].startswith("no daemon was asked: --spool DIRECTORY")
    assert json.loads(found.as_json())["never_landed"] is None


def test_the_days_are_told_and_how_to_search_others() -> None:
    for wanted, says in (
        (V7, "the id says that it was made on 2025-11-20"),
        ("order-1", "the id says nothing about its day"),
    ):
        lines = list(find(MemoryStore(), wanted, None, None, "", None).lines(False))
        assert says in lines[1]
        assert "--date YYYY-MM-DD --days N searches others" in lines[1]
    lines = list(find(MemoryStore(), V7, DAY, 3, "", None).lines(False))
    assert "the days searched were 2026-11-21 to 2026-11-23 (UTC)" in lines[1]


def test_what_is_found_needs_no_explanation(daemon: type[Daemon], quarantine: Path) -> None:
    assert not any(
        "never landed" in line or "days searched" in line
        for line in ask("order-4711", quarantine=quarantine).lines(False)
    )
