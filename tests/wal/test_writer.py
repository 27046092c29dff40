"""What an acknowledgement by the log means, and what a failure leaves behind."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest

from collectord.errors import LogUnavailable, SpoolFull
from collectord.model import Entry, EntryKind, Lsn
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.disk import Disk
from collectord.wal.framing import MAX_PAYLOAD_BYTES
from collectord.wal.reader import LogReader
from collectord.wal.writer import ENOUGH_BYTES, GAP_COMMITS, LogWriter
from tests.wal.faults import EIO, ENOSPC, FaultyDisk, PowerCut
from tests.wal.spool import SCHEMA, SPOOL_ID, FakeClock, Spool, batch, payload_of, payloads, schema


def entry(number: int, length: int = 1000, client: bytes = b"client-of-a-test") -> Entry:
    return batch(number, payload_of(number, length), client=client)


def expected(*numbers: int, length: int = 1000) -> list[tuple[int, bytes]]:
    return [(number, payload_of(number, length)) for number in numbers]


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def spool(tmp_path: Path, disk: FaultyDisk) -> Spool:
    return Spool(tmp_path, disk=disk)


def test_everything_queued_costs_one_sync_and_is_told_in_order(spool: Spool, disk: FaultyDisk) -> None:
    assert spool.commit(entry(1)) is None
    disk.calls.clear()
    order: list[int] = []
    for number in range(2, 8):
        spool.writer.append([entry(number)], lambda _, number=number: order.append(number))
    assert order == []
    spool.writer.commit()
    assert order == list(range(2, 8))
    assert disk.calls == ["write", "sync"]


def test_nothing_is_told_and_nothing_is_read_before_the_sync(spool: Spool, disk: FaultyDisk) -> None:
    told: list[object] = []
    reader = LogReader(spool.writer.catalog, Lsn(0))
    disk.next["sync"] = [lambda: None, lambda: told.append((list(told), reader.read(10)))]
    spool.writer.append([entry(1)], told.append)
    spool.writer.commit()
    assert told == [([], []), None]


def test_nothing_is_told_to_be_durable_in_a_file_that_somebody_has_deleted(tmp_path: Path) -> None:
    """Its descriptor takes whatever is written, and nobody would find it. A directory that was moved is still there."""
    spool = Spool(tmp_path)
    assert spool.commit(entry(1)) is None
    log = spool.writer.catalog.segments()[-1].path.parent
    log.rename(tmp_path / "moved")
    assert spool.commit(entry(2)) is None
    (tmp_path / "moved").rename(log)
    shutil.rmtree(log)
    for number in (3, 4):
        failure = spool.commit(entry(number))
        assert isinstance(failure, LogUnavailable)
        assert str(log) in str(failure)
    log.mkdir()
    assert spool.commit(entry(3)) is None
    spool.close()


def test_on_commit_comes_once_per_group_after_durable_advanced(spool: Spool) -> None:
    seen: list[int] = []
    spool.writer.on_commit = lambda: seen.append(spool.writer.durable)
    spool.commit_all([[entry(1)], [entry(2), entry(3)]])
    first = spool.writer.durable
    spool.commit(entry(4))
    assert seen == [first, spool.writer.durable] and first < spool.writer.durable


def test_the_time_of_a_sync_is_told_once_per_group_that_is_durable(spool: Spool, disk: FaultyDisk) -> None:
    """A listener that fails harms nobody."""
    took: list[float] = []
    spool.writer.on_sync = took.append
    spool.commit(entry(1))
    spool.commit_all([[entry(2)], [entry(3)]])
    assert len(took) == 2
    assert all(seconds >= 0 for seconds in took)
    disk.next["sync"] = [OSError(5, "input/output error")]
    assert spool.commit(entry(4)) is not None
    assert len(took) == 2
    spool.writer.on_sync = lambda _: took.pop(9)
    assert spool.commit(entry(4)) is None
    assert spool.writer.callback_failures == 1


def test_with_durability_os_entries_are_not_synced(tmp_path: Path, disk: FaultyDisk) -> None:
    spool = Spool(tmp_path, disk=disk)
    writer = LogWriter(
        spool.log, SPOOL_ID, spool.recovered, segment_bytes=16384, budget_bytes=1 << 20, durability="os", disk=disk
    )
    told: list[object] = []
    writer.append([entry(1)], told.append)
    writer.commit()
    disk.calls.clear()
    writer.append([entry(2)], told.append)
    writer.commit()
    assert (disk.calls, told) == (["write"], [None, None])
    writer.close()
    assert payloads(spool.recover()) == expected(1, 2)


@pytest.mark.parametrize("short", [1, 7, 96, 4096])
def test_short_writes_are_continued(tmp_path: Path, disk: FaultyDisk, short: int) -> None:
    spool = Spool(tmp_path, disk=disk)
    disk.short = short
    assert spool.commit(entry(1), entry(2, 333)) is None
    spool.writer.close()
    assert payloads(spool.recover()) == [(1, payload_of(1, 1000)), (2, payload_of(2, 333))]


def test_more_buffers_than_one_system_call_takes_are_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=1 << 20)
    assert spool.commit(*(entry(number, number % 9) for number in range(1, 2001))) is None
    spool.writer.close()
    assert payloads(spool.recover()) == [(number, payload_of(number, number % 9)) for number in range(1, 2001)]


@pytest.mark.parametrize("operation", ["sync", "write"])
def test_after_a_failure_the_same_file_is_never_written_again(spool: Spool, disk: FaultyDisk, operation: str) -> None:
    assert spool.commit(entry(1)) is None
    disk.fail(operation, EIO)
    old = spool.files()[-1]
    assert isinstance(spool.commit(entry(2)), LogUnavailable)
    assert disk.fired == [operation]
    before = old.read_bytes()
    assert spool.commit(entry(2)) is None
    assert spool.files()[-1] != old and old.read_bytes() == before
    assert [s.sequence for s in LogReader(spool.writer.catalog, Lsn(0)).read(10)] == [1, 2]


@pytest.mark.parametrize("torn", [0, 50, 1000, 3000])
def test_entries_reported_as_failed_do_not_come_back(spool: Spool, disk: FaultyDisk, torn: int) -> None:
    assert spool.commit(entry(1)) is None
    disk.fail("sync", EIO)
    assert isinstance(spool.commit(entry(2)), LogUnavailable)
    disk.torn = torn
    disk.fail("write", EIO)
    assert isinstance(spool.commit(entry(2), entry(3)), LogUnavailable)
    assert disk.fired == ["sync", "write"]
    disk.kill()
    assert payloads(spool.recover()) == expected(1)
    spool.write()
    assert spool.commit(entry(2)) is None
    spool.writer.close()
    assert payloads(spool.recover()) == expected(1, 2)


def test_a_disk_that_keeps_failing_leaves_no_files_behind(spool: Spool, disk: FaultyDisk) -> None:
    assert spool.commit(entry(1)) is None
    disk.fail("sync", EIO, times=50)
    for _ in range(20):
        assert isinstance(spool.commit(entry(2)), LogUnavailable)
    assert disk.fired
    assert len(list(spool.log.iterdir())) <= 2
    disk.heal()
    assert spool.commit(entry(2)) is None
    assert [s.sequence for s in LogReader(spool.writer.catalog, Lsn(0)).read(10)] == [1, 2]


def test_groups_that_fail_with_a_working_header_do_not_pile_up_segments(spool: Spool, disk: FaultyDisk) -> None:
    assert spool.commit(entry(1)) is None
    for _ in range(10):
        disk.fail("write", EIO)
        assert isinstance(spool.commit(entry(2)), LogUnavailable)
    assert len(list(spool.log.iterdir())) <= 3
    assert spool.writer.used_bytes == sum(p.stat().st_size for p in spool.log.iterdir())


def test_what_follows_a_failed_entry_of_the_same_client_fails_until_it_is_repeated(
    spool: Spool, disk: FaultyDisk
) -> None:
    assert spool.commit(entry(1)) is None
    disk.fail("sync", EIO)
    assert isinstance(spool.commit(entry(2)), LogUnavailable)
    other = b"another-client.."
    told = spool.commit_all([[entry(3)], [entry(1, client=other)], [entry(4)]])
    assert [type(t) for t in told] == [LogUnavailable, type(None), LogUnavailable]
    assert spool.commit_all([[entry(2)], [entry(3)]]) == [None, None]


def test_a_refusal_is_forgotten_after_a_minute(spool: Spool, disk: FaultyDisk) -> None:
    disk.fail("write", EIO)
    assert isinstance(spool.commit(entry(2)), LogUnavailable)
    spool.clock.now += 61
    assert spool.commit(entry(3)) is None


def test_a_used_up_budget_refuses_what_needs_a_segment_and_takes_the_rest(tmp_path: Path) -> None:
    spool = Spool(tmp_path, budget=16384)
    assert spool.commit(entry(1)) is None
    told = spool.commit_all([[entry(2, 12000, b"a" * 16)], [entry(2, 1000, b"b" * 16)]])
    assert [type(t) for t in told] == [SpoolFull, type(None)]
    assert spool.writer.used_bytes == spool.writer.budget == 16384


def test_retention_lets_a_full_log_go_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path, budget=3 * 16384)
    number = 1
    while spool.commit(entry(number)) is None:
        number += 1
    assert len(spool.files()) == 3
    reader = LogReader(spool.writer.catalog, Lsn(0))
    spool.writer.retire(reader.read(100)[-1].end)
    assert len(spool.files()) == 1
    assert spool.commit(entry(number)) is None
    assert [s.sequence for s in reader.read(100)] == [number]
    assert spool.writer.used_bytes == 3 * 16384


def test_a_full_disk_is_told_and_got_over(spool: Spool, disk: FaultyDisk) -> None:
    disk.fail("create", ENOSPC)
    assert isinstance(spool.commit(entry(1)), SpoolFull)
    assert disk.fired == ["create"] and list(spool.log.iterdir()) == [] and spool.writer.used_bytes == 0
    assert spool.commit(entry(1)) is None
    disk.fail("write", ENOSPC)
    assert isinstance(spool.commit(entry(2)), SpoolFull)
    assert spool.commit(entry(2)) is None


def test_a_disk_that_holds_too_many_files_is_told_from_a_full_one(
    spool: Spool, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at its room sees plenty."""
    whole = os.statvfs(spool.log)
    for left, what in ((0, "inodes"), (1, "room")):
        found = os.statvfs_result((*whole[:5], 100, left, left, *whole[8:]))
        monkeypatch.setattr(os, "statvfs", lambda path, found=found: found)
        disk.fail("create", ENOSPC)
        assert f"the disk has no {what} for a segment" in str(spool.commit(entry(1)))


def test_retired_segments_become_at_most_two_spares_and_are_used_again(spool: Spool, disk: FaultyDisk) -> None:
    for number in range(1, 61):
        assert spool.commit(entry(number)) is None
    spool.writer.retire(spool.writer.durable)
    assert sorted(p.suffix for p in spool.log.iterdir()) == [".seg", ".spare", ".spare"]
    disk.calls.clear()
    for number in range(61, 85):
        assert spool.commit(entry(number)) is None
    assert "create" not in disk.calls and disk.calls.count("rename") == 2
    assert [s.sequence for s in LogReader(spool.writer.catalog, Lsn(0)).read(100)][-1] == 84


@pytest.mark.parametrize("done", range(4))
def test_a_crash_while_retiring_leaves_no_hole(spool: Spool, disk: FaultyDisk, done: int) -> None:
    for number in range(1, 61):
        assert spool.commit(entry(number)) is None
    assert len(spool.files()) == 6
    names = [path.name for path in spool.files()]
    for operation in ("rename", "remove"):
        disk.fail(operation, None, after=max(0, done - 2) if operation == "remove" else done)
    with pytest.raises(PowerCut):
        spool.writer.retire(spool.writer.durable)
    assert [path.name for path in spool.files()] == names[done:]
    disk.kill()
    recovered = spool.recover()
    assert (recovered.damages, recovered.losses) == ((), ())


def test_retiring_needs_no_free_space(spool: Spool, disk: FaultyDisk) -> None:
    for number in range(1, 31):
        assert spool.commit(entry(number)) is None
    disk.fail("create", ENOSPC, times=100)
    disk.fail("write", ENOSPC, times=100)
    spool.writer.retire(spool.writer.durable)
    assert len(spool.files()) == 1 and disk.fired == []


def test_the_active_segment_is_never_retired(spool: Spool) -> None:
    assert spool.commit(entry(1)) is None
    spool.writer.retire(Lsn(1 << 62))
    assert len(spool.files()) == 1
    assert spool.commit(entry(2)) is None


def test_an_append_larger_than_a_segment_gets_one_of_its_own_size(spool: Spool) -> None:
    assert spool.commit(*(entry(number) for number in range(1, 41))) is None
    assert spool.commit(entry(41)) is None
    spool.writer.close()
    assert payloads(spool.recover()) == expected(*range(1, 42))
    spool.write()
    spool.writer.retire(spool.recovered.end)
    assert all(p.stat().st_size == 16384 for p in spool.log.iterdir())


def test_a_schema_is_declared_once_in_every_segment_that_uses_it(spool: Spool) -> None:
    other = schema("other")
    for number in range(1, 25):
        assert spool.commit(entry(number), batch(number, b"x", of=other, client=b"o" * 16)) is None
    for path in spool.files():
        assert path.read_bytes().count(SCHEMA.raw) == path.read_bytes().count(other.raw) == 1
    for segment in spool.writer.catalog.segments():
        assert set(segment.schemas) == {SCHEMA.id, other.id}
    assert [spool.writer.catalog.schema(one.id) for one in (SCHEMA, other)] == [SCHEMA.raw, other.raw]


def test_what_schemas_say_is_read_from_the_log_and_not_kept_in_memory(spool: Spool) -> None:
    """Large ones may fill most of the log. Live and after a restart alike; what has gone with its segments is gone."""
    large = schema("l" * 9000)
    assert spool.commit(batch(1, b"x", of=large)) is None
    assert spool.writer.catalog.schema(large.id) == large.raw
    (segment,) = spool.writer.catalog.segments()
    assert len(large.raw) > 9000
    assert len(repr(segment.schemas)) < 500
    spool.writer.close()
    recovered = spool.recover()
    with closing(Catalog(recovered.segments, recovered.end)) as catalog:
        assert catalog.schema(large.id) == large.raw
        with pytest.raises(DamagedEntry, match="is not declared anywhere"):
            catalog.schema(SCHEMA.id)


def test_every_kind_of_entry_comes_back_as_it_was(spool: Spool) -> None:
    client = bytes(range(16, 32))
    entries = [
        batch(1, b"", rows=0),
        Entry(EntryKind.REJECT, client, 2**63, 2**32 - 1, b"row_too_large", SCHEMA),
        Entry(EntryKind.DROPPED, client, 0, 9, memoryview(b"counts")),
    ]
    assert spool.commit(*entries) is None
    reader = LogReader(spool.writer.catalog, Lsn(0))
    stored = reader.read(10)
    assert [(s.kind, s.client, s.sequence, s.rows, bytes(reader.read_payload(s))) for s in stored] == [
        (e.kind, e.client, e.sequence, e.rows, bytes(e.payload)) for e in entries
    ]
    assert (stored[0].partition, stored[1].schema_id, stored[2].schema_id) == (
        entries[0].partition,
        SCHEMA.id,
        bytes(16),
    )


def test_positions_rise_over_restarts_and_above_the_floor(spool: Spool) -> None:
    spool.commit(entry(1))
    end = spool.writer.durable
    spool.writer.close()
    spool.write(floor=end + 1_000_000)
    spool.commit(entry(2))
    first, second = LogReader(spool.writer.catalog, Lsn(0)).read(10)
    assert first.end == end and second.lsn > end + 1_000_000
    assert int(spool.files()[-1].stem) % 4096 == 0


def test_a_payload_over_the_limit_is_an_error_of_the_caller(spool: Spool) -> None:
    with pytest.raises(ValueError, match="8388609"):
        spool.writer.append([batch(1, bytes(MAX_PAYLOAD_BYTES + 1))], lambda _: None)
    assert spool.commit(batch(1, bytes(MAX_PAYLOAD_BYTES))) is None


def test_a_callback_that_raises_harms_nobody_else(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    told: list[object] = []

    def bad(_: Exception | None) -> None:
        raise RuntimeError("a fault of the caller")

    spool.writer.append([entry(1)], bad)
    spool.writer.append([entry(2)], told.append)
    spool.writer.commit()
    assert told == [None]
    assert "a callback of the log failed" in caplog.text
    assert spool.writer.callback_failures == 1


def test_a_reader_that_cannot_be_woken_is_counted_and_nothing_is_lost(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    def bad() -> None:
        raise RuntimeError("a fault of the caller")

    spool.writer.on_commit = bad
    assert spool.commit(entry(1)) is None
    assert spool.writer.callback_failures == 1
    assert "could not be woken" in caplog.text
    assert [s.sequence for s in LogReader(spool.writer.catalog, Lsn(0)).read(10)] == [1]


def test_close_commits_what_is_queued_and_may_be_repeated(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    told: list[object] = []
    spool.writer.start()
    for number in range(1, 51):
        spool.writer.append([entry(number)], told.append)
    spool.writer.close()
    spool.writer.close()
    assert told == [None] * 50
    spool.writer.append([entry(51)], told.append)
    assert isinstance(told[-1], LogUnavailable)
    assert payloads(spool.recover()) == expected(*range(1, 51))


def test_appends_from_many_threads_keep_each_ones_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=65536)
    spool.writer.start()
    settled = threading.Semaphore(0)
    failures: list[Exception] = []

    def done(error: Exception | None) -> None:
        if error is not None:
            failures.append(error)
        settled.release()

    def produce(client: bytes) -> None:
        for number in range(1, 101):
            spool.writer.append([entry(number, 100, client)], done)

    threads = [threading.Thread(target=produce, args=(bytes([n]) * 16,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(800):
        assert settled.acquire(timeout=60)
    stored = LogReader(spool.writer.catalog, Lsn(0)).read(10_000)
    spool.writer.close()
    assert failures == [] and len(stored) == 800
    for n in range(8):
        assert [s.sequence for s in stored if s.client == bytes([n]) * 16] == list(range(1, 101))


class SlowDisk(Disk):
    """Whose syncs take `seconds`."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self.seconds = seconds

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._clock.now += self.seconds


def test_the_disk_rests_between_commits_for_as_long_as_some_take(tmp_path: Path) -> None:
    """The first one after idleness waits for nothing, and none for more than `commit_gap` after the one before has begun."""
    clock = FakeClock()
    disk = SlowDisk(clock, 0.001)
    pauses: list[float] = []

    def pause(_: threading.Event, seconds: float) -> None:
        pauses.append(round(seconds, 6))
        clock.now += seconds

    spool = Spool(tmp_path)
    writer = LogWriter(
        spool.log,
        SPOOL_ID,
        spool.recovered,
        budget_bytes=1 << 30,
        commit_gap=0.005,
        clock=clock,
        pause=pause,
        disk=disk,
    )
    writer.start()

    def settle(number: int, seconds: float) -> list[float]:
        """The pause before a commit, whose sync takes so many seconds."""
        disk.seconds = seconds
        done = threading.Event()
        pauses.clear()
        writer.append([entry(number)], lambda _: done.set())
        assert done.wait(60)
        return pauses.copy()

    # A segment is begun with syncs of its own.
    settle(1, 0.001)
    clock.now += 10
    assert settle(2, 0.001) == []
    assert settle(3, 0.001) == [(GAP_COMMITS - 1) * 0.001]
    clock.now += 0.0005
    assert settle(4, 0.003) == [(GAP_COMMITS - 1) * 0.001 - 0.0005]
    assert settle(5, 0.006) == [0.002]
    assert settle(6, 0.001) == []
    clock.now += 10
    assert settle(7, 0.001) == []
    writer.close()


class Pauses:
    """The log's pauses, which end with their event, or when the test says that their time is over."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._begun: SimpleQueue[tuple[threading.Event, float]] = SimpleQueue()
        self._over = threading.Semaphore(0)

    def __call__(self, ends: threading.Event, seconds: float) -> None:
        self._begun.put((ends, seconds))
        while not ends.wait(0.001):
            if self._over.acquire(blocking=False):
                self._clock.now += seconds
                break

    def begun(self) -> tuple[threading.Event, float]:
        """What the next pause waits for, and for how long."""
        return self._begun.get(timeout=60)

    def end(self) -> None:
        self._over.release()


class Hasty:
    """A log whose pauses the test ends; its first commit is done."""

    def __init__(self, folder: Path) -> None:
        spool, self.clock, took = Spool(folder), FakeClock(), 2.5
        self.rest = (GAP_COMMITS - 1) * took
        self.pauses = Pauses(self.clock)
        self.writer = LogWriter(
            spool.log, SPOOL_ID, spool.recovered, budget_bytes=1 << 30, commit_gap=1000, clock=self.clock,
            pause=self.pauses, disk=SlowDisk(self.clock, took),
        )  # fmt: skip
        self.writer.start()
        self._number = 0
        assert self.append().wait(60)
        # Beginning a segment took syncs of its own.
        self.clock.now += 10_000
        assert self.append().wait(60)

    def append(self, size: int = 8, *, urgent: bool = False) -> threading.Event:
        told = threading.Event()
        self._number += 1
        self.writer.append([entry(self._number, size)], lambda _: told.set(), urgent=urgent)
        return told

    def rests(self) -> None:
        """It does, and for how long depends on nothing else."""
        hurry, seconds = self.pauses.begun()
        assert (hurry.is_set(), seconds) == (False, self.rest)


def test_enough_ends_the_gap_for_all_that_is_queued(tmp_path: Path) -> None:
    log, half = Hasty(tmp_path), ENOUGH_BYTES // 2
    first = log.append(half)
    # Half is no reason.
    log.rests()
    assert not first.is_set()
    second = log.append(half)
    assert first.wait(60), "no pause was ended"
    assert second.wait(60)
    third = log.append(half)
    # The haste of one is not that of the next, and what was written counts no longer.
    log.rests()
    assert not third.is_set()
    log.pauses.end()
    assert third.wait(60)
    fourth = log.append()
    log.rests()
    log.writer.close()
    assert fourth.is_set()


def test_what_is_urgent_and_all_before_it_waits_for_no_gap(tmp_path: Path) -> None:
    log = Hasty(tmp_path)
    first = log.append()
    log.rests()
    assert not first.is_set()
    second = log.append(urgent=True)
    assert first.wait(60), "no pause was ended"
    assert second.wait(60)
    third = log.append()
    # The haste of one is not that of the next.
    log.rests()
    assert not third.is_set()
    log.writer.close()
    assert third.is_set()
