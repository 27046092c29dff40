"""The index of what waits: in order, exactly once, due when it should be."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collectord.buffer.index import FIRST_RATIO, MAX_RATIOS, Index, Slice
from collectord.buffer.seal import MAX_FRAME_ROWS, Cause, SealRules, age_limit
from collectord.model import ENTRY_BYTES, Cursor, EntryKind, Lsn, Partition, Place, Stored

RULES = SealRules(flush_bytes=1000, frame_payload=10_000, flush_interval=60.0, salt=b"s")
A, B = (Partition(bytes([at]) * 16, 24, 1440) for at in range(2))


def entry(lsn: int, rows: int = 1, length: int = 100, partition: Partition = A) -> Stored:
    return Stored(
        Lsn(lsn), Lsn(lsn + length), EntryKind.BATCH, bytes(16), 1, rows, partition.schema_id, partition.start_hour,
        partition.boundary_minutes, length,
    )  # fmt: skip


def index(*entries: Stored, cursors: dict[Partition, Cursor] | None = None, rules: SealRules = RULES) -> Index:
    made = Index(rules, cursors or {})
    for stored in entries:
        made.add(stored, 0.0)
    return made


def spans(slices: list[Slice]) -> list[tuple[int, int, int]]:
    return [(piece.place.lsn, piece.start, piece.stop) for piece in slices]


def test_rows_come_out_in_the_order_of_the_log_up_to_about_one_frame() -> None:
    """1000 bytes of frame are 2000 of the log at the first ratio; the entry that crosses the line is cut by rows."""
    made = index(*(entry(lsn * 1000, rows=10, length=900) for lsn in range(4)))
    assert FIRST_RATIO == 0.5
    assert spans(made.take(A)) == [(0, 0, 10), (1000, 0, 10), (2000, 0, 2)]
    assert spans(made.take(A)) == spans(made.take(A)), "nothing is removed by taking"
    assert spans(made.take(A, 0.5)) == [(0, 0, 10), (1000, 0, 1)]
    assert spans(made.take(A, 0.0)) == [(0, 0, 1)], "never less than a row"


def test_a_whole_frame_may_wait_behind_another() -> None:
    """As many bytes as make one, or as many rows; what is to land first does not count."""
    made = index(*(entry(lsn * 1000, rows=10, length=1000) for lsn in range(3)))
    first = made.take(A)
    assert spans(first) == [(0, 0, 10), (1000, 0, 10)]
    assert not made.fills_behind(A, 20, 2000)
    made.add(entry(3000, rows=10, length=999), 0.0)
    assert not made.fills_behind(A, 20, 2000)
    made.add(entry(4000, rows=1, length=1), 0.0)
    assert made.fills_behind(A, 20, 2000)
    assert spans(made.take(A, begin=first[-1].after)) == [(2000, 0, 10), (3000, 0, 10), (4000, 0, 1)]
    assert not made.fills_behind(B, 0, 0)
    assert index(entry(0, rows=2 * MAX_FRAME_ROWS, length=10)).fills_behind(A, MAX_FRAME_ROWS, 5)
    assert not index(entry(0, rows=2 * MAX_FRAME_ROWS - 1, length=10)).fills_behind(A, MAX_FRAME_ROWS, 5)


def test_a_frame_has_a_bounded_number_of_rows() -> None:
    """A million rows of one byte are a gigabyte of text with their ids and times."""
    made = index(entry(0, rows=1_000_000, length=1000))
    assert made.due(0.0) == {A: Cause.BYTES}
    assert spans(made.take(A)) == [(0, 0, MAX_FRAME_ROWS)]
    made.landed(A, Cursor(Lsn(0), 1_000_000 - 5), 0.0)
    made.add(entry(2000, rows=MAX_FRAME_ROWS, length=100), 0.0)
    assert spans(made.take(A)) == [(0, 999_995, 1_000_000), (2000, 0, MAX_FRAME_ROWS - 5)]


def test_all_that_waits_of_a_partition_is_seen_without_being_taken() -> None:
    made = index(entry(0, rows=10), entry(1000, rows=4), entry(2000, partition=B))
    made.landed(A, Cursor(Lsn(0), 3), 0.0)
    assert spans(list(made.slices(A))) == [(0, 3, 10), (1000, 0, 4)]
    assert made.rows_of(A) == 11
    made.landed(A, Cursor(Lsn(1001), 0), 0.0)
    assert (list(made.slices(A)), made.rows_of(A)) == ([], 0)


def test_the_cursor_after_a_slice_is_behind_its_last_row() -> None:
    stored = entry(100, rows=5)
    place = Place(stored.lsn, stored.length)
    assert Slice(place, 5, 0, 3).after == Cursor(Lsn(100), 3)
    assert Slice(place, 5, 3, 5).after == Cursor(Lsn(101), 0)


def test_what_a_cursor_has_passed_does_not_wait() -> None:
    made = index(entry(0, 4), entry(100, 4), entry(200, 4), cursors={A: Cursor(Lsn(100), 3)})
    assert made.rows == 5
    assert spans(made.take(A)) == [(100, 3, 4), (200, 0, 4)]
    whole = index(entry(0, 4), entry(100, 4), cursors={A: Cursor(Lsn(100), 0)})
    assert spans(whole.take(A)) == [(100, 0, 4)]


def test_a_cursor_of_one_partition_says_nothing_of_another() -> None:
    made = index(entry(0, 1, partition=A), entry(100, 1, partition=B), cursors={A: Cursor(Lsn(500), 0)})
    assert A not in made
    assert B in made
    assert len(made) == 1


def test_a_frame_that_lands_before_the_log_was_read_again_is_not_handed_out_twice() -> None:
    """An open intent of before a crash is settled while the log is still being read."""
    made = index()
    assert made.landed(A, Cursor(Lsn(100), 2), 0.0) == 0
    made.add(entry(0, 4), 0.0)
    made.add(entry(100, 4), 0.0)
    assert spans(made.take(A)) == [(100, 2, 4)]


def test_landing_forgets_exactly_what_landed() -> None:
    made = index(entry(0, 4), entry(100, 4), entry(200, 4))
    assert made.landed(A, Cursor(Lsn(100), 1), 0.0) == 5
    assert made.rows == 7
    assert spans(made.take(A)) == [(100, 1, 4), (200, 0, 4)]
    assert made.landed(A, Cursor(Lsn(100), 1), 0.0) == 0, "told twice, counted once"
    assert made.landed(A, Cursor(Lsn(300), 0), 0.0) == 7
    assert A not in made
    assert made.rows == 0
    assert made.waiting_from() is None
    assert made.oldest() is None


def test_a_partition_is_due_by_bytes_as_soon_as_they_are_there() -> None:
    made = index(entry(0, length=1999))
    assert not made.due(0.0)
    made.add(entry(5000, length=1), 1.0)
    assert made.due(1.0) == {A: Cause.BYTES}


def test_the_landed_share_of_an_entry_does_not_make_a_frame_due_again() -> None:
    """Otherwise each large batch would be followed by a frame for its small rest."""
    made = index(entry(0, rows=100, length=9000))
    assert made.due(0.0) == {A: Cause.BYTES}
    made.landed(A, Cursor(Lsn(0), 90), 0.0)
    assert not made.due(0.0)
    made.add(entry(10_000, rows=1, length=1100), 0.0)
    assert made.due(0.0) == {A: Cause.BYTES}, "900 left and 1100 more"


def test_a_partition_is_due_by_the_age_of_its_oldest_row() -> None:
    made = Index(RULES, {})
    made.add(entry(0), 10.0)
    made.add(entry(100), 50.0)
    timer = made.next_timer()
    assert timer == 10.0 + age_limit(RULES, A)
    assert not made.due(timer - 0.001)
    assert made.due(timer) == {A: Cause.AGE}
    made.landed(A, Cursor(Lsn(100), 0), timer)
    assert not made.due(timer)
    assert made.next_timer() == 50.0 + age_limit(RULES, A)


@given(st.floats(0, 1e9), st.floats(0.001, 86_400), st.binary(max_size=4))
def test_a_timer_that_has_come_makes_its_partition_due_whatever_the_rounding(
    came: float, interval: float, salt: bytes
) -> None:
    """A rounding apart, and the timer would come back for ever."""
    made = Index(SealRules(1000, 10_000, interval, salt), {})
    made.add(entry(0), came)
    timer = made.next_timer()
    assert timer is not None
    assert made.due(timer) == {A: Cause.AGE}


def test_the_partitions_that_became_due_first_come_first() -> None:
    made = index(entry(0, length=2000, partition=B), entry(5000, length=2000, partition=A))
    assert list(made.due(0.0)) == [B, A]


def test_a_flush_is_for_what_was_there() -> None:
    made = index(entry(0, partition=A))
    made.add(entry(500, partition=B), 0.0)
    made.flush(Lsn(100))
    assert made.due(0.0) == {A: Cause.FLUSH}
    made.add(entry(100), 0.0)
    made.landed(A, Cursor(Lsn(100), 0), 0.0)
    assert not made.due(0.0), "what came later waits for its own reasons"
    made.flush(Lsn(1000))
    assert set(made.due(0.0)) == {A, B}


def test_a_flush_goes_on_until_everything_before_its_position_has_landed() -> None:
    made = index(*(entry(lsn * 1000, rows=1, length=900) for lsn in range(5)))
    made.flush(Lsn(5000))
    landed = 0
    while made.due(0.0):
        landed += made.landed(A, made.take(A)[-1].after, 0.0)
    assert landed == 5


def test_the_log_may_be_freed_up_to_the_first_row_that_waits() -> None:
    made = index(entry(700, partition=A), entry(800, partition=B))
    assert made.waiting_from() == 700
    made.landed(A, Cursor(Lsn(800), 0), 0.0)
    assert made.waiting_from() == 800
    assert list(made.waiting_rows()) == [(B, 1, 0.0)]


def test_cursors_are_forgotten_when_the_log_begins_behind_them() -> None:
    """But not one that stands inside the log's first entry: that entry will be read again."""
    cursors = {A: Cursor(Lsn(100), 0), B: Cursor(Lsn(100), 1)}
    made = Index(RULES, cursors)
    made.forget(Lsn(100))
    made.add(entry(0, 1, partition=A), 0.0)
    assert made.rows == 1, "A was forgotten"
    made.add(entry(100, 3, partition=B), 0.0)
    assert spans(made.take(B)) == [(100, 1, 3)]


def test_how_well_rows_compress_is_learned_and_kept_for_the_next_day() -> None:
    made = index(entry(0, rows=100, length=9000))
    made.learn(A, 1000.0, 100)
    assert spans(made.take(A)) == [(0, 0, 100)]
    tomorrow = Partition(A.schema_id, A.start_hour + 24, 1440)
    made.add(entry(10_000, rows=100, length=20_000, partition=tomorrow), 0.0)
    assert spans(made.take(tomorrow)) == [(10_000, 0, 50)], "frame_payload bounds it"
    made.learn(A, 0.0, 0)
    assert made.take(A)


def test_what_is_learned_is_bounded() -> None:
    made = Index(RULES, {})
    for at in range(MAX_RATIOS + 10):
        made.learn(Partition(at.to_bytes(16, "big"), 0, 1440), 10.0, 1)
    assert len(made._ratios) == MAX_RATIOS


@dataclass
class Model:
    """One partition as a plain list of rows that have not landed: `(lsn, row)`."""

    rows: list[tuple[int, int]] = field(default_factory=list)


class IndexModel(RuleBasedStateMachine):
    """Entries arrive, frames land, the daemon restarts: against lists of single rows."""

    @initialize()
    def start(self) -> None:
        self.log: list[Stored] = []
        self.at = 0
        self.now = 0.0
        self.cursors: dict[Partition, Cursor] = {}
        self.model: dict[Partition, Model] = {A: Model(), B: Model()}
        self.index = Index(RULES, {})

    @rule(
        rows=st.integers(1, 50), length=st.integers(1, 3000), partition=st.sampled_from([A, B]), gap=st.integers(0, 3)
    )
    def add(self, rows: int, length: int, partition: Partition, gap: int) -> None:
        stored = entry(self.at, rows, length, partition)
        self.at += length + gap
        self.log.append(stored)
        self.index.add(stored, self.now)
        self.model[partition].rows += [(stored.lsn, row) for row in range(rows)]

    @rule(partition=st.sampled_from([A, B]), scale=st.sampled_from([1.0, 0.3, 0.0]))
    def land(self, partition: Partition, scale: float) -> None:
        if partition not in self.index:
            return
        slices = self.index.take(partition, scale)
        taken = [(int(s.place.lsn), row) for s in slices for row in range(s.start, s.stop)]
        rows = self.model[partition].rows
        assert taken == rows[: len(taken)]
        assert taken
        del rows[: len(taken)]
        after = slices[-1].after
        behind = self.index.take(partition, begin=after) if rows else []
        assert self.index.begin(partition) == Cursor(slices[0].place.lsn, slices[0].start)
        self.cursors[partition] = after
        assert self.index.landed(partition, after, self.now) == len(taken)
        assert behind == (self.index.take(partition) if rows else [])

    @rule()
    def restart(self) -> None:
        """The log is read again from its beginning; the ledger has the cursors."""
        self.index = Index(RULES, self.cursors)
        for stored in self.log:
            self.index.add(stored, self.now)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = self.index.due(self.now)
        assert all(partition in self.index for partition in due)
        timer = self.index.next_timer()
        assert timer is None or timer > self.now
        late = {p for p, _, came in self.index.waiting_rows() if self.now - came > RULES.flush_interval}
        assert late <= set(due)

    @rule()
    def flush(self) -> None:
        self.index.flush(Lsn(self.at))
        assert set(self.index.due(self.now)) == {p for p, model in self.model.items() if model.rows}

    @invariant()
    def the_index_knows_what_waits(self) -> None:
        waiting = {partition: model.rows for partition, model in self.model.items() if model.rows}
        assert self.index.rows == sum(map(len, waiting.values()))
        assert {p: rows for p, rows, _ in self.index.waiting_rows()} == {p: len(rows) for p, rows in waiting.items()}
        assert self.index.waiting_from() == min((rows[0][0] for rows in waiting.values()), default=None)
        lengths = {stored.lsn: stored.length + ENTRY_BYTES for stored in self.log}
        assert self.index.bytes == sum(lengths[lsn] for rows in waiting.values() for lsn in {Lsn(at) for at, _ in rows})
        assert set(self.index.turns(self.now)) == set(self.index.due(self.now))


TestIndexModel = IndexModel.TestCase
TestIndexModel.settings = settings(max_examples=60, stateful_step_count=30)


def test_what_lies_before_a_position_is_told_from_what_lies_behind() -> None:
    """For what was parked: rows before it, without those that have landed, and where the rest begins."""
    index = Index(SealRules(1 << 20, 2 << 20, 60, b""), {})
    a, b = Partition(b"a" * 16, 0, 1440), Partition(b"b" * 16, 0, 1440)
    for lsn, one in ((8, a), (16, b), (24, a), (32, b)):
        index.add(Stored(Lsn(lsn), Lsn(lsn + 8), EntryKind.BATCH, b"c" * 16, 1, 5, one.schema_id, 0, 1440, 50), 0.0)
    index.landed(a, Cursor(Lsn(8), 2), 0.0)
    assert dict(index.rows_before(Lsn(24))) == {a: 3, b: 5}
    assert dict(index.rows_before(Lsn(8))) == {}
    assert [index.waiting_from(Lsn(lsn)) for lsn in (0, 9, 17, 25, 33)] == [8, 16, 24, 32, None]
    assert sorted((place.lsn, one) for one, place, _ in index.between(Lsn(9), Lsn(25))) == [(16, b), (24, a)]
    assert index.bytes_from(a, Lsn(9)) == (1, 50)
    assert index.bytes_from(Partition(b"c" * 16, 0, 60), Lsn(0)) == (0, 0)
    assert set(index.partitions()) == {a, b}


def test_what_is_due_comes_in_turns_of_whom_it_is() -> None:
    """However many partitions one has, and however long they wait, another's is the next; who was served longest ago comes
    first."""
    many = [Partition(bytes([n]) * 16, 24, 1440) for n in range(10, 16)]
    made = Index(RULES, {})
    made.whose = lambda one: "red" if one in many else "blue"
    for at, one in enumerate([*many, A, B]):
        made.add(entry(at * 1000, partition=one), 0.0)
    made.flush(Lsn(100_000))
    assert list(made.turns(0.0)) == [many[0], A, many[1], B, *many[2:]]
    made.serve(many[0])
    assert list(made.turns(0.0))[:2] == [A, many[0]]
    made.serve(A)
    made.landed(many[0], Cursor(Lsn(1), 0), 0.0)
    assert list(made.turns(0.0))[:3] == [many[1], A, many[2]]
    assert made.served(A) > made.served(many[1]) == 1
    assert set(made.turns(0.0)) == set(made.due(0.0))


def test_what_waits_is_counted_for_whoever_opened_it_with_its_declarations() -> None:
    """Until it has landed; with the last of it he is forgotten."""
    made = Index(RULES, {})
    made.whose = lambda one: "red" if one == A else "blue"
    made.add(entry(1000, 4), 0.0, declared=700)
    made.add(entry(2000, 4), 0.0)
    made.add(entry(3000, 4), 0.0, declared=700)
    made.add(entry(4000, 4, partition=B), 0.0)
    size = 100 + ENTRY_BYTES
    assert made.held("red") == (1, 3 * size + 1400)
    assert made.held("blue") == (1, size)
    assert made.bytes == 4 * size + 1400
    made.landed(A, Cursor(Lsn(1000), 2), 0.0)
    assert made.held("red") == (1, 3 * size + 1400), "an entry that has landed in part is there"
    made.landed(A, Cursor(Lsn(1001), 0), 0.0)
    assert made.held("red") == (1, 2 * size + 700)
    assert sorted(made.holders()) == [("blue", 1, size), ("red", 1, 2 * size + 700)]
    made.landed(A, Cursor(Lsn(3001), 0), 0.0)
    assert (made.held("red"), made.bytes) == ((0, 0), size)
    assert [whose for whose, _, _ in made.holders()] == ["blue"]
