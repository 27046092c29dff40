"""What has landed is found out from log and store alone, to the row; in doubt nothing is lost."""

from __future__ import annotations

import csv
import errno
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord import quarantine
from collectord._pb import collector_pb2 as pb
from collectord.encode.frame import FrameEncoder
from collectord.encode.frame_reader import iter_frames
from collectord.errors import CallHuman, TryAgain
from collectord.model import Entry, EntryKind, FrameTag, Partition, Place
from collectord.pipeline import framer, rebuild
from collectord.pipeline.rebuild import Options, judge
from collectord.pipeline.rebuilding import Rebuilding
from collectord.pipeline.sources import Sources
from collectord.reader.cuts import Wanted
from collectord.reader.erase import Eraser
from collectord.schema import parse_schema
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.appender import Appender
from collectord.upload.ledger import Ledger
from collectord.upload.store import CONTROL_PREFIX, Blocked, Unknown
from tests.pipeline.node import NOON, Client, Node, find, landed_ids, schema, wait_until
from tests.pipeline.set_aside import Kill, refused


def lose_ledger(node: Node) -> Node:
    """The daemon is gone, and so is its ledger; another one starts."""
    node.lose_ledger()
    return Node(node.spool, STORES[node.spool])


STORES: dict[Path, MemoryStore] = {}


@pytest.fixture
def node(tmp_path: Path, store: MemoryStore) -> Node:
    STORES[tmp_path / "spool"] = store
    return Node(tmp_path / "spool", store)


def the_blob(store: MemoryStore) -> str:
    (name,) = [name for name in store.blobs if not name.startswith(CONTROL_PREFIX)]
    return name


def rewrite(store: MemoryStore, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Somebody else's hand: the rows of the one blob are others."""
    name = the_blob(store)
    frames = list(iter_frames("zstd", io.BytesIO(bytes(store.blobs[name].content))))
    header, rows = frames[0].text, b"".join(frame.text for frame in frames[1:]).splitlines(keepends=True)
    encoder = FrameEncoder("zstd")
    data = encoder.header_frame(header) + encoder.data_frame(b"".join(change(rows)), FrameTag(bytes(16), 1, 1))
    store.blobs[name].content = bytearray(data)


def settle(node: Node, store: MemoryStore, client: Client, expected: Counter[str] | None = None) -> None:
    """Everything lands, each row as often as expected, and the books balance."""
    assert node.pipeline.dispatch.held == ""
    assert node.pipeline.flush(20)
    assert Counter(landed_ids(store)) == (Counter(client.ids) if expected is None else expected)
    assert node.balanced()


def test_what_landed_is_not_sent_again_and_what_did_not_is(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(10), client.batch(7))
    assert node.pipeline.flush(20)
    node.append(client.batch(5), client.batch(6))
    again = lose_ledger(node)
    assert again.balanced(), "what is not in the log is presumed to have landed"
    assert "ledger rebuild" in again.pipeline.dispatch.held
    assert not again.pipeline.flush(20)
    (found,) = find(again, store)
    assert (found.rows, found.landed, found.again, found.given_up) == (28, 17, 0, 0)
    assert found.notes == ()
    again.pipeline.rebuild([found])
    assert again.balanced()
    again.append(client.batch(3))
    settle(again, store, client)
    again.stop()
    assert not Ledger(again.spool).rebuild_needed


def test_part_of_an_entry_may_have_landed(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(40))
    assert node.pipeline.flush(20)
    rewrite(store, lambda rows: rows[:13])
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert found.landed == 13
    assert found.after is not None
    assert found.after.row == 13
    again.pipeline.rebuild([found])
    settle(again, store, client)
    again.stop()


def test_nothing_landed_is_no_cursor_and_everything_is_all(node: Node, store: MemoryStore) -> None:
    first, second = Client(schema("inputs")), Client(schema("outputs"))
    node.append(first.batch(4))
    assert node.pipeline.flush(20)
    node.append(second.batch(3))
    again = lose_ledger(node)
    found = {one.stream.split("/")[-2]: one for one in find(again, store)}
    assert (found["inputs"].landed, found["outputs"].landed) == (4, 0)
    assert found["outputs"].after is None
    again.pipeline.rebuild(found.values())
    assert again.pipeline.flush(20)
    assert Counter(landed_ids(store)) == Counter(first.ids + second.ids)
    again.stop()


@pytest.mark.parametrize("doubtful", ["repeat", "skip"])
def test_where_the_middle_is_missing_somebody_chooses_and_nothing_is_silent(
    node: Node, store: MemoryStore, doubtful: str
) -> None:
    """`repeat` loses nothing and says what lands twice; `skip` doubles nothing and counts what is missing."""
    client = Client(schema())
    node.append(client.batch(10), client.batch(10), client.batch(10))
    assert node.pipeline.flush(20)
    rewrite(store, lambda rows: rows[:12] + rows[15:25])
    again = lose_ledger(node)
    (found,) = find(again, store, doubtful=doubtful)
    assert found.notes
    if doubtful == "repeat":
        assert (found.landed, found.again, found.given_up) == (12, 10, 0)
        assert "10 rows behind it" in found.notes[0]
        expected = Counter(client.ids) + Counter(client.ids[15:25])
    else:
        assert (found.landed, found.again, found.given_up) == (22, 0, 3)
        assert "3 rows that are not in the store are given up" in found.notes[0]
        expected = Counter(client.ids) - Counter(client.ids[12:15])
    again.pipeline.rebuild([found])
    settle(again, store, client, expected)
    books = again.pipeline.overview.books()
    assert sum(book.quarantined for book in books) == found.given_up
    again.stop()
    reopened = Node(again.spool, store)
    assert reopened.balanced()
    reopened.stop()


def test_rows_that_stand_more_often_in_the_store_are_told_and_the_last_of_them_repeated(
    node: Node, store: MemoryStore
) -> None:
    client = Client(schema())
    node.append(client.batch(10))
    assert node.pipeline.flush(20)
    rewrite(store, lambda rows: [*rows, rows[3], rows[9]])
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert found.landed == 9, "the last one may be another's"
    assert "2 records stand more often" in found.notes[0]
    again.stop()


def test_the_same_row_twice_in_the_log_needs_to_be_found_twice(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    entry = client.batch(5)
    node.append(entry)
    assert node.pipeline.flush(20)
    node.append(Entry(EntryKind.BATCH, bytes(16), 1, 5, entry.payload, entry.schema, entry.partition))
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert (found.rows, found.landed) == (10, 5)
    again.stop()


def test_many_passes_find_the_same(node: Node, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(schema())
    node.append(*(client.batch(9) for _ in range(20)))
    assert node.pipeline.flush(20)
    rewrite(store, lambda rows: rows[:101])
    monkeypatch.setattr(rebuild, "ROWS_AT_ONCE", 7)
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert (found.rows, found.landed, found.notes) == (180, 101, ())
    again.stop()


def test_text_with_quotes_and_line_ends_is_matched(node: Node, store: MemoryStore) -> None:
    raw = pb.Schema(
        stream=pb.Stream(model="m", designation="inputs"),
        columns=[pb.Column(name="a,b", type=pb.COLUMN_TYPE_STRING)],
        layout=pb.LAYOUT_COLUMNS,
        correlation=pb.ID_LAYOUT_TEXT,
    ).SerializeToString()
    of = parse_schema(raw)
    texts = ["plain", "two\nlines", 'a "quote"\r\n', "", "\n\n\n", 'x","y\n"']

    def entry(sequence: int) -> Entry:
        data = "".join(texts).encode()
        ids = [f"id {sequence}\n{number}" for number in range(len(texts))]
        message = pb.Batch(
            sequence=sequence, schema_id=of.id, rows=len(texts),
            requests=pb.Requests(
                times=NOON.to_bytes(8, "little") * len(texts), correlation_ids="".join(ids).encode(),
                correlation_offsets=offsets(ids),
            ),
            columns=[pb.ColumnData(offsets=offsets(texts), data=data)],
        )  # fmt: skip
        partition = Partition.of(of.id, NOON, 1440)
        return Entry(EntryKind.BATCH, b"c" * 16, sequence, len(texts), message.SerializeToString(), of, partition)

    node.append(entry(1), entry(2))
    assert node.pipeline.flush(20)
    node.append(entry(3))
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert (found.rows, found.landed, found.notes) == (18, 12, ())
    again.stop()


def offsets(texts: list[str]) -> bytes:
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text.encode()))
    return b"".join(end.to_bytes(4, "little") for end in ends)


def test_a_blob_that_is_torn_counts_as_far_as_it_can_be_read(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(10))
    assert node.pipeline.flush(20)
    node.append(client.batch(10))
    assert node.pipeline.flush(20)
    content = store.blobs[the_blob(store)].content
    content[-40] ^= 0xFF
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert found.landed in (10, 20)
    assert any("cannot be read to its end" in note for note in found.notes)
    again.stop()


@pytest.mark.parametrize("codec", ["zstd", "gzip", "none"])
def test_nothing_is_put_behind_the_end_of_a_torn_blob(tmp_path: Path, store: MemoryStore, codec: str) -> None:
    """Nobody could read it there, though the books would balance."""
    client = Client(schema())
    first = Node(tmp_path / "spool", store, codec=codec)
    first.append(client.batch(10))
    assert first.pipeline.flush(20)
    name = the_blob(store)
    del store.blobs[name].content[-5:]
    torn = bytes(store.blobs[name].content)
    first.lose_ledger()
    again = Node(tmp_path / "spool", store, codec=codec)
    found = find(again, store)
    again.pipeline.rebuild(found)
    assert again.pipeline.flush(20)
    assert store.blobs[name].content == torn
    (other,) = [one for one in store.blobs if not one.startswith(CONTROL_PREFIX) and one != name]
    text = b"".join(frame.text for frame in iter_frames(codec, io.BytesIO(bytes(store.blobs[other].content))))
    assert text.count(b"\n") == 1 + 10 - found[0].landed
    again.stop()


def test_blobs_of_other_headers_and_of_strangers_are_left_out(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(6))
    assert node.pipeline.flush(20)
    stranger = the_blob(store).replace("data.csv", "data.1.csv")
    store.create(stranger, "text/csv", {})
    store.append(stranger, b"nothing of ours", 0)
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert found.landed == 6
    assert any("was left out" in note for note in found.notes)
    again.stop()


def test_everywhere_finds_rows_that_landed_under_another_layout(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(6))
    assert node.pipeline.flush(20)
    store.blobs["elsewhere/2018/12/31/inputs.csv.zst"] = store.blobs.pop(the_blob(store))
    again = lose_ledger(node)
    assert find(again, store)[0].landed == 0
    assert find(again, store, everywhere=True)[0].landed == 6
    again.stop()


@pytest.mark.parametrize(("answer", "kind"), [(Unknown("down"), TryAgain), (Blocked("forbidden", "403"), CallHuman)])
def test_a_store_that_fails_changes_nothing(
    node: Node, store: MemoryStore, answer: object, kind: type[Exception]
) -> None:
    client = Client(schema())
    node.append(client.batch(6))
    assert node.pipeline.flush(20)
    again = lose_ledger(node)
    store.plan("read", Fault(answer))
    rebuilding = Rebuilding(again.pipeline, store, lambda: again.ledger.rebuild_needed, str)
    account = rebuilding.ask(True, Options(), False, 20)
    assert account.done
    assert account.error
    assert not account.applied
    assert again.ledger.rebuild_needed
    assert again.pipeline.dispatch.held
    store.plan("read", Fault(answer))
    with pytest.raises(kind):
        find(again, store)
    account = rebuilding.ask(True, Options(), False, 20)
    assert account.applied
    assert (account.rows, account.looked_for, account.landed, account.waiting) == (6, 6, 6, 0)
    assert rebuilding.ask(True, Options(), False, 20).notes == ["the ledger is whole: there is nothing to rebuild"]
    settle(again, store, client)
    again.stop()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "the disk fails"), MemoryError()])
@pytest.mark.parametrize("fails", [1, 3])
def test_a_log_that_cannot_be_read_now_changes_nothing_and_nothing_lands_twice(
    node: Node, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, error: Exception, fails: int
) -> None:
    """Nobody knows whether such rows have landed, and they can be read again later."""
    client = Client(schema())
    node.append(*(client.batch(6) for _ in range(3)))
    assert node.pipeline.flush(20)
    again = lose_ledger(node)
    rebuilding = Rebuilding(again.pipeline, store, lambda: again.ledger.rebuild_needed, str)
    read, asked = Sources.read_payload, list[int]()

    def failing(sources: Sources, place: Place) -> memoryview:
        asked.append(1)
        if len(asked) >= fails:
            raise error
        return read(sources, place)

    with monkeypatch.context() as patch:
        patch.setattr(Sources, "read_payload", failing)
        account = rebuilding.ask(True, Options(), False, 20)
    assert len(asked) == fails
    assert account.done
    assert account.error
    assert not account.applied
    assert again.pipeline.dispatch.held
    account = rebuilding.ask(True, Options(), False, 20)
    assert (account.applied, account.landed, account.waiting) == (True, 18, 0)
    settle(again, store, client)
    again.stop()


def test_a_request_of_the_dead_daemon_that_arrives_meanwhile_is_found(
    node: Node, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(schema())
    node.append(client.batch(6))
    assert node.pipeline.flush(20)
    node.append(client.batch(5))
    assert node.pipeline.flush(20)
    late = bytes(store.blobs[the_blob(store)].content)
    rewrite(store, lambda rows: rows[:6])
    again = lose_ledger(node)
    count = rebuild.Search._count

    def arrive(search: rebuild.Search, *arguments: object) -> None:
        count(search, *arguments)  # type: ignore[arg-type]
        store.blobs[the_blob(store)].content = bytearray(late)

    monkeypatch.setattr(rebuild.Search, "_count", arrive)
    account = Rebuilding(again.pipeline, store, lambda: True, str).ask(True, Options(), False, 20)
    assert (account.applied, account.landed, account.waiting) == (True, 11, 0)
    settle(again, store, client)
    again.stop()


def test_a_rebuild_waits_for_whoever_else_may_upload(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(6))
    again = lose_ledger(node)
    why = ["somebody else holds the claim"]
    rebuilding = Rebuilding(again.pipeline, store, lambda: again.ledger.rebuild_needed, lambda: "".join(why))
    assert rebuilding.ask(True, Options(), False, 20).error == why[0]
    assert again.pipeline.dispatch.held
    why.clear()
    assert rebuilding.ask(True, Options(), False, 20).applied
    settle(again, store, client)
    again.stop()


def test_frames_on_disk_are_kept_until_the_ledger_is_whole(node: Node, store: MemoryStore) -> None:
    client = Client(schema())
    node.append(client.batch(6))
    store.plan("append", *[Fault(Unknown("down"))] * 1000)
    frames = node.spool / "frames"
    for _ in range(200):
        assert not node.pipeline.flush(0.1)
        if store.fired:
            break
    assert list(frames.iterdir())
    store.heal()
    again = lose_ledger(node)
    assert list(frames.iterdir())
    again.pipeline.rebuild(find(again, store))
    assert not list(frames.iterdir())
    settle(again, store, client)
    again.stop()


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No text can be made of the batches of so many rows."""
    bad, rows = [8], framer._rows

    def some(of: Any, slices: Any, payloads: Any) -> Any:
        if any(piece.rows in bad for piece in slices):
            raise ValueError("not this one")
        return rows(of, slices, payloads)

    monkeypatch.setattr(framer, "_rows", some)
    return bad


@pytest.mark.parametrize("doubtful", ["repeat", "skip"])
def test_what_was_in_quarantine_is_in_quarantine_again_though_the_log_has_it_too(
    node: Node, store: MemoryStore, poison: list[int], doubtful: str
) -> None:
    """The item says which rows it holds: they are neither landed nor uploaded, and may be tried again."""
    client = Client(schema())
    node.append(client.batch(2), client.batch(8), client.batch(3))
    wait_until(lambda: node.pipeline.flush(0.2))
    (id_,) = quarantine.ids(node.quarantine)
    again = lose_ledger(node)
    assert again.numbers() == (13, 0, 13, 0), "nothing is known before the rebuild"
    with pytest.raises(TryAgain, match="rebuilt"):
        again.pipeline.shelf.retry(id_)
    (found,) = find(again, store, doubtful=doubtful)
    assert (found.rows, found.landed, found.aside, found.given_up, found.again) == (13, 5, 8, 0, 0)
    assert "8 rows are in quarantine" in found.notes[0]
    again.pipeline.rebuild([found])
    for _ in range(2):
        assert again.numbers() == (13, 5, 0, 8)
        assert again.pipeline.shelf.ids() == [id_] == quarantine.ids(again.quarantine)
        again.stop()
        again = Node(again.spool, store)
    poison.clear()
    assert again.pipeline.shelf.retry(id_) == 8
    settle(again, store, client)
    assert again.numbers() == (13, 13, 0, 0)
    again.stop()


def test_a_frame_that_was_given_up_keeps_nothing_behind_it_from_counting_as_landed(
    node: Node, store: MemoryStore, impatient: None
) -> None:
    """Its rows are missing in the middle, and that is no doubt: what landed behind them does not land twice."""
    client = Client(schema())
    node.append(client.batch(2))
    assert node.pipeline.flush(20)
    id_ = refused(node, client, store, 4, 5)
    node.append(client.batch(3))
    assert node.pipeline.flush(20)
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert (found.rows, found.landed, found.aside, found.again) == (14, 5, 9, 0)
    again.pipeline.rebuild([found])
    assert again.numbers() == (14, 5, 0, 9)
    again.pipeline.shelf.retry(id_)
    settle(again, store, client)
    again.stop()


def test_parts_of_one_entry_are_found_where_they_stood(node: Node, store: MemoryStore, impatient: None) -> None:
    """Cut, each begins with row 0; the item's id proves which rows of the log it means."""
    node.pipeline.shelf.budget = 64 << 20
    client = Client(schema())
    store.plan("append", *[Fault(Blocked("bad_name", "no"))] * 2, None)
    node.append(client.batch(40_000))
    wait_until(lambda: node.pipeline.flush(0.2))
    found_ids = quarantine.ids(node.quarantine)
    assert len(found_ids) == 2
    _, landed, _, held = node.numbers()
    assert landed and held and landed + held == 40_000
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert (found.landed, found.aside) == (landed, held)
    again.pipeline.rebuild([found])
    assert again.numbers() == (40_000, landed, 0, held)
    for id_ in found_ids:
        again.pipeline.shelf.retry(id_)
    settle(again, store, client)
    again.stop()


def test_where_rows_before_an_item_are_missing_it_waits_again_with_all_that_follows(
    node: Node, store: MemoryStore, impatient: None
) -> None:
    """To repeat means to go on at the gap: the item's rows are in the log, and its file would count them twice."""
    client = Client(schema())
    node.append(client.batch(4))
    assert node.pipeline.flush(20)
    refused(node, client, store, 5)
    rewrite(store, lambda rows: rows[:2])
    again = lose_ledger(node)
    (found,) = find(again, store)
    assert (found.landed, found.aside) == (2, 0)
    again.pipeline.rebuild([found])
    assert quarantine.ids(again.quarantine) == again.pipeline.shelf.ids() == []
    settle(again, store, client)
    again.stop()


def test_a_kill_after_the_rebuild_was_written_down_keeps_the_item(
    node: Node, store: MemoryStore, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cursors and items are one transaction: a file that nobody counts would be removed, its rows passed."""
    client = Client(schema())
    id_ = refused(node, client, store, 5)
    again = lose_ledger(node)
    (found,) = find(again, store)

    def dead(*_: Any) -> None:
        raise Kill

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(Appender, "sweep", dead)
        again.pipeline.rebuild([found])
    again.stop()
    third = Node(again.spool, store)
    assert third.numbers() == (5, 0, 0, 5)
    assert third.pipeline.shelf.ids() == [id_]
    third.pipeline.shelf.retry(id_)
    settle(third, store, client)
    third.stop()


@pytest.mark.parametrize(
    ("marks", "repeat", "skip"),
    [
        ("", 0, 0), ("0", 0, 0), ("1", 1, 1), ("110", 2, 2), ("101", 1, 3), ("011", 0, 3), ("121", 3, 3),
        ("122", 1, 1), ("1220", 1, 1), ("2201", 0, 4), ("113", 2, 3), ("131", 3, 3), ("333", 0, 3), ("1301", 1, 4),
        ("14", 2, 2), ("1410", 3, 3), ("1241", 4, 4), ("104", 1, 3), ("4", 1, 1), ("1440", 3, 3),
    ],
)  # fmt: skip
def test_the_beginning_that_has_landed(marks: str, repeat: int, skip: int) -> None:
    """0 absent, 1 found, 2 unreadable, 3 found too often, 4 set aside."""
    raw = bytes(int(mark) for mark in marks)
    assert (judge(raw, False), judge(raw, True)) == (repeat, skip)


@given(st.lists(st.lists(st.text(alphabet='a,"\r\nä', max_size=6), min_size=2, max_size=3)), st.data())
def test_records_are_told_apart_like_any_csv_reader_does(rows: list[list[str]], data: st.DataObject) -> None:
    texts = []
    for row in rows:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(row)
        texts.append(out.getvalue().encode())
    text = b"".join(texts)
    digests = list(rebuild._digests(memoryview(text)))
    assert len(digests) == len(texts)
    assert digests == [next(iter(rebuild._digests(memoryview(one)))) for one in texts]
    cut = data.draw(st.integers(0, len(text)))
    ends = [0]
    for one in texts:
        ends.append(ends[-1] + len(one))
    assert rebuild._whole(text[:cut]) == max(end for end in ends if end <= cut)


@pytest.mark.parametrize("everywhere", [False, True])
def test_what_was_erased_has_landed_and_does_not_come_back(node: Node, store: MemoryStore, everywhere: bool) -> None:
    """While the log has it still: rows in the midst of others, and all rows of a day that is gone with them."""
    client, other = Client(schema()), Client(schema("outputs"))
    node.append(client.batch(10), other.batch(2))
    assert node.pipeline.flush(20)
    node.append(client.batch(4))
    gone = (client.ids[3], client.ids[0], *other.ids)
    with Eraser(store, Wanted(gone)) as eraser:
        names = [name for name in store.blobs if not name.startswith(CONTROL_PREFIX)]
        assert all(eraser.erase(name, names) for name in names)
    again = lose_ledger(node)
    found = {one.stream.split("/")[-2]: one for one in find(again, store, everywhere=everywhere)}
    assert (found["inputs"].rows, found["inputs"].landed, found["inputs"].again) == (14, 10, 0)
    assert (found["outputs"].landed, found["outputs"].again) == (2, 0)
    assert found["inputs"].notes == ()
    again.pipeline.rebuild(found.values())
    settle(again, store, client, Counter(one for one in client.ids if one not in gone))
    again.stop()
