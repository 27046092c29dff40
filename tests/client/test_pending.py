"""The inputs that wait for a prediction: each context has its own, whatever was copied from it and when.

Both cores against a dictionary. The compiled one writes over what a variable holds where nobody else can see it.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
import threading
from typing import Any

import pytest
from collectord_client import _core
from collectord_client.pure import context as pure
from hypothesis import given, settings
from hypothesis import strategies as st

OTHERS: list[contextvars.ContextVar[int]] = [contextvars.ContextVar(f"other {number}") for number in range(80)]

both = pytest.mark.parametrize("core", [_core, pure], ids=["compiled", "pure"])


class Waiting:
    """Contexts as numbers, in the variable of one model."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.pending = core.Pending()

    def set(self, number: int) -> None:
        self.pending.set(None, self._core.Context(bytes(16), number, 1))

    def get(self) -> int | None:
        context = self.pending.get(None)
        return None if context is None else int(context.time_ns)


def test_the_compiled_core_finds_its_way_about_contexts() -> None:
    """In this version of Python. Where it does not, it sets the variable each time, which is right and slow."""
    assert _core.writes_places


@pytest.mark.parametrize("others", [0, 1, 5, 15, 16, 17, 40, 80])
def test_a_variable_is_not_set_where_nobody_else_sees_its_value(others: int) -> None:
    """However many variables there are, and however Python arranges them."""
    waiting = Waiting(_core)

    def held() -> object:
        return contextvars.copy_context()[waiting.pending._variable]

    def run() -> None:
        for number in range(others):
            OTHERS[number].set(number)
        waiting.set(1)
        first = id(held())
        for number in range(2, 5):
            waiting.set(number)
            assert (id(held()), waiting.get()) == (first, number)
        copied = contextvars.copy_context()
        kept = held()
        waiting.set(5)
        assert held() is not kept
        assert (copied.run(waiting.get), waiting.get()) == (4, 5)

    contextvars.Context().run(run)


step = st.tuples(st.sampled_from(["set", "copy", "drop", "other", "other"]), st.integers(0, 9), st.integers(0, 79))


@both
@given(others=st.integers(0, 80), steps=st.lists(step, max_size=40))
@settings(max_examples=150)
def test_each_context_has_its_own(core: Any, others: int, steps: list[tuple[str, int, int]]) -> None:
    waiting = Waiting(core)
    contexts: list[tuple[contextvars.Context, int | None]] = [(contextvars.Context(), None)]
    for number in range(others):
        contexts[0][0].run(OTHERS[number].set, number)
    for time, (what, at, which) in enumerate(steps):
        context, value = contexts[at % len(contexts)]
        if what == "set":
            context.run(waiting.set, time)
            contexts[at % len(contexts)] = context, time
        elif what == "copy":
            # As a task does, and a thread of a pool that is given one.
            contexts.append((context.run(contextvars.copy_context) if which % 2 else context.copy(), value))
        elif what == "other":
            context.run(OTHERS[which].set, time)
        elif len(contexts) > 1:
            del contexts[at % len(contexts)]
        del context
        assert [one.run(waiting.get) for one, _ in contexts] == [value for _, value in contexts]


_numbers = itertools.count()


def _place(variable: contextvars.ContextVar[Any], level: int) -> int:
    """Where a variable goes on each of the first levels of Python's tree (hamt.c: 5 bits of the folded hash each)."""
    hashed = hash(variable)
    return ((hashed & 0xFFFFFFFF) ^ (hashed >> 32 & 0xFFFFFFFF)) & ((1 << 5 * level) - 1)


def beside(
    variable: contextvars.ContextVar[Any], level: int, count: int, elsewhere: bool = False
) -> list[contextvars.ContextVar[int]]:
    """Other variables that go the same way as `variable` for so many levels and then part; `elsewhere`: that part at once."""
    found: list[contextvars.ContextVar[int]] = []
    while len(found) < count:
        # Of another name each: its hash is made of that, and of an address that the one before may have had.
        made = contextvars.ContextVar[int](f"beside {next(_numbers)}")
        parts = _place(made, level + 1) != _place(variable, level + 1)
        if (
            _place(made, 1) != _place(variable, 1)
            if elsewhere
            else _place(made, level) == _place(variable, level) and parts
        ):
            found.append(made)
    return found


@both
@pytest.mark.parametrize(("level", "count"), [(1, 1), (1, 20), (2, 1), (2, 3)])
def test_variables_whose_hashes_begin_alike(core: Any, level: int, count: int) -> None:
    """They lie in nodes of their own, which the trees of two contexts may share though their roots differ."""
    waiting = Waiting(core)
    crowd = beside(waiting.pending._variable, level, count)
    [other] = beside(waiting.pending._variable, level, 1, elsewhere=True)

    def run() -> None:
        for number, variable in enumerate(crowd):
            variable.set(number)
        waiting.set(1)
        for time in range(2, 20):
            # Another root for one of the two, what lies below it stays.
            copied = contextvars.copy_context()
            (copied.run(other.set, time) if time % 2 else other.set(time))
            copied.run(waiting.set, -time) if time % 3 else waiting.set(time)
            theirs, ours = copied.run(waiting.get), waiting.get()
            assert {theirs, ours} == ({-time, time - 1} if time % 3 else {time - 1, time})
            waiting.set(time)
            assert (copied.run(waiting.get), waiting.get()) == (theirs, time)
        assert [variable.get() for variable in crowd] == list(range(count))

    contextvars.Context().run(run)


@pytest.mark.parametrize(("level", "count"), [(1, 1), (1, 20), (2, 1), (2, 3)])
def test_a_request_is_found_among_variables_whose_hashes_begin_alike(level: int, count: int) -> None:
    from collectord_client import Client, Request
    from collectord_client.request import _current

    crowd = beside(_current, level, count)
    client = Client(model="m", endpoint="unix:/absent/by/design.sock")
    collector = client.collector("labels")

    def run() -> None:
        collector.collect([[1.0]])
        for variable in crowd:
            variable.set(1)
        for number in range(5):
            assert collector.collect([[1.0]]).request_id is None
            with Request(f"r{number}"):
                assert collector.collect([[1.0]]).request_id == f"r{number}"

    contextvars.Context().run(run)
    client.close(0)


@both
def test_tasks_and_those_they_begin(core: Any) -> None:
    """A task sees what there was when it was made, and its own; nobody sees a task's."""
    waiting = Waiting(core)

    async def child(expected: int, own: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            assert waiting.get() == expected
        waiting.set(own)
        await asyncio.sleep(0)
        assert waiting.get() == own

    async def parent(first: int) -> None:
        children = []
        for number in range(first, first + 5):
            waiting.set(number)
            children.append(asyncio.ensure_future(child(number, -number)))
            waiting.set(number + 1000)
            await asyncio.sleep(0)
            assert waiting.get() == number + 1000
        await asyncio.gather(*children)
        assert waiting.get() == first + 1004

    async def serve() -> None:
        await asyncio.gather(*(parent(10 * number) for number in range(20)))

    asyncio.run(serve())


@both
def test_threads_have_their_own(core: Any) -> None:
    waiting, failed = Waiting(core), list[object]()

    def work(own: int) -> None:
        for number in range(own, own + 20_000):
            waiting.set(number)
            if waiting.get() != number:
                failed.append(number)

    def threads() -> list[threading.Thread]:
        return [threading.Thread(target=work, args=(100_000 * number,)) for number in range(4)]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        running = threads()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failed


@both
def test_values_that_others_carry_from_context_to_context(core: Any) -> None:
    """As asgiref does between threads and tasks: it reads all variables here, and sets them there."""
    waiting = Waiting(core)

    def carry(given: contextvars.Context) -> None:
        for variable, value in given.items():
            variable.set(value)

    first, second = contextvars.Context(), contextvars.Context()
    first.run(waiting.set, 1)
    second.run(carry, first)
    for number in (2, 3):
        first.run(waiting.set, number)
        assert (first.run(waiting.get), second.run(waiting.get)) == (number, 1)
    second.run(waiting.set, 4)
    assert (first.run(waiting.get), second.run(waiting.get)) == (3, 4)


def test_a_value_that_is_none_of_ours_is_left_alone() -> None:
    waiting = Waiting(_core)

    def run() -> None:
        waiting.pending._variable.set(object())
        assert waiting.get() is None
        waiting.set(1)
        assert waiting.get() == 1

    contextvars.Context().run(run)


@both
def test_nothing_stays_alive_for_long(core: Any) -> None:
    """But for the last inputs of each context that is there."""
    waiting = Waiting(core)
    waiting.set(0)
    first = sys.getrefcount(context := waiting.pending.get(None))
    waiting.set(1)
    assert sys.getrefcount(context) == first - 1
