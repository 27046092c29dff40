"""What is sent when: order, back-off, what a refusal proves, and that nothing is lost whatever is answered."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.model import Cursor, Lsn
from collectord.telemetry import delivery
from collectord.telemetry.delivery import Delivery
from collectord.telemetry.exporter import Answer, Barred, Exhausted, Fate, Item, Later, Sorted, TooMuch, Unwanted

TAKEN, REFUSED, AGAIN = (Fate.DELIVERED, ""), (Fate.REFUSED, "item_400"), (Fate.AGAIN, "item_500")


def with_items(number: int, size: int = 100, lanes: tuple[str, ...] = ("",)) -> Delivery:
    made = Delivery()
    for at in range(number):
        made.add(Cursor(Lsn(8 * at), 0), Item(b"%d" % at, size, lanes[at % len(lanes)]))
    return made


def numbers(batch: list[delivery.Pending]) -> list[int]:
    return [int(one.item.body) for one in batch]


def taken(batch: list[delivery.Pending]) -> Sorted:
    return Sorted((TAKEN,) * len(batch))


def drive(made: Delivery, answers: list[Answer | None], most: int = 2000) -> list[tuple[float, list[int]]]:
    """Sends until nothing is left; None: all is taken. What was sent when."""
    now, sent = 0.0, []
    for _ in range(most):
        if not made.pending:
            return sent
        now = max(now, made.wake_at())
        batch = made.next(now)
        assert batch, "there is something to send at the time that it named"
        sent.append((now, numbers(batch)))
        answer = answers.pop(0) if answers else None
        made.settle(batch, taken(batch) if answer is None else answer, now, 0.5)
    raise AssertionError("it does not end")


def test_items_go_in_order_and_requests_grow_while_they_are_taken() -> None:
    sent = drive(with_items(1000), [])
    assert [one for _, batch in sent for one in batch] == list(range(1000))
    assert [len(batch) for _, batch in sent][:5] == [1, 2, 4, 8, 16]


def test_requests_are_bounded_in_items_and_bytes_and_a_large_item_goes_alone() -> None:
    assert max(len(batch) for _, batch in drive(with_items(5000, 1), [])) == delivery.MAX_ITEMS
    half = delivery.MAX_BYTES // 2
    assert max(len(batch) for _, batch in drive(with_items(20, half), [])) == 2
    assert {len(batch) for _, batch in drive(with_items(5, 2 * delivery.MAX_BYTES), [])} == {1}


def test_what_grows_before_it_is_sent_still_fits_into_a_request() -> None:
    made = with_items(8, 0)
    made._limit = 8
    batch = made.next(0.0)
    assert len(batch) == 8
    for one in batch:
        one.item = Item(b"x", delivery.MAX_BYTES // 2)
    assert len(delivery.fitting(batch)) == 2
    assert delivery.fitting([]) == []


def test_items_of_two_lanes_never_share_a_request() -> None:
    for _, batch in drive(with_items(100, lanes=("a", "b")), []):
        assert len({one % 2 for one in batch}) == 1


def test_what_is_read_and_not_settled_is_bounded() -> None:
    assert with_items(delivery.HELD_ITEMS - 1, 1).has_room
    assert not with_items(delivery.HELD_ITEMS, 1).has_room
    assert not with_items(2, delivery.HELD_BYTES // 2).has_room


def test_of_a_partial_answer_the_refused_are_given_up_and_the_others_sent_again() -> None:
    made = with_items(6)
    made._limit = 6
    batch = made.next(0.0)
    outcome = made.settle(batch, Sorted((TAKEN, REFUSED, AGAIN) * 2), 0.0, 0.5)
    assert (outcome.delivered, outcome.refused, outcome.again) == (2, Counter(item_400=2), Counter(item_500=2))
    assert numbers(made.pending) == [2, 5]
    assert made.left(Cursor(Lsn(99), 0)) == (Cursor(Lsn(99), 0), (Cursor(Lsn(16), 0), Cursor(Lsn(40), 0)))


def test_items_that_wait_for_another_try_hold_up_nobody() -> None:
    made = with_items(3)
    made._limit = 3
    made.settle(made.next(0.0), Sorted((AGAIN, TAKEN, TAKEN)), 0.0, 0.5)
    made.add(Cursor(Lsn(24), 0), Item(b"3", 100))
    assert numbers(made.next(made._not_before)) == [3]


def test_items_wait_no_longer_than_the_endpoint_would_however_long_a_partial_answer_asks() -> None:
    made = with_items(2)
    made._limit = 2
    made.settle(made.next(0.0), Sorted((TAKEN, AGAIN), 1e9), 0.0, 0.5)
    assert delivery.RETRY_AFTER_MOST < made.wake_at() < delivery.RETRY_AFTER_MOST + 2 * delivery.AGAIN_FIRST


def test_what_has_never_a_place_at_the_endpoint_is_given_up_and_holds_up_nobody() -> None:
    made, now, given_up, taken_ones, asked = with_items(100, lanes=("a", "b")), 0.0, 0, [], 0
    while made.pending:
        now = made.wake_at()
        batch = made.next(now)
        missing = batch[0].item.lane == "a"
        outcome = made.settle(batch, Unwanted("no_receiver_of_a") if missing else taken(batch), now, 0.5)
        asked += missing
        given_up += outcome.refused["no_receiver_of_a"]
        if outcome.delivered:
            taken_ones += numbers(batch)
            assert now < 10 * delivery.GAP + delivery.LINGER
        assert bool(made.trouble) is not bool(given_up)
    assert given_up == 50
    assert taken_ones == list(range(1, 100, 2))
    assert now >= delivery.MISSING_SECONDS
    assert asked < 50
    late = with_items(1)
    made.add(late.pending[0].at, Item(b"7", 100, "a"))
    assert made.settle(made.next(now + 9), Unwanted("no_receiver_of_a"), now + 9, 0.5).refused


@pytest.mark.parametrize("between", [None, Later("http_503", ""), Barred("http_404", "")])
def test_a_lane_that_is_missing_for_a_moment_loses_nothing(between: Answer | None) -> None:
    """As behind a gateway that is restarted: of its two processes one has no route yet."""
    made, now = with_items(100, lanes=("a", "b")), 0.0
    for answer in (Unwanted("no_receiver_of_a"), between, Unwanted("no_receiver_of_a")):
        made.settle(
            batch := [one for one in made.pending if one.item.lane == "a"][:1], answer or taken(batch), now, 0.5
        )
        now += delivery.MISSING_SECONDS - 1
    rest = [one for _, batch in drive(made, []) for one in batch]
    assert len(rest) == 100 - (between is None)


@pytest.mark.parametrize(
    ("answer", "first", "most"),
    [
        (Later("http_503", "HTTP 503"), 0.375, 45.0),
        (Later("http_429", "HTTP 429", 7.0), 7.375, 52.0),
        (Later("http_429", "HTTP 429", 1e9), delivery.RETRY_AFTER_MOST + 0.375, delivery.RETRY_AFTER_MOST + 45),
        (Exhausted("http_402"), 45.0, 2700.0),
        (Exhausted("http_439", 120.0), 120.375, 165.0),
        (Barred("http_401", "no permission"), 3.75, 225.0),
    ],
)
def test_the_endpoint_is_left_alone_longer_each_time_and_asked_with_one_item(
    answer: Answer, first: float, most: float
) -> None:
    made = with_items(100)
    made._limit = 64
    made.settle(made.next(0.0), answer, 0.0, 0.5)
    assert made.wake_at() == pytest.approx(first)
    assert made.trouble
    now = 0.0
    for _ in range(40):
        now = made.wake_at()
        batch = made.next(now)
        assert len(batch) == 1
        made.settle(batch, answer, now, 0.5)
    assert made.wake_at() - now == pytest.approx(most)
    assert numbers(made.pending) == list(range(100))
    assert made.barred is isinstance(answer, Barred)
    sent = drive(made, [])
    assert [len(batch) for _, batch in sent][:4] == [1, 2, 4, 8], "no flood after an outage"
    assert not made.trouble
    assert not made.barred


@pytest.mark.parametrize(
    ("answer", "pause"),
    [
        (Barred("http_401", "no permission"), 3.75),
        (Exhausted("http_402"), 45.0),
        (Later("http_503", "HTTP 503"), 0.375),
    ],
)
def test_a_failure_of_another_kind_begins_with_its_own_first_pause(answer: Answer, pause: float) -> None:
    """An endpoint that was away for an hour and then says 401 once is not left alone for the longest time."""
    before: list[Answer] = [Later("no_answer", "gone"), Exhausted("http_439"), Barred("http_403", "no permission")]
    made = with_items(3)
    for other in before:
        for _ in range(0 if type(other) is type(answer) else 20):
            made.settle(made.next(made.wake_at()), other, made.wake_at(), 0.5)
    now = made.wake_at()
    made.settle(made.next(now), answer, now, 0.5)
    assert made.wake_at() - now == pytest.approx(pause)


def test_what_may_have_arrived_is_counted() -> None:
    made = with_items(4)
    made._limit = 4
    assert made.settle(made.next(0.0), Later("no_answer", "", doubtful=True), 0.0, 0.5).doubtful == 4


def test_one_bad_item_is_found_by_halving_and_only_it_is_given_up() -> None:
    made = with_items(64)
    made._limit = 64
    now, refused, requests = 0.0, Counter[str](), 0
    while made.pending:
        now = max(now, made.wake_at())
        batch = made.next(now)
        requests += 1
        bad = 41 in numbers(batch)
        outcome = made.settle(batch, TooMuch("http_400") if bad else taken(batch), now, 0.5)
        refused += outcome.refused
        if outcome.refused:
            assert numbers(batch) == [41]
    assert refused == Counter(http_400=1)
    assert requests < 30


def test_while_everything_is_refused_nothing_is_given_up_as_the_key_may_be_wrong() -> None:
    made = with_items(50)
    now = 0.0
    for _ in range(100):
        now = made.wake_at()
        batch = made.next(now)
        assert not made.settle(batch, Sorted((REFUSED,) * len(batch)), now, 0.5).refused
    assert made.barred
    assert len(made.pending) == 50
    drive(made, [])
    assert not made.barred


def test_a_bad_item_at_the_very_beginning_is_given_up_once_others_are_taken() -> None:
    made = with_items(3)
    refused: Counter[str] = Counter()
    order = []
    now = 0.0
    while made.pending:
        now = max(now, made.wake_at())
        batch = made.next(now)
        order += numbers(batch)
        refused += made.settle(
            batch, Sorted(tuple(REFUSED if n == 0 else TAKEN for n in numbers(batch))), now, 0.5
        ).refused
    assert refused == Counter(item_400=1)
    assert order[:2] == [0, 1], "one that was never refused is tried next"


def test_what_lies_too_far_back_expires_but_what_is_in_the_air_does_not() -> None:
    made = with_items(10)
    made._limit = 4
    flying = made.next(0.0)
    assert made.expire(Lsn(8 * 6), flying) == 2
    assert numbers(made.pending) == [0, 1, 2, 3, 6, 7, 8, 9]
    made.settle(flying, Later("http_503", ""), 0.0, 0.5)
    assert made.expire(Lsn(8 * 6)) == 4


ANSWERS = st.one_of(
    st.just(None),
    st.sampled_from(
        [
            Later("a", ""),
            Later("a", "", doubtful=True),
            Exhausted("q"),
            Exhausted("q", 1.0),
            Barred("b", ""),
            TooMuch("t"),
            Unwanted("n"),
        ]
    ),
    st.lists(st.sampled_from([TAKEN, REFUSED, AGAIN]), min_size=1, max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.lists(ANSWERS, max_size=60), st.sampled_from([("",), ("a", "b"), ("a", "b", "b", "c")]))
def test_whatever_is_answered_each_item_is_settled_once(
    number: int, answers: list[object], lanes: tuple[str, ...]
) -> None:
    """And what is written down in between is what goes on: nothing that was settled is sent again."""
    made = with_items(number, lanes=lanes)
    end = Cursor(Lsn(8 * number), 0)
    now, settled = 0.0, 0
    for answer in answers:
        if not made.pending:
            break
        now = max(now, made.wake_at())
        batch = made.next(now)
        if isinstance(answer, list):
            answer = Sorted(tuple((answer * len(batch))[: len(batch)]))
        assert answer is None or isinstance(answer, Answer)
        outcome = made.settle(batch, taken(batch) if answer is None else answer, now, 0.5)
        settled += outcome.settled
        assert settled + len(made.pending) == number
        cursor, left = made.left(end)
        waiting = {one.at for one in made.pending}
        assert sorted(waiting) == [*left, *(Cursor(Lsn(8 * at), 0) for at in range(cursor.lsn // 8, number))]
    rest = [one for _, batch in drive(made, []) for one in batch]
    assert settled + len(rest) == number
    assert len(rest) == len(set(rest))
