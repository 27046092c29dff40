"""What this process and a daemon have between them, whatever becomes of the connection.

As whom we speak, which outboxes speak through us, what they sealed and what of it is not yet acknowledged, what was
dropped. No input, no output. Protected by the sender's lock, except `queue`, to which outboxes append without it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from .drops import Drops
from .outbox import Outbox
from .page import Page
from .switches import Switches
from .window import Window
from .wire import MESSAGE_ROOM, Stream

MAX_FOLLOWED = 1000
LONGEST_WAIT = 5.0
"""Seconds after which one looks again, though nothing is expected."""


class Session:
    """Lives as long as its sender, under one client id until a log does not know that any more."""

    def __init__(self) -> None:
        self.client_id = os.urandom(16)
        self.spool_id: bytes | None = None
        """The daemon's log that welcomed `client_id`."""
        self.outboxes: list[Outbox] = []
        self.queue: deque[tuple[Outbox, Page]] = deque()
        """Sealed pages without a number."""
        self.window = Window()
        self.drops = Drops()
        self.switches: Switches | None = None
        """What the daemon has said; None: nothing yet."""
        self._heard: frozenset[str] = frozenset()
        """The services of which it would have said something."""
        self.connects = 0
        self.resent_elsewhere = 0
        self.last_error = ""

    def attach(self, outbox: Outbox) -> None:
        self.outboxes.append(outbox)
        if self.switches is not None:
            outbox.board.told = outbox.service in self._heard
            outbox.board.obey(self.switches)

    @property
    def collecting(self) -> dict[str, bool]:
        """By service whether anything is collected."""
        return {outbox.service: outbox.collecting for outbox in self.outboxes}

    @property
    def problems(self) -> dict[str, str]:
        """By service why its capture recipe is not followed."""
        recipes = {} if self.switches is None else {name: said.recipe for name, said in self.switches.services.items()}
        return {name: recipe.problem for name, recipe in recipes.items() if recipe is not None and recipe.problem}

    @property
    def services(self) -> tuple[str, ...]:
        """Those whose settings are wanted."""
        return tuple(dict.fromkeys(outbox.service for outbox in self.outboxes))[:MAX_FOLLOWED]

    def switch(self, switches: Switches, services: Iterable[str]) -> None:
        """The daemon has said something new of collecting, of these `services` in particular."""
        self.switches, self._heard = switches, frozenset(services)
        for outbox in self.outboxes:
            if outbox.service in self._heard and not outbox.board.told:
                # It began before anybody could tell whether it was to collect. What a recipe selects comes after that.
                outbox.board.obey(switches.without_recipes())
                outbox.board.told = True
                outbox.seal_unwanted()
                self._give_up(outbox, "switched_off", outbox.passes_by)
            outbox.board.obey(switches)

    def seal_aged(self, now: float) -> float:
        """Seals the pages that have lingered. Returns in how many seconds the next one will have."""
        wait = LONGEST_WAIT
        for outbox in tuple(self.outboxes):
            wait = min(wait, outbox.board.look_at_recipe())
            opened = outbox.seal(now - outbox.linger)
            if opened is not None:
                wait = min(wait, max(0.001, opened + outbox.linger - now))
            elif outbox.abandoned and outbox.idle() and len(self.outboxes) > 1:
                self.outboxes.remove(outbox)
        return wait

    def number(self, max_message: int) -> None:
        """Gives the rows of the next page their sequence numbers, split so that a message fits."""
        outbox, page = self.queue.popleft()
        limit = max_message - MESSAGE_ROOM
        bodies = page.fitting(limit)
        left = len(bodies)

        def done(rows: int, reason: str | None, lost: bool = False) -> None:
            nonlocal left
            left -= 1
            outbox.settle(rows, reason, page if left == 0 else None, lost)

        for rows, body in bodies:
            if sum(map(len, body)) > limit:
                self.drops.add(page.schema.stream, "row_too_large", rows)
                done(rows, "row_too_large", lost=True)
            else:
                self.window.push(page.schema, rows, body, partial(done, rows), outbox)
        page.clear()

    def give_up(self, outbox: Outbox) -> None:
        """What was never sent of `outbox`'s counts as dropped, `closed`, here and for the daemon."""
        self._give_up(outbox, "closed", lambda _: True)
        for batch in self.window.forget(outbox):
            self.drops.add(batch.schema.stream, "closed", batch.rows)
            batch.done("closed", True)

    def _give_up(self, outbox: Outbox, reason: str, concerns: Callable[[Stream], bool]) -> None:
        """The pages of streams that it `concerns`, of those without a number."""
        for _ in range(len(self.queue)):
            owner, page = self.queue.popleft()
            if owner is not outbox or not concerns(page.schema.stream):
                self.queue.append((owner, page))
                continue
            self.drops.add(page.schema.stream, reason, page.rows)
            outbox.settle(page.rows, reason, page, lost=True)

    def give_up_unconfirmed(self) -> None:
        """What was sent and not answered counts as dropped, `unconfirmed`: nobody will hear the answer."""
        for batch in self.window.batches:
            batch.done("unconfirmed", True)
        self.window.batches.clear()

    def begin_again(self) -> None:
        """Another log, or one that forgot us: a new client id, and everything unacknowledged again."""
        self.client_id = os.urandom(16)
        self.spool_id = None
        self.resent_elsewhere += self.window.begin_again()
        self.drops.begin_again()
        self.last_error = "the daemon's log does not know this client: starting again"
