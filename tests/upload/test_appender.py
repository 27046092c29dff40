"""Each frame is in its blob exactly once, whatever is lost, whoever else appends, and wherever it crashes."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from collectord import files
from collectord.errors import SpoolFull
from collectord.testing.clock import ManualClock
from collectord.testing.store import LATE, LOST, UNSENT, Fault, MemoryStore, StoredBlob
from collectord.upload.appender import MAX_STEPS, header_hash
from collectord.upload.attempts import BlockedFor, Landed, Retry
from collectord.upload.records import Intent
from collectord.upload.rollover import MAX_APPENDS, PartState
from collectord.upload.store import MAX_APPEND, Appended, Blocked, NoContainer, NotAppendable, Unknown, WrongPosition
from tests.upload.crashes import Crash, Fuse, every_step, steps, wired
from tests.upload.world import DAY, HEADER, STREAM, Writer, check_books, text_of


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def writer(tmp_path: Path, store: MemoryStore) -> Iterator[Writer]:
    writer = Writer(tmp_path / "spool", store)
    yield writer
    writer.close()


def part(writer: Writer, number: int = 0) -> str:
    return writer.layout.blob(writer.layout.base(STREAM, DAY), number)


def operations(store: MemoryStore) -> list[str]:
    return [operation for operation, _, _ in store.requests]


# ---------------------------------------------------------------------- staging


def test_staging_sends_nothing_and_makes_bytes_and_intent_durable(
    writer: Writer, store: MemoryStore, tmp_path: Path
) -> None:
    intent = writer.stage(1)
    assert store.requests == []
    assert (tmp_path / "spool" / "frames" / str(intent.frame_id)).read_bytes() == HEADER + writer.rows(1)[0] + b"\n" + (
        writer.rows(1)[1] + b"\n"
    )
    assert writer.ledger.intents() == [intent]
    assert writer.landed() == 0


def test_the_bytes_are_synced_before_the_intent_is_written(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write, stage = files.write_durably, writer.ledger.stage

    def note_bytes(path: Path, data: bytes, over: Path | None) -> None:
        write(path, data, over)
        order.append("bytes")

    def note_intent(intent: Intent) -> None:
        order.append("intent")
        stage(intent)

    monkeypatch.setattr(files, "write_durably", note_bytes)
    monkeypatch.setattr(writer.ledger, "stage", note_intent)
    writer.stage(1)
    assert order == ["bytes", "intent"]


def test_a_frame_that_no_append_can_carry_is_a_mistake_of_the_caller(writer: Writer) -> None:
    writer.size = MAX_APPEND
    with pytest.raises(ValueError, match="a frame with its header"):
        writer.stage(1)
    assert writer.ledger.intents() == []


def test_frames_that_no_intent_names_are_removed_at_the_start(
    writer: Writer, store: MemoryStore, tmp_path: Path
) -> None:
    intent = writer.stage(1)
    frames = tmp_path / "spool" / "frames"
    (frames / "77").write_bytes(b"crashed before the intent")
    (frames / "78.tmp").write_bytes(b"crashed before the rename")
    writer.close()
    again = Writer(tmp_path / "spool", store)
    assert [path.name for path in frames.iterdir()] == [str(intent.frame_id)]
    again.close()


# ---------------------------------------------------------------------- the recipe, line by line


def test_the_first_frame_brings_its_header_in_one_append(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    assert operations(store) == ["append", "create", "append"]
    blob = store.blobs[part(writer)]
    assert (blob.blocks, blob.content_type, blob.metadata) == (1, "text/csv; charset=utf-8", {"collectord": "1"})
    check_books(store, [(writer, 1)])


def test_in_fair_weather_a_frame_is_one_request(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    store.requests.clear()
    writer.run(20)
    assert operations(store) == ["append"] * 19
    check_books(store, [(writer, 20)])


def test_the_frame_file_and_the_intent_go_once_it_landed(writer: Writer, tmp_path: Path) -> None:
    writer.run(3)
    assert [path.name for path in (tmp_path / "spool" / "frames").iterdir()] == ["spare-3"], "to be written over"
    assert writer.ledger.intents() == []


def test_a_missing_container_is_made(tmp_path: Path) -> None:
    store = MemoryStore(container=False)
    writer = Writer(tmp_path / "spool", store)
    writer.run(2)
    check_books(store, [(writer, 2)])
    writer.close()


def test_a_lost_answer_is_settled_by_the_bytes(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    store.plan("append", LOST)
    intent = writer.stage(2)
    assert isinstance(writer.appender.attempt(intent), Retry)
    assert isinstance(writer.appender.attempt(intent), Landed)
    assert writer.appender.counts().settled == 1
    check_books(store, [(writer, 2)])


def test_a_lost_answer_to_the_very_first_append_is_settled_by_the_bytes(writer: Writer, store: MemoryStore) -> None:
    store.plan("append", None, LOST)
    writer.run(2)
    check_books(store, [(writer, 2)])


def test_an_append_that_never_arrived_is_sent_again_with_the_same_bytes(writer: Writer, store: MemoryStore) -> None:
    store.plan("append", UNSENT, UNSENT, None, UNSENT)
    writer.run(2)
    assert store.fired == 3
    check_books(store, [(writer, 2)])


def test_an_append_that_arrives_late_does_not_land_twice(writer: Writer, store: MemoryStore) -> None:
    """Held back by the network, it comes after the same frame has landed by another attempt."""
    store.plan("append", LATE, None, LATE)
    intent = writer.stage(1)
    assert isinstance(writer.appender.attempt(intent), Retry)
    assert isinstance(writer.appender.attempt(intent), Retry)
    assert isinstance(writer.appender.attempt(intent), Landed)
    assert store.release() == 2
    check_books(store, [(writer, 1)])


def test_an_append_that_arrives_late_between_create_and_append_is_found(writer: Writer, store: MemoryStore) -> None:
    store.plan("append", LATE)
    intent = writer.stage(1)
    assert isinstance(writer.appender.attempt(intent), Retry)
    store.create(part(writer), "text/csv", {})
    assert store.release() == 1
    assert isinstance(writer.appender.attempt(intent), Landed)
    check_books(store, [(writer, 1)])


def test_an_append_of_somebody_else_moves_ours_behind_it(writer: Writer, store: MemoryStore, tmp_path: Path) -> None:
    other = Writer(tmp_path / "other", store, name="o")
    writer.run(1)
    other.run(2)
    writer.run(2)
    assert writer.appender.counts().races == 1
    check_books(store, [(writer, 2), (other, 2)])
    other.close()


def test_the_next_position_is_in_the_ledger_before_it_is_used(
    writer: Writer, store: MemoryStore, tmp_path: Path
) -> None:
    other = Writer(tmp_path / "other", store, name="o")
    writer.run(1)
    other.run(1)
    intent = writer.stage(2)
    length = store.length(part(writer))
    store.plan("append", None, UNSENT)
    assert isinstance(writer.appender.attempt(intent), Retry)
    assert [open_.position for open_ in writer.ledger.intents()] == [length]
    other.close()


def test_a_leased_blob_blocks_and_nothing_moves(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    store.blobs[part(writer)].leased = True
    intent = writer.stage(2)
    outcome = writer.appender.attempt(intent)
    assert isinstance(outcome, BlockedFor) and outcome.reason == "leased"
    assert writer.ledger.intents() == [intent]
    store.blobs[part(writer)].leased = False
    assert isinstance(writer.appender.attempt(intent), Landed)
    check_books(store, [(writer, 2)])


def test_a_frame_that_landed_before_the_lease_is_settled_during_it(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    store.plan("append", LOST)
    intent = writer.stage(2)
    writer.appender.attempt(intent)
    store.blobs[part(writer)].leased = True
    assert isinstance(writer.appender.attempt(intent), Landed)
    check_books(store, [(writer, 2)])


def test_a_deleted_blob_is_counted_and_begun_afresh_with_its_header(writer: Writer, store: MemoryStore) -> None:
    writer.run(2)
    del store.blobs[part(writer)]
    writer.run(3)
    assert writer.appender.counts().replaced == 1
    assert text_of(store, part(writer)) == HEADER + b"".join(row + b"\n" for row in writer.rows(3))


def test_an_emptied_blob_is_counted_and_begun_afresh_with_its_header(writer: Writer, store: MemoryStore) -> None:
    writer.run(2)
    store.blobs[part(writer)] = StoredBlob(bytearray())
    writer.run(3)
    assert writer.appender.counts().replaced == 1
    assert text_of(store, part(writer)) == HEADER + b"".join(row + b"\n" for row in writer.rows(3))


@pytest.mark.parametrize("content", [HEADER, HEADER + b"other,1\n", HEADER + b"torn", b"z\n1\n"])
def test_a_blob_that_became_shorter_is_counted_and_left_for_the_next_part(
    writer: Writer, store: MemoryStore, content: bytes
) -> None:
    """Behind half a row the next one would be part of it, and nothing behind half a frame can be read."""
    writer.run(2)
    store.blobs[part(writer)] = StoredBlob(bytearray(content))
    writer.run(3)
    writer.run(4)
    assert writer.appender.counts().replaced == 1
    assert bytes(store.blobs[part(writer)].content) == content
    assert text_of(store, part(writer, 1)) == HEADER + b"".join(row + b"\n" for n in (3, 4) for row in writer.rows(n))


@pytest.mark.parametrize("outcome", [Blocked("forbidden", "403"), Blocked("immutable", "409")])
def test_a_refusal_blocks_with_its_reason_and_the_intent_stays(
    writer: Writer, store: MemoryStore, outcome: Blocked
) -> None:
    store.plan("append", Fault(outcome))
    intent = writer.stage(1)
    blocked = writer.appender.attempt(intent)
    assert isinstance(blocked, BlockedFor) and blocked.reason == outcome.reason and blocked.after_seconds >= 2.5
    assert writer.ledger.intents() == [intent]
    assert isinstance(writer.appender.attempt(intent), Landed)


@pytest.mark.parametrize("operation", ["create", "length", "read", "create_container"])
@pytest.mark.parametrize("outcome", [Unknown("lost", 7.0), Blocked("forbidden", "403")])
def test_trouble_in_any_request_keeps_the_intent_and_passes_later(
    tmp_path: Path, operation: str, outcome: Unknown | Blocked
) -> None:
    store = MemoryStore(container=operation != "create_container")
    writer = Writer(tmp_path / "spool", store)
    if operation in ("length", "read"):
        store.plan("append", None, LOST)
    store.plan(operation, Fault(outcome))
    seen: list[Retry | BlockedFor] = []
    writer.run(2, seen.append)
    assert any(isinstance(one, Retry if isinstance(outcome, Unknown) else BlockedFor) for one in seen)
    assert store.fired >= 1
    check_books(store, [(writer, 2)])
    writer.close()


def test_what_the_store_asks_to_wait_is_a_floor(writer: Writer, store: MemoryStore) -> None:
    store.plan("append", Fault(Unknown("503", 9.0)))
    outcome = writer.appender.attempt(writer.stage(1))
    assert isinstance(outcome, Retry) and 9.0 <= outcome.after_seconds < 9.2


def test_an_answer_with_another_end_is_not_believed(writer: Writer, store: MemoryStore) -> None:
    store.plan("append", None, Fault(Appended(5), "after"))
    writer.run(1)
    assert writer.appender.counts().unknown == 1
    check_books(store, [(writer, 1)])


def test_one_attempt_ends_even_if_others_are_always_faster(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    store.plan("append", *[Fault(WrongPosition())] * MAX_STEPS)
    length = store.length(part(writer))
    assert isinstance(length, int)
    store.plan("length", *[Fault(length + step) for step in range(1, MAX_STEPS + 1)])
    assert isinstance(writer.appender.attempt(writer.stage(2)), Retry)


def test_a_container_that_vanishes_is_made_again(writer: Writer, store: MemoryStore) -> None:
    store.plan("append", None, Fault(NoContainer()))
    writer.run(1)
    check_books(store, [(writer, 1)])


# ---------------------------------------------------------------------- parts


@pytest.mark.parametrize("reason", ["sealed", "block_limit"])
def test_a_part_that_takes_no_more_is_followed_by_the_next(writer: Writer, store: MemoryStore, reason: str) -> None:
    writer.run(2)
    if reason == "sealed":
        store.blobs[part(writer)].sealed = True
    else:
        store.block_limit = 2
    writer.run(4)
    assert [blob.name for blob in store.list("")] == [part(writer, 1), part(writer)]
    check_books(store, [(writer, 4)])
    known = {part.part: part for part in writer.ledger.parts(part(writer))}
    assert (known[0].state, known[0].reason) == (PartState.CLOSED, reason)


@pytest.mark.parametrize("reason", ["sealed", "block_limit"])
def test_a_frame_that_landed_as_the_last_one_is_not_repeated_in_the_next_part(
    writer: Writer, store: MemoryStore, reason: str
) -> None:
    """Its answer was lost, and then the part was closed: the refusal alone must not move it."""
    writer.run(1)
    store.plan("append", LOST)
    intent = writer.stage(2)
    writer.appender.attempt(intent)
    if reason == "sealed":
        store.blobs[part(writer)].sealed = True
    else:
        # The limit is looked at before the position, as nobody promises otherwise.
        store.plan("append", Fault(NotAppendable(reason)))
    assert isinstance(writer.appender.attempt(intent), Landed)
    writer.run(3)
    check_books(store, [(writer, 3)])


@pytest.mark.parametrize("cut", [Unknown("cut"), OSError("cut")], ids=["told", "raised"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_part_is_not_left_while_an_append_to_it_may_still_arrive(
    tmp_path: Path, store: MemoryStore, restarted: bool, cut: Unknown | OSError
) -> None:
    """Its connection was cut, and then the store says something untrue: that the part is sealed."""
    clock = ManualClock()
    store.lateness = 60.0
    writer = Writer(tmp_path / "w", store, clock=clock)
    writer.run(1)
    store.plan("append", Fault(cut, "later"), *[Fault(NotAppendable("sealed"))] * 3)
    intent = writer.stage(2)
    with suppress(OSError):
        writer.appender.attempt(intent)
    if restarted:
        writer.close()
        writer = Writer(tmp_path / "w", store, clock=clock)
    for waits in (60.0, 20.0):
        outcome = writer.appender.attempt(intent)
        assert isinstance(outcome, Retry)
        assert outcome.after_seconds == waits
        clock.advance(40.0)
    assert store.release() == 1
    assert isinstance(writer.appender.attempt(intent), Landed)
    writer.run(3)
    check_books(store, [(writer, 3)])
    assert [blob.name for blob in store.list("")] == [part(writer)]
    writer.close()


def test_a_part_is_left_once_nothing_can_arrive_any_more(tmp_path: Path, store: MemoryStore) -> None:
    clock = ManualClock()
    store.lateness = 60.0
    writer = Writer(tmp_path / "w", store, clock=clock)
    writer.run(1)
    store.plan("append", Fault(Unknown("reset")))
    store.blobs[part(writer)].sealed = True
    intent = writer.stage(2)
    assert isinstance(writer.appender.attempt(intent), Retry)
    assert isinstance(writer.appender.attempt(intent), Retry)
    clock.advance(61.0)
    assert isinstance(writer.appender.attempt(intent), Landed)
    check_books(store, [(writer, 2)])
    assert len(list(store.list(""))) == 2
    writer.close()


def test_something_that_is_no_append_blob_is_left_for_the_next_part(writer: Writer, store: MemoryStore) -> None:
    store.blobs[part(writer)] = StoredBlob(bytearray(b"block"), appendable=False)
    writer.run(2)
    assert text_of(store, part(writer)) == b"block"
    assert text_of(store, part(writer, 1)).startswith(HEADER)


@pytest.mark.parametrize("content", [b"\x00binary", b"no line end", b"other,header\nrow\n"])
def test_a_blob_whose_header_is_not_ours_is_left_alone(writer: Writer, store: MemoryStore, content: bytes) -> None:
    store.blobs[part(writer)] = StoredBlob(bytearray(content))
    writer.run(2)
    assert text_of(store, part(writer)) == content
    assert text_of(store, part(writer, 1)) == HEADER + b"".join(row + b"\n" for n in (1, 2) for row in writer.rows(n))


def test_a_long_header_is_read_to_its_end(writer: Writer, store: MemoryStore) -> None:
    writer.header = b"x" * 300_000 + b"\n"
    store.blobs[part(writer)] = StoredBlob(bytearray(writer.header + b"1\n"))
    writer.run(1)
    assert [blob.name for blob in store.list("")] == [part(writer)]


def test_writers_with_two_headers_each_have_their_part_and_find_it_again(tmp_path: Path, store: MemoryStore) -> None:
    writers = [
        Writer(tmp_path / name, store, name=name, header=header) for name, header in (("p", b"1\n"), ("q", b"2\n"))
    ]
    for until in (1, 2, 3):
        for writer in writers:
            writer.run(until)
    check_books(store, [(writer, 3) for writer in writers])
    assert len(list(store.list(""))) == 2
    late = Writer(tmp_path / "r", store, name="r", header=b"2\n")
    late.run(1)
    check_books(store, [*[(writer, 3) for writer in writers], (late, 1)])
    assert len(list(store.list(""))) == 2
    # What it learned on the way is remembered: part 0 has a header, and it is not this one's.
    assert late.ledger.parts(part(late))[0].header == header_hash(b"1\n")
    for one in (*writers, late):
        one.close()


def test_an_empty_blob_left_by_a_crashed_creator_is_used_as_it_is(writer: Writer, store: MemoryStore) -> None:
    store.create(part(writer), "text/csv", {})
    writer.run(1)
    check_books(store, [(writer, 1)])


def test_a_part_is_rolled_before_the_service_refuses(writer: Writer, store: MemoryStore) -> None:
    writer.run(1)
    store.blobs[part(writer)].blocks = MAX_APPENDS - 1
    writer.run(4)
    assert store.blobs[part(writer)].blocks == MAX_APPENDS
    assert store.blobs[part(writer, 1)].blocks == 2
    check_books(store, [(writer, 4)])


# ---------------------------------------------------------------------- is it surely not there


def test_a_frame_that_was_refused_only_is_absent_and_the_store_is_not_asked(writer: Writer, store: MemoryStore) -> None:
    """Where it says no to everything it would never say so clearly."""
    intent = writer.stage(1)
    store.plan("append", *[Fault(Blocked("bad_name", "no"))] * 2)
    store.plan("length", Fault(Blocked("bad_name", "no")))
    for _ in range(2):
        assert isinstance(writer.appender.attempt(intent), BlockedFor)
    assert writer.appender.is_absent(intent)
    assert operations(store) == ["append"] * 2


def test_a_frame_has_landed_though_its_file_cannot_be_removed(
    tmp_path: Path,
    writer: Writer,
    store: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    intent = writer.stage(1)
    file = tmp_path / "spool" / "frames" / str(intent.frame_id)
    assert file.exists()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        assert isinstance(writer.appender.attempt(intent), Landed)
    assert "stays until the next start" in caplog.text
    assert file.exists() and not writer.ledger.intents()
    writer.run(2)
    writer.close()
    Writer(tmp_path / "spool", store).close()
    assert not file.exists()


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("how", ["lost", "elsewhere", "raised", "not written down", "restarted"])
def test_a_frame_in_doubt_is_absent_when_the_store_says_so(
    tmp_path: Path, writer: Writer, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, how: str, landed: bool
) -> None:
    """However it came to be in doubt; a refusal afterwards does not take that back."""
    writer.run(1)
    intent = writer.stage(2)
    answers = {
        "lost": Unknown("lost"),
        "elsewhere": Appended(7),
        "raised": OSError("lost"),
        "restarted": OSError("lost"),
    }
    answer = answers.get(how, Appended(len(store.blobs[part(writer)].content) + intent.size))
    store.plan("append", Fault(answer, "after" if landed else "instead"), Fault(Blocked("bad_request", "no")))

    def full(*_: object) -> None:
        raise SpoolFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(writer.ledger, "confirm", full)
        with suppress(OSError, SpoolFull):
            assert isinstance(writer.appender.attempt(intent), Retry)
    if how == "restarted":
        writer.close()
        writer = Writer(tmp_path / "spool", store)
    assert isinstance(writer.appender.attempt(intent), BlockedFor)
    store.plan("length", Fault(Unknown("no answer")))
    assert not writer.appender.is_absent(intent)
    assert writer.appender.is_absent(intent) is not landed
    assert store.fired == 3
    writer.close()


@pytest.mark.parametrize("arrives", [True, False])
def test_a_frame_is_not_absent_while_an_append_of_it_may_still_arrive(
    tmp_path: Path, store: MemoryStore, arrives: bool
) -> None:
    clock = ManualClock()
    store.lateness = 60.0
    writer = Writer(tmp_path / "w", store, clock=clock)
    writer.run(1)
    intent = writer.stage(2)
    store.plan("append", LATE)
    assert isinstance(writer.appender.attempt(intent), Retry)
    store.requests.clear()
    clock.advance(59.0)
    assert not writer.appender.is_absent(intent)
    assert store.requests == []
    assert not arrives or store.release() == 1
    clock.advance(2.0)
    assert writer.appender.is_absent(intent) is not arrives
    writer.close()


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_a_frame_whose_file_is_damaged_is_never_sent(
    writer: Writer, store: MemoryStore, tmp_path: Path, damage: str
) -> None:
    intent = writer.stage(1)
    writer.close()
    path = tmp_path / "spool" / "frames" / str(intent.frame_id)
    path.unlink() if damage == "lost" else path.write_bytes(b"changed")
    again = Writer(tmp_path / "spool", store)
    outcome = again.appender.attempt(intent)
    assert isinstance(outcome, BlockedFor) and outcome.reason == "frame_lost"
    assert store.requests == []
    again.close()


def test_an_intent_that_has_landed_is_not_sent_again(writer: Writer, store: MemoryStore) -> None:
    intent = writer.stage(1)
    writer.bring(intent)
    with pytest.raises(ValueError, match="not on its way"):
        writer.appender.attempt(intent)
    check_books(store, [(writer, 1)])


# ---------------------------------------------------------------------- crashes


STEPS = steps(MemoryStore)


def run_with_crash(
    fuse: Fuse, directory: Path, scenario: Callable[[MemoryStore, Writer], None]
) -> tuple[MemoryStore, Writer]:
    """Runs two frames with a crash at one step, then starts again and runs to four."""
    store = MemoryStore(container=False)
    writer = Writer(directory, store)
    with wired(fuse, STEPS):
        try:
            scenario(store, writer)
        except Crash:
            pass
    writer.close()
    store.release()
    writer = Writer(directory, store, seed=fuse.at)
    writer.run(4)
    return store, writer


def quietly(store: MemoryStore, writer: Writer) -> None:
    writer.run(2)


def with_lost_answers(store: MemoryStore, writer: Writer) -> None:
    store.plan("append", None, LOST, LOST, None, LATE)
    writer.run(2)


def beside_another_header(store: MemoryStore, writer: Writer) -> None:
    store.container = True
    store.blobs[part(writer)] = StoredBlob(bytearray(b"other\n1\n"))
    writer.run(2)


def sealed_on_the_way(store: MemoryStore, writer: Writer) -> None:
    writer.run(1)
    store.blobs[part(writer)].sealed = True
    writer.run(2)


@pytest.mark.parametrize("scenario", [quietly, with_lost_answers, beside_another_header, sealed_on_the_way])
def test_a_crash_between_any_two_steps_neither_loses_nor_doubles(
    tmp_path: Path, scenario: Callable[[MemoryStore, Writer], None]
) -> None:
    for fuse in every_step(21):
        store, writer = run_with_crash(fuse, tmp_path / str(fuse.at), scenario)
        if scenario is beside_another_header:
            del store.blobs[part(writer)]
        check_books(store, [(writer, 4)])
        writer.close()


def test_crashes_and_faults_of_every_kind_at_once(tmp_path: Path) -> None:
    """Two writers on one blob; requests are lost, late, refused; daemons crash at random steps and start again."""
    fired = crashes = 0
    for seed in range(6):
        chance = random.Random(seed)
        store = MemoryStore(container=False, block_limit=9)
        spools = {name: tmp_path / f"{seed}{name}" for name in ("p", "q")}
        goal = 8
        for _ in range(60):
            for operation in ("append", "create", "length", "read"):
                kinds: list[Fault | None] = [LOST, UNSENT, None]
                if operation == "append":
                    kinds += [LATE, None]
                store.plan(operation, *chance.choices(kinds, k=3))
            for name, spool in spools.items():
                fuse = Fuse(chance.randrange(1, 60))
                with wired(fuse, STEPS):
                    writer = None
                    try:
                        writer = Writer(spool, store, name=name, seed=seed)
                        writer.run(min(goal, writer.landed() + 1))
                    except Crash:
                        crashes += 1
                    finally:
                        if writer is not None:
                            writer.close()
            if chance.random() < 0.3:
                store.release()
        fired += store.fired
        writers = [Writer(spool, store, name=name) for name, spool in spools.items()]
        store.heal()
        for writer in writers:
            writer.run(goal)
        store.release()
        for writer in writers:
            writer.run(goal + 1)
        assert len(list(store.list(""))) >= 2
        check_books(store, [(writer, goal + 1) for writer in writers])
        for writer in writers:
            writer.close()
    assert fired > 100 and crashes > 50
