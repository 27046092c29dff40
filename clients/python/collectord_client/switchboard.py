"""What is switched for one outbox: what the daemon has said, what the host wants, and the capture recipe while one holds.

Whoever collects into the outbox is told when that changes, and asks here which of its calls are wanted. Lock order: sender,
outbox, switchboard, then the locks of recipes: nothing here waits for the first two, which whoever calls may hold.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any, Protocol
from weakref import WeakSet, ref

from .recipe import Recipe, Selection
from .switches import UNKNOWN, Switches
from .wire import Stream

CAREFUL_SECONDS = 60.0
"""After a recipe has ended, so long there may be requests that began while it held."""


class Switched(Protocol):
    """Whoever collects one stream."""

    def obey(self) -> None:
        """The switchboard has heard of other switches. Returns at once; from any thread."""
        ...


class Switchable(Protocol):
    """What an outbox does as it is switched."""

    def switch(self, collecting: bool, holding: bool) -> None:
        """Whether any rows are taken in, and whether a recipe may hold some of them back. Returns at once; from any thread."""
        ...


class Switchboard:
    """Thread-safe, except `after_fork`, with which it begins."""

    def __init__(self, outbox: Switchable, stream: Stream, enabled: bool | None, most_held: int) -> None:
        """A recipe may hold `most_held` bytes back."""
        # The board is the outbox's, and not the other way round: so both go with the last client that knows them.
        self._outbox = ref(outbox)
        self._stream = stream
        self._most_held = most_held
        self.enabled = enabled
        """False where the host has switched collecting off: then no daemon switches it on. None: as the daemon says."""
        self._collectors: WeakSet[Switched] = WeakSet()
        self._followed: Selection | None = None
        """How the recipe is followed that the daemon has named, also once it is over: it may be named again."""
        self.selection: Selection | None = None
        """The same while it holds."""
        self._careful_until = 0.0

    def after_fork(self) -> None:
        """Nothing has been said to this process yet: it asks for itself. Runs with no other thread alive."""
        self._switching = threading.RLock()
        """One switch after the other, and no collector between them."""
        if self._followed is not None:
            self._followed.after_fork()
        self.told = False
        """True once a daemon has said what is switched on for this service."""
        self.obey(UNKNOWN)

    def tell(self, collector: Switched) -> None:
        """Has a collector obey, now and whenever there are other switches."""
        with self._switching:
            self._collectors.add(collector)
            collector.obey()

    def obey(self, switches: Switches) -> None:
        """What the daemon says about collecting."""
        with self._switching:
            self.switches = switches
            self._follow(switches.recipe(self._stream.webservice))
            collecting = self.selection is not None or switches.collects_some(self._stream, self.enabled)
            holding = self.selection is not None and self.selection.recipe.waits
            outbox = self._outbox()
            if outbox is not None:
                outbox.switch(collecting, holding)
            for collector in list(self._collectors):
                collector.obey()

    def _follow(self, recipe: Recipe | None) -> None:
        found, held = self._followed, self.selection is not None
        if found is not None and (recipe is None or recipe.id != found.recipe.id):
            found.end()
            found = None
        if found is None and recipe is not None and not recipe.problem and self.enabled is not False:
            found = Selection(recipe, self._most_held, self._look_again)
        self._followed = found
        self.selection = found if found is not None and found.holds() else None
        if held and self.selection is None:
            self._careful_until = time.monotonic() + CAREFUL_SECONDS

    def _look_again(self) -> None:
        """A recipe has ended of itself: what is switched counts."""
        with self._switching:
            self.obey(self.switches)

    def look_at_recipe(self) -> float:
        """Ends a recipe whose time has come, though nothing is collected. Returns the seconds until one will end."""
        selection = self.selection
        if selection is None:
            return math.inf
        if selection.holds():
            return max(0.001, (selection.recipe.until - time.time_ns()) / 1e9)
        self._look_again()
        return math.inf

    def end_recipe(self) -> None:
        """Leaves the requests on which a recipe has yet to decide."""
        selection = self.selection
        if selection is not None:
            selection.end()

    def careful(self) -> bool:
        """Whether a call may belong to a request on which a recipe decides: then it must go the long way."""
        return self.selection is not None or (self._careful_until > 0.0 and time.monotonic() < self._careful_until)

    def fraction(self, stream: Stream) -> float:
        """Of the requests, as far as the daemon has said."""
        return self.switches.fraction(stream)

    def collects(self, stream: Stream) -> bool:
        """Whether rows of a stream are wanted, if no recipe decides."""
        return self.switches.collects(stream, self.enabled)

    def allows(self, stream: Stream) -> bool:
        """Whether they may be collected at all."""
        return self.enabled is not False and self.switches.allows(stream)

    def recipe_stats(self) -> dict[str, Any] | None:
        """What a client's `stats` say about its recipe."""
        recipe, followed = self.switches.recipe(self._stream.webservice), self._followed
        if followed is not None:
            return followed.stats()
        return None if recipe is None else {"id": recipe.id, "holds": False, "problem": recipe.problem or None}
