"""A client's switchboard: in which order whoever collects hears of a switch, and what it never waits for."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from collectord_client.outbox import HELD_SHARE, Outbox
from collectord_client.recipe import Recipe
from collectord_client.switchboard import Switchboard
from collectord_client.switches import Said, Switches
from collectord_client.wire import Stream

FAR = 1 << 62


class Told:
    """An outbox and a collector at once, which writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def switch(self, collecting: bool, holding: bool) -> None:
        self.heard.append((collecting, holding))

    def obey(self) -> None:
        self.heard.append("obey")


def switchboard(outbox: Told, enabled: bool | None = None) -> Switchboard:
    board = Switchboard(outbox, Stream(webservice="svc", model="m"), enabled, 1000)
    board.after_fork()
    return board


def of_service(recipe: Recipe | None, collect: bool = False) -> Switches:
    return Switches(services={"svc": Said(collect, recipe=recipe)})


@pytest.mark.parametrize(
    ("said", "enabled", "expected"),
    [
        (Switches(), None, (True, False)),
        (of_service(None), None, (False, False)),
        (of_service(Recipe("r", requests=1, until=FAR)), None, (True, False)),
        (of_service(Recipe("r", failed=True, until=FAR)), None, (True, True)),
        (of_service(Recipe("r", failed=True, until=1)), None, (False, False)),
        (of_service(Recipe("r", failed=True, until=FAR, problem="unknown")), None, (False, False)),
        (of_service(Recipe("r", failed=True, until=FAR), collect=True), False, (False, False)),
    ],
    ids=["on", "off", "a recipe", "one that holds back", "over", "a later version's", "off in the host"],
)
def test_the_outbox_hears_of_a_switch_first(said: Switches, enabled: bool | None, expected: tuple[bool, bool]) -> None:
    outbox = Told()
    board = switchboard(outbox, enabled)
    board.tell(outbox)
    outbox.heard.clear()
    board.obey(said)
    assert outbox.heard == [expected, "obey"]


def test_a_recipe_that_ends_of_itself_is_heard_of() -> None:
    outbox = Told()
    board = switchboard(outbox)
    board.obey(of_service(Recipe("r", requests=1, until=FAR)))
    selection = board.selection
    assert selection is not None
    outbox.heard.clear()
    assert selection.begin(None, None) is not None
    assert (outbox.heard, board.selection, board.careful()) == ([(False, False)], None, True)


def test_a_switch_waits_for_no_outbox() -> None:
    """The sender switches an outbox that has just been attached, by a call that holds its lock."""
    outbox = Outbox(lambda _: pytest.fail("nobody sends"), 1 << 20, 4096, 1.0, False, None, Stream(webservice="svc"))
    with outbox.lock:
        recipe = Recipe("r", failed=True, until=FAR)
        switch = threading.Thread(target=outbox.board.obey, args=(of_service(recipe),), daemon=True)
        switch.start()
        switch.join(10)
        assert not switch.is_alive()
        assert outbox.collecting
        assert outbox.limit == (1 << 20) - (1 << 20) // HELD_SHARE


def test_an_outbox_goes_with_the_last_who_knows_it() -> None:
    """Also in a host that has switched the garbage collector off."""
    gc.disable()
    try:
        outbox = Outbox(lambda _: pytest.fail("nobody sends"), 1 << 20, 4096, 1.0, False)
        gone = weakref.ref(outbox)
        del outbox
        assert gone() is None
    finally:
        gc.enable()
