"""The budget of bytes under way: fair, never overdrawn, and nothing is lost by those who give up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.ingest.admission import FIRST_CREDIT, LEAST_CREDIT, Account, Admission, credit, fits
from tests.ingest.fakes import turn


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


@dataclass
class Desk:
    """A budget of 100 bytes, and clients that may each hold as many as they like unless `share` says less."""

    share: int = 1_000_000
    admission: Admission = field(default_factory=lambda: Admission(100))
    accounts: list[Account] = field(default_factory=list)
    waited: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.admission.waits = lambda whose: self.waited.update((whose,))

    def want(self, size: int, account: Account | None = None) -> asyncio.Task[None]:
        """A client, another one unless named, with one batch."""
        account = account or Account()
        self.accounts.append(account)
        return asyncio.create_task(self.admission.acquire(account, size, lambda: self.share))

    def release(self, client: int, size: int) -> None:
        self.admission.release(self.accounts[client], size)

    @property
    def used(self) -> int:
        return self.admission.used


def test_credit_is_two_pages_and_shrinks_to_one_when_many_share_the_budget() -> None:
    assert credit(64 << 20, 0) == credit(64 << 20, 128) == FIRST_CREDIT
    assert credit(64 << 20, 200) == (64 << 20) // 200
    assert credit(64 << 20, 10_000) == LEAST_CREDIT
    assert credit(0, 1) == LEAST_CREDIT


def test_one_message_may_always_be_held_and_more_up_to_the_limit() -> None:
    assert fits(0, 1_000_000, 10)
    assert fits(4, 6, 10)
    assert not fits(4, 7, 10)
    assert not fits(1, 10, 10)


def test_what_fits_does_not_wait() -> None:
    async def scenario() -> None:
        desk = Desk()
        first, second = desk.want(60), desk.want(40)
        await turn()
        assert first.done()
        assert second.done()
        assert desk.used == 100
        assert not desk.waited

    run(scenario)


def test_whoever_came_first_is_served_first_even_if_a_later_one_would_fit() -> None:
    """Otherwise small batches would starve a large one."""

    async def scenario() -> None:
        desk = Desk()
        order: list[str] = []
        desk.want(60)
        large, small = desk.want(80), desk.want(10)
        large.add_done_callback(lambda _: order.append("large"))
        small.add_done_callback(lambda _: order.append("small"))
        await turn()
        assert order == []
        assert desk.waited == {"daemon": 2}
        desk.release(0, 60)
        await turn()
        assert order == ["large", "small"]
        assert desk.used == 90

    run(scenario)


def test_one_that_is_larger_than_the_budget_passes_alone() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.want(10)
        huge, small = desk.want(1000), desk.want(1)
        await turn()
        assert not huge.done()
        desk.release(0, 10)
        await turn()
        assert huge.done()
        assert not small.done()
        desk.release(1, 1000)
        await turn()
        assert small.done()
        desk.release(2, 1)
        assert desk.used == 0

    run(scenario)


def test_a_client_that_ignores_its_credit_waits_for_itself_and_stands_in_nobodys_way() -> None:
    """There is room in the budget, but not in its share: the others are not behind it."""

    async def scenario() -> None:
        desk = Desk(share=20)
        noisy = Account()
        desk.want(15, noisy)
        await turn()
        greedy = desk.want(15, noisy)
        await turn()
        quiet = [desk.want(20) for _ in range(4)]
        await turn()
        assert all(one.done() for one in quiet)
        assert not greedy.done()
        assert desk.waited == {"client": 1}
        desk.release(0, 15)
        await turn()
        assert greedy.done()
        assert desk.used == 95

    run(scenario)


def test_a_share_that_changes_while_somebody_waits_is_looked_at_again() -> None:
    """Other clients have gone: what is released next lets more pass; others have come: it waits longer."""

    async def scenario() -> None:
        desk = Desk(share=20)
        account = Account()
        desk.want(10, account)
        await turn()
        desk.want(10, account)
        await turn()
        waiting = desk.want(15, account)
        await turn()
        desk.share = 5
        desk.release(0, 10)
        await turn()
        assert not waiting.done()
        desk.release(0, 10)
        await turn()
        assert waiting.done(), "one message is always allowed"

    run(scenario)


def test_clients_with_much_to_send_take_turns_with_those_that_have_little() -> None:
    """Five that always have the next batch ready and a quiet one: it is served in the same round, whatever they send."""

    async def scenario() -> None:
        desk = Desk(share=50)
        served: list[str] = []
        held: list[tuple[Account, int]] = []

        async def client(name: str, size: int, batches: int) -> None:
            account = Account()
            for _ in range(batches):
                await desk.admission.acquire(account, size, lambda: desk.share)
                served.append(name)
                held.append((account, size))

        noisy = [asyncio.create_task(client(f"noisy {n}", 50, 20)) for n in range(5)]
        await turn()
        quiet = asyncio.create_task(client("quiet", 1, 1))
        for _ in range(200):
            await turn()
            if held:
                desk.admission.release(*held.pop(0))
        await asyncio.gather(quiet, *noisy)
        assert served.index("quiet") <= 2 + 5, "after everybody who was there had one turn at most"
        counts = Counter(served[:60])
        assert max(counts[f"noisy {n}"] for n in range(5)) - min(counts[f"noisy {n}"] for n in range(5)) <= 2

    run(scenario)


def test_one_that_gives_up_lets_those_behind_it_pass() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.want(50)
        large, small = desk.want(90), desk.want(50)
        await turn()
        large.cancel()
        await turn()
        assert large.cancelled()
        assert small.done()
        assert desk.used == 100

    run(scenario)


def test_one_that_is_cancelled_at_the_moment_of_its_turn_gives_the_bytes_back() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.want(100)
        waiting = desk.want(70)
        await turn()
        desk.release(0, 100)
        assert desk.used == 70
        waiting.cancel()
        await turn()
        assert waiting.cancelled()
        assert desk.used == 0

    run(scenario)


def test_one_that_is_cancelled_while_it_waits_for_itself_holds_nothing_more() -> None:
    async def scenario() -> None:
        desk = Desk(share=10)
        account = Account()
        desk.want(10, account)
        await turn()
        for release_first in (False, True):
            waiting = desk.want(10, account)
            await turn()
            if release_first:
                desk.release(0, 10)
            waiting.cancel()
            await turn()
            assert waiting.cancelled()
        assert (account.held, desk.used, account.waiter) == (0, 0, None)

    run(scenario)


def test_a_release_between_a_cancellation_and_its_arrival_does_no_harm() -> None:
    """The waiter is passed over, and its cancellation stays a cancellation."""

    async def scenario() -> None:
        desk = Desk()
        desk.want(100)
        waiting, behind = desk.want(70), desk.want(60)
        await turn()
        waiting.cancel()
        desk.release(0, 100)
        await turn()
        assert waiting.cancelled()
        assert behind.done()
        assert desk.used == 60

    run(scenario)


STEPS = st.tuples(st.sampled_from(["acquire", "acquire", "release", "cancel"]), st.integers(0, 150), st.integers(0, 4))


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(1, 120))
def test_whatever_happens_the_account_is_right_and_nobody_has_more_than_his_share(
    steps: list[tuple[str, int, int]], share: int
) -> None:
    async def scenario() -> None:
        admission = Admission(100)
        accounts = [Account() for _ in range(5)]
        waiting: dict[int, tuple[int, asyncio.Task[None]]] = {}
        held: list[tuple[int, int]] = []

        def settle() -> None:
            for who in [who for who, (_, task) in waiting.items() if task.done()]:
                size, task = waiting.pop(who)
                if not task.cancelled():
                    held.append((who, size))

        for what, size, who in steps:
            if what == "acquire" and who not in waiting:
                waiting[who] = size, asyncio.create_task(admission.acquire(accounts[who], size, lambda: share))
            elif what == "release" and held:
                one, freed = held.pop(size % len(held))
                admission.release(accounts[one], freed)
            elif what == "cancel" and who in waiting:
                waiting[who][1].cancel()
            if size % 2:
                await turn()
                settle()
        await turn()
        settle()
        assert admission.used == sum(size for _, size in held) == sum(account.held for account in accounts)
        assert admission.used <= 100 or sum(1 for _, size in held if size) == 1
        for number, account in enumerate(accounts):
            assert account.held <= share or sum(1 for who, size in held if who == number and size) == 1
        while held:
            one, freed = held.pop()
            admission.release(accounts[one], freed)
            await turn()
            settle()
        assert not waiting, "whoever waits is served in the end"
        assert admission.used == 0
        assert all(account.waiter is None for account in accounts)

    run(scenario)
