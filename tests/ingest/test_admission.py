"""The budget of bytes under way: fair, never overdrawn, and nothing is lost by those who give up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from collectord.ingest.admission import FIRST_CREDIT, LEAST_CREDIT, Admission, credit
from tests.ingest.fakes import turn


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_credit_is_two_pages_and_shrinks_to_one_when_many_share_the_budget() -> None:
    assert credit(64 << 20, 0) == credit(64 << 20, 128) == FIRST_CREDIT
    assert credit(64 << 20, 200) == (64 << 20) // 200
    assert credit(64 << 20, 10_000) == LEAST_CREDIT
    assert credit(0, 1) == LEAST_CREDIT


def test_what_fits_does_not_wait() -> None:
    async def scenario() -> None:
        admission = Admission(100)
        await admission.acquire(60)
        await admission.acquire(40)
        assert admission.used == 100

    run(scenario)


def test_whoever_came_first_is_served_first_even_if_a_later_one_would_fit() -> None:
    """Otherwise small batches would starve a large one."""

    async def scenario() -> None:
        admission = Admission(100)
        await admission.acquire(60)
        order: list[str] = []

        async def want(name: str, size: int) -> None:
            await admission.acquire(size)
            order.append(name)

        tasks = [asyncio.create_task(want("large", 80)), asyncio.create_task(want("small", 10))]
        await turn()
        assert order == []
        admission.release(60)
        await turn()
        assert order == ["large", "small"]
        assert admission.used == 90
        await asyncio.gather(*tasks)

    run(scenario)


def test_one_that_is_larger_than_the_budget_passes_alone() -> None:
    async def scenario() -> None:
        admission = Admission(100)
        await admission.acquire(10)
        huge = asyncio.create_task(admission.acquire(1000))
        small = asyncio.create_task(admission.acquire(1))
        await turn()
        assert not huge.done()
        admission.release(10)
        await turn()
        assert huge.done()
        assert not small.done()
        admission.release(1000)
        await turn()
        assert small.done()
        admission.release(1)
        assert admission.used == 0

    run(scenario)


def test_one_that_gives_up_lets_those_behind_it_pass() -> None:
    async def scenario() -> None:
        admission = Admission(100)
        await admission.acquire(50)
        large = asyncio.create_task(admission.acquire(90))
        small = asyncio.create_task(admission.acquire(50))
        await turn()
        large.cancel()
        await turn()
        assert large.cancelled()
        assert small.done()
        assert admission.used == 100

    run(scenario)


def test_one_that_is_cancelled_at_the_moment_of_its_turn_gives_the_bytes_back() -> None:
    async def scenario() -> None:
        admission = Admission(100)
        await admission.acquire(100)
        waiting = asyncio.create_task(admission.acquire(70))
        await turn()
        admission.release(100)
        assert admission.used == 70
        waiting.cancel()
        await turn()
        assert waiting.cancelled()
        assert admission.used == 0

    run(scenario)


def test_a_release_between_a_cancellation_and_its_arrival_does_no_harm() -> None:
    """The waiter is passed over, and its cancellation stays a cancellation."""

    async def scenario() -> None:
        admission = Admission(100)
        await admission.acquire(100)
        waiting = asyncio.create_task(admission.acquire(70))
        behind = asyncio.create_task(admission.acquire(60))
        await turn()
        waiting.cancel()
        admission.release(100)
        await turn()
        assert waiting.cancelled()
        assert behind.done()
        assert admission.used == 60

    run(scenario)


@given(st.lists(st.tuples(st.sampled_from(["acquire", "release", "cancel"]), st.integers(0, 150)), max_size=30))
def test_whatever_happens_the_account_is_right(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        admission = Admission(100)
        tasks: list[tuple[int, asyncio.Task[None]]] = []
        held: list[int] = []

        def settle() -> None:
            for entry in [entry for entry in tasks if entry[1].done()]:
                tasks.remove(entry)
                if not entry[1].cancelled():
                    held.append(entry[0])

        for what, size in steps:
            if what == "acquire":
                tasks.append((size, asyncio.create_task(admission.acquire(size))))
            elif what == "release" and held:
                admission.release(held.pop(size % len(held)))
            elif what == "cancel" and tasks:
                tasks[size % len(tasks)][1].cancel()
            if size % 2:
                await turn()
                settle()
        await turn()
        settle()
        assert admission.used == sum(held)
        assert admission.used <= 100 or sum(1 for size in held if size) == 1
        while held:
            admission.release(held.pop())
            await turn()
            settle()
        assert not tasks, "whoever waits is served in the end"
        assert admission.used == 0

    run(scenario)
