"""One entry that cannot be encoded, or a frame that the store will never take, goes into quarantine; all else lands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectord import quarantine
from collectord.buffer.index import Slice
from collectord.errors import SpoolFull
from collectord.model import Cursor, Entry, EntryKind, Lsn, Partition, Place
from collectord.pipeline import poison
from collectord.pipeline.framer import Framer
from collectord.pipeline.poison import Poisoned, Refusals, Suspects, Unencodable
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.attempts import BlockedFor
from collectord.upload.store import Blocked, Unknown
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until

PARTITION = Partition(b"s" * 16, 0, 1440)


def slices(number: int) -> list[Slice]:
    return [Slice(Place(Lsn(at), 10), 1, 0, 1) for at in range(number)]


def made_unless(bad: set[int], made: list[int] | None = None) -> Callable[..., tuple[int, ...]]:
    def make(partition: Partition, some: list[Slice], payloads: list[memoryview]) -> tuple[int, ...]:
        assert len(some) == len(payloads)
        if made is not None:
            made.append(len(some))
        if bad & {piece.place.lsn for piece in some}:
            raise ValueError("poison")
        return tuple(piece.place.lsn for piece in some)

    return make


def exhausted(suspects: Suspects, make: Callable[..., Any], number: int) -> Any:
    for failures in range(1, poison.TRIES):
        with pytest.raises(Unencodable) as caught:
            suspects.make(PARTITION, slices(number), [memoryview(b"")] * number, make)
        assert caught.value.pause == poison.FIRST_PAUSE * 2 ** (failures - 1)
    return suspects.make(PARTITION, slices(number), [memoryview(b"")] * number, make)


@pytest.mark.parametrize("number", [1, 2, 3, 64, 1000])
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_what_stands_before_the_poison_makes_a_frame(number: int, where: float) -> None:
    """However many slices there are and wherever the bad one is, it is found, in a number of tries that grows slowly."""
    bad, made = int(where * (number - 1)), list[int]()
    result = exhausted(Suspects(), made_unless({bad}, made), number)
    if bad == 0:
        assert isinstance(result, Poisoned)
    else:
        assert result == (tuple(range(bad)), bad)
    assert len(made) <= poison.TRIES + 11


def test_once_found_out_the_next_poison_is_looked_for_at_once() -> None:
    """A stream of which much is poison does not take three tries with pauses for each; a whole frame ends the suspicion."""
    suspects = Suspects()
    exhausted(suspects, made_unless({0}), 4)
    assert isinstance(suspects.make(PARTITION, slices(4), [memoryview(b"")] * 4, made_unless({0})), Poisoned)
    assert suspects.make(PARTITION, slices(4), [memoryview(b"")] * 4, made_unless(set())) == ((0, 1, 2, 3), 4)
    with pytest.raises(Unencodable):
        suspects.make(PARTITION, slices(4), [memoryview(b"")] * 4, made_unless({0}))


@pytest.mark.parametrize("error", [SpoolFull("full"), OSError(5, "the disk"), MemoryError()])
def test_a_fault_of_the_machine_is_never_held_against_an_entry(error: Exception) -> None:
    def make(*_: object) -> int:
        raise error

    suspects = Suspects()
    for _ in range(10):
        with pytest.raises(type(error)):
            suspects.make(PARTITION, slices(1), [memoryview(b"")], make)


def test_a_frame_is_given_up_after_enough_refusals_over_enough_time_only() -> None:
    """Ten at once are not enough, nor two in an hour; a refusal that can heal begins the count again."""
    refusals, no = Refusals(), BlockedFor(1, "bad_name", "")
    assert not any(refusals.refused(1, no, 1.0) for _ in range(100))
    assert refusals.refused(1, no, 1.0 + poison.GIVE_UP_SECONDS)
    assert not refusals.refused(1, BlockedFor(1, "forbidden", ""), 9000)
    assert not refusals.refused(1, no, 9001)
    assert not refusals.refused(1, no, 99_000)


def garbage(client: Client, rows: int = 3) -> Entry:
    """An acknowledged entry that is no batch: what must never come from ingest, and if it does, harms nobody."""
    good = client.batch(rows)
    del client.ids[-rows:]
    return Entry(EntryKind.BATCH, good.client, good.sequence, rows, b"\xff" * 40, good.schema, good.partition)


def quarantined(tmp_path: Path) -> list[quarantine.Item]:
    directory = tmp_path / "spool" / quarantine.ROWS_DIRECTORY
    return [quarantine.read(directory, id_) for id_ in quarantine.ids(directory)]


def waiting(running: Node, rows: int) -> Place:
    """The one entry that waits with so many rows, once it was read."""

    def found() -> list[Place]:
        with running.pipeline._state.lock:
            return [place for _, place, number in running.pipeline._state.index.entries() if number == rows]

    wait_until(lambda: bool(found()))
    (place,) = found()
    return place


def flush_out(running: Node) -> None:
    """Flushes until everything has landed or is in quarantine: each flush tries at once what waits for a pause."""
    wait_until(lambda: running.pipeline.flush(0.2))


def test_one_poisonous_entry_goes_alone(node: Callable[..., Node], store: MemoryStore, tmp_path: Path) -> None:
    """What stands before and behind it in the same partition lands, in order; the item says everything."""
    running = node()
    client = Client(schema())
    bad = [client.batch(5), client.batch(2), garbage(client), client.batch(4), garbage(client, 7), client.batch(1)]
    running.append(*bad)
    flush_out(running)
    assert landed_ids(store) == client.ids
    first, second = sorted(quarantined(tmp_path), key=lambda item: item.rows)
    assert (first.rows, first.reason, first.stream) == (3, "unencodable", client.schema.stream.key())
    (entry,) = first.entries
    assert (entry.client, entry.sequence, entry.payload) == (client.id, 3, b"\xff" * 40)
    assert (first.schema, first.partition) == (client.schema.raw, bad[0].partition)
    assert "Rejected" in first.detail and second.rows == 7
    (book,) = running.pipeline.overview.books()
    assert (book.received, book.landed, book.quarantined, book.missing) == (22, 12, 10, 0)


def test_the_rest_of_a_half_landed_entry_is_cut_off(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that have landed are not in the item, so that a retry cannot double them; then they land in order."""
    running = node(flush_bytes=4096)
    client = Client(schema())
    make, failing = Framer.make, [True]

    def some(self: Framer, of: Any, plan: Any, some: list[Slice], payloads: Any) -> Any:
        if failing[0] and any(piece.stop > 300 for piece in some):
            raise ValueError("poison from row 300 on")
        return make(self, of, plan, some, payloads)

    monkeypatch.setattr(Framer, "make", some)
    running.append(client.batch(1000))
    flush_out(running)
    landed = len(landed_ids(store))
    assert 0 < landed <= 300
    (item,) = quarantined(tmp_path)
    assert item.rows == 1000 - landed and not item.obstacle
    failing[0] = False
    assert running.pipeline.shelf.retry(item.id) == item.rows
    assert running.pipeline.flush(10)
    assert landed_ids(store) == client.ids
    (book,) = running.pipeline.overview.books()
    assert (book.received, book.landed, book.quarantined, book.missing) == (1000, 1000, 0, 0)


def test_a_full_quarantine_blocks_the_stream_and_nobody_else(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path
) -> None:
    """The poison stays where it is, told as blocked; as soon as there is room it goes."""
    running = node(flush_interval=0.1)
    running.pipeline.shelf.budget = 0
    sick, healthy = Client(schema("inputs")), Client(schema("labels"))
    running.append(garbage(sick), sick.batch(2))
    wait_until(
        lambda: running.pipeline.flush(0.1) or any(one.blocked for _, one in running.pipeline.overview.troubles())
    )
    (trouble,) = running.pipeline.overview.troubles()
    assert trouble[1].code == "quarantine_full" and "unencodable" in trouble[1].detail
    running.append(healthy.batch(3))
    wait_until(lambda: landed_ids(store, "labels") == healthy.ids)
    assert running.balanced() and not quarantined(tmp_path)
    running.pipeline.shelf.budget = 1 << 20
    flush_out(running)
    assert landed_ids(store, "inputs") == sick.ids
    assert running.balanced()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is given up after three refusals."""
    monkeypatch.setattr(poison, "GIVE_UP_TRIES", 3)
    monkeypatch.setattr(poison, "GIVE_UP_SECONDS", 0.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("reason", sorted(poison.NEVER_HEALS))
def test_a_frame_that_can_never_land_is_given_up(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path, reason: str
) -> None:
    """Its entries go into quarantine together, what comes behind it lands, and the frame's file is gone."""
    running = node()
    client, after = Client(schema()), Client(schema())
    running.append(client.batch(2), client.batch(3))
    store.plan("append", *[Fault(Blocked(reason, "no"))] * 3)
    flush_out(running)
    (item,) = quarantined(tmp_path)
    assert (item.rows, item.reason, [one.sequence for one in item.entries]) == (5, reason, [1, 2])
    assert not landed_ids(store) and not list((tmp_path / "spool" / "frames").iterdir())
    running.append(after.batch(4))
    assert running.pipeline.flush(10)
    assert landed_ids(store) == after.ids
    assert running.balanced()
    running.pipeline.shelf.retry(item.id)
    assert running.pipeline.flush(10)
    assert sorted(landed_ids(store)) == sorted(after.ids + client.ids)
    assert running.balanced()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("reason", ["forbidden", "immutable", "leased", "credential", "no_space", "read_only"])
def test_what_can_heal_is_never_given_up(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path, reason: str
) -> None:
    running = node()
    client = Client(schema())
    running.append(client.batch(2))
    store.plan("append", *[Fault(Blocked(reason, "no"))] * 8)
    flush_out(running)
    assert store.fired == 8
    assert landed_ids(store) == client.ids and not quarantined(tmp_path)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("when", ["after", "later"])
def test_a_frame_whose_fate_is_unknown_is_read_back_before_it_is_given_up(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path, when: str
) -> None:
    """The answer was lost, and then the store refused: had it landed, or does it yet, no row of it goes into quarantine."""
    store.lateness = 3600.0 if when == "later" else 0.0
    running = node()
    client = Client(schema())
    running.append(client.batch(2))
    no = Fault(Blocked("bad_request", "no"))
    store.plan("append", None, Fault(Unknown("reset"), when), *[no] * 8)
    wait_until(lambda: running.pipeline.flush(0.05) or store.fired >= 6)
    assert not quarantined(tmp_path)
    assert store.release() == (when == "later")
    store.heal()
    assert running.pipeline.flush(10)
    assert landed_ids(store) == client.ids
    assert running.balanced()


@pytest.mark.usefixtures("hasty")
def test_a_frame_that_surely_did_not_land_may_be_given_up_after_all(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path
) -> None:
    """The answer was lost, but the store says how long the blob is."""
    running = node()
    client = Client(schema())
    running.append(client.batch(2))
    store.plan("append", Fault(Unknown("reset")), *[Fault(Blocked("bad_request", "no"))] * 3)
    flush_out(running)
    (item,) = quarantined(tmp_path)
    assert item.rows == 2 and not landed_ids(store)
    assert running.balanced()


@pytest.mark.usefixtures("hasty")
def test_a_frame_of_an_earlier_run_is_doubtful(tmp_path: Path, store: MemoryStore) -> None:
    """Nobody remembers what became of its attempts before the restart, so it is only given up when it was looked for."""
    first = Node(tmp_path / "spool", store)
    client = Client(schema())
    first.append(client.batch(2))
    store.plan("append", *[Fault(Blocked("bad_request", "no"))] * 2)
    wait_until(lambda: first.pipeline.flush(0.05) or store.fired == 2)
    first.stop()
    store.heal()
    second = Node(tmp_path / "spool", store)
    try:
        store.plan("append", *[Fault(Blocked("bad_request", "no"))] * 50)
        store.plan("length", *[Fault(Unknown("no answer"))] * 1000)
        wait_until(lambda: second.pipeline.flush(0.02) or store.fired > 12)
        assert not quarantined(tmp_path)
        store.heal()
        flush_out(second)
        assert landed_ids(store) == client.ids
        assert second.balanced()
    finally:
        second.stop()


def test_damaged_rows_are_kept_with_their_bytes(node: Callable[..., Node], store: MemoryStore, tmp_path: Path) -> None:
    """A bit flips on disk: the item holds the bytes as they are now, for looking at, not for another try."""
    running = node()
    client = Client(schema())
    running.append(client.batch(2))
    segment = running.log.catalog.segments()[-1]
    running.append(client.batch(3))
    del client.ids[-3:]
    running.append(client.batch(4))
    place = waiting(running, rows=3)
    with segment.path.open("r+b") as file:
        file.seek(place.lsn - segment.base + 96 + 50)
        file.write(b"XX")
    flush_out(running)
    assert landed_ids(store) == client.ids
    (item,) = quarantined(tmp_path)
    assert (item.rows, item.reason, item.entries[0].sequence) == (3, "damaged", 2)
    assert item.obstacle and b"XX" in item.entries[0].payload
    assert running.balanced()


def test_rows_whose_schema_is_lost_are_counted_and_hold_up_nobody(tmp_path: Path, store: MemoryStore) -> None:
    """The only declaration is damaged on disk: nobody can write these rows, everybody else's land."""
    first = Node(tmp_path / "spool", store)
    sick, healthy = Client(schema("inputs")), Client(schema("labels"))
    first.append(sick.batch(3))
    first.append(healthy.batch(4))
    first.stop()
    path = next((tmp_path / "spool" / "log").glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[content.index(sick.schema.raw) + 5] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        again = Node(tmp_path / "spool", store, damaged=True)
        try:
            assert again.balanced()
            assert again.pipeline.flush(10)
            assert landed_ids(store) == healthy.ids
            # Of the newest segment nobody can say any more whose they were.
            assert sum(book.quarantined for book in again.pipeline.overview.books()) == 3
        finally:
            again.stop()


def test_what_a_frame_holds_is_found_again_by_its_cursor() -> None:
    """`upto` cuts where the cursor says, inside of entries too."""
    from collectord.buffer.index import Index
    from collectord.buffer.seal import SealRules
    from collectord.model import Stored

    index = Index(SealRules(1 << 20, 2 << 20, 60, b""), {PARTITION: Cursor(Lsn(8), 2)})
    for lsn in (8, 16, 24):
        index.add(Stored(Lsn(lsn), Lsn(lsn + 8), EntryKind.BATCH, b"c" * 16, 1, 5, b"s" * 16, 0, 1440, 50), 0.0)
    cut = [(piece.place.lsn, piece.start, piece.stop) for piece in index.upto(PARTITION, Cursor(Lsn(24), 3))]
    assert cut == [(8, 2, 5), (16, 0, 5), (24, 0, 3)]
    assert [(p.place.lsn, p.start, p.stop) for p in index.upto(PARTITION, Cursor(Lsn(9), 0))] == [(8, 2, 5)]
