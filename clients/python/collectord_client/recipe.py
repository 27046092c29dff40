"""Capture recipes: while one holds, only the requests that it selects are collected, whatever collecting is switched to.

A `Recipe` is what the daemon said, a `Selection` how one outbox follows it, a `Trial` what becomes of one request. What is
collected of a request that is not decided on yet is held with its trial, and freed with it: the trial lives as long as its
request, or the contexts of it. All but `Trial.fail` and `Trial.look` return at once. The lock of a selection is a leaf: nothing
else is locked, waited for or called while it is held.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .condition import Condition, holds, parse
from .errors import CollectError
from .notices import accident

if TYPE_CHECKING:
    from ._pb import collector_pb2 as pb
    from .block import Block
    from .wire import Schema, Stream

MOST_HELD = 1000
"""Requests that are not decided on yet."""
MOST_CHOSEN = 10_000
"""Ids of selected requests, by which their labels are known."""
PIECE_BYTES = 1000
"""What a call that is held costs beside its values."""
OPEN, SELECTED, LEFT = "open", "selected", "left"


@dataclass(frozen=True)
class Recipe:
    """As the daemon said it; proto/collectord/v1/collector.proto says what its fields mean."""

    id: str
    requests: int = 0
    condition: Condition | None = None
    failed: bool = False
    until: int = 0
    problem: str = ""
    """Why this version cannot follow it; then nobody does."""

    @staticmethod
    def of(said: pb.Recipe) -> Recipe:
        condition, problem = None, ""
        try:
            condition = parse(said.where) if said.where else None
        except ValueError as error:
            problem = str(error)
        return Recipe(said.id, said.requests, condition, said.failed, said.until, problem)

    @property
    def waits(self) -> bool:
        """Whether it takes more than the beginning of a request to decide."""
        return self.condition is not None or self.failed


@dataclass(frozen=True)
class Piece:
    """The rows of one call, held or to be put at once."""

    put: Callable[[], None]
    size: int
    stream: Stream
    rows: int
    drop: Callable[[Stream, str, int], None]


class Trial:
    """One request, for the model that collects in it. Protected by its selection's lock."""

    __slots__ = ("__weakref__", "failed", "matched", "pieces", "scoped", "selection", "state")

    def __init__(self, selection: Selection, scoped: bool) -> None:
        self.selection = selection
        self.scoped = scoped
        """Whether somebody knows when the request ends; else its first predictions end it."""
        self.state = OPEN
        self.matched = selection.recipe.condition is None
        self.failed = not selection.recipe.failed
        self.pieces: list[Piece] = []

    def __reduce__(self) -> tuple[Any, ...]:
        # Elsewhere, what was held is not there, and nobody can tell what is selected here.
        return _elsewhere, (self.state == SELECTED,)

    @property
    def left(self) -> bool:
        return self.state == LEFT

    def fail(self) -> None:
        """The request has failed."""
        self.failed = True
        self.selection.settle(self)

    def look(self, schema: Schema, block: Block) -> None:
        """Predictions of the request, as they would be sent."""
        condition = self.selection.recipe.condition
        if self.state == OPEN and not self.matched and condition is not None:
            self.matched = holds(condition, schema.names, schema.types, block)
        self.selection.settle(self, last=not self.scoped)


class Selection:
    """How one outbox follows a recipe. Thread-safe."""

    def __init__(self, recipe: Recipe, most_bytes: int, ended: Callable[[], None] = lambda: None) -> None:
        """`ended` is called when it selects nothing more, of itself; `most_bytes` are held at most."""
        self.recipe = recipe
        self._most = most_bytes
        self._ended = ended
        self.over = False
        self.selected = 0
        self.not_selected = 0
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[weakref.ref[Trial], int] = {}
        """What is not decided on, the oldest first, and the bytes that are held of each."""
        self._gone: deque[weakref.ref[Trial]] = deque()
        """Trials that nobody knows any more."""
        self._bytes = 0
        self._named: weakref.WeakValueDictionary[bytes | str, Trial] = weakref.WeakValueDictionary()
        self._chosen: dict[bytes | str, None] = {}
        self._accepted = Trial(self, False)
        self._accepted.state = SELECTED

    def after_fork(self) -> None:
        """In a child: what was held is the parent's, and so is the count."""
        for trial in [ref() for ref in self._open]:
            if trial is not None:
                trial.state, trial.pieces = LEFT, []
        self._begin_empty()
        self.over = True

    def holds(self) -> bool:
        """Whether requests that begin now are tried."""
        with self._lock:
            self._sweep()
            if time.time_ns() >= self.recipe.until:
                self._end()
            return not self.over

    def begin(self, trials: dict[Any, Trial] | None, key: object) -> Trial | None:
        """The trial of a request: the one that is among its `trials` for `key`, else another. None: it is over."""
        with self._lock:
            found = None if trials is None else trials.get(key)
            if found is not None:
                return found
            before = self.over
            if time.time_ns() >= self.recipe.until:
                self._end()
            trial = None
            if not self.over:
                trial = Trial(self, trials is not None)
                if trials is not None:
                    trials[key] = trial
                if self.recipe.waits:
                    self._open[weakref.ref(trial, self._gone.append)] = 0
                else:
                    self._select(trial)
            ends = self.over and not before
        if ends:
            self._ended()
        return trial

    def settle(self, trial: Trial, last: bool = False) -> None:
        """Selects a request if it may be, and puts what was held of it; if not, and nothing more can change that, leaves it."""
        pieces: list[Piece] = []
        with self._lock:
            before = self.over
            if trial.state == OPEN and trial.matched and trial.failed:
                pieces, trial.pieces = trial.pieces, []
                self._forget(trial)
                self._select(trial)
            elif trial.state == OPEN and last:
                trial.state, trial.pieces = LEFT, []
                self._forget(trial)
                self.not_selected += 1
            ends = self.over and not before
        try:
            _put_all(pieces)
        finally:
            if ends:
                self._ended()

    def take(self, trial: Trial, id: bytes | str, piece: Piece) -> None:
        """Puts what was collected of a request, holds it, or leaves it, as is decided."""
        evicted: list[Piece] = []
        with self._lock:
            self._sweep()
            now = trial.state == SELECTED
            if trial.state == OPEN:
                self._named[id] = trial
                trial.pieces.append(piece)
                self._bytes += piece.size
                self._open[self._ref(trial)] += piece.size
                while self._bytes > self._most or len(self._open) > MOST_HELD:
                    evicted += self._evict(next(iter(self._open)))
        if now:
            piece.put()
        for one in evicted:
            one.drop(one.stream, "held_full", one.rows)

    def remember(self, ids: Iterable[bytes | str]) -> None:
        """Ids of selected rows."""
        with self._lock:
            self._chosen.update(dict.fromkeys(ids))
            while len(self._chosen) > MOST_CHOSEN:
                del self._chosen[next(iter(self._chosen))]

    def named(self, ids: Iterable[bytes | str]) -> Trial | None:
        """The trial of rows that name their requests; None: some of them are not known."""
        found: Trial | None = None
        with self._lock:
            for id in ids:
                found = self._accepted if id in self._chosen else self._named.get(id)
                if found is None:
                    return None
        return found

    def end(self) -> None:
        """It does not hold any more; what is not decided on is left."""
        with self._lock:
            self._end()

    def stats(self) -> dict[str, Any]:
        """In requests, but for the bytes."""
        with self._lock:
            self._sweep()
            return {
                "id": self.recipe.id,
                "holds": not self.over and time.time_ns() < self.recipe.until,
                "selected": self.selected,
                "not_selected": self.not_selected,
                "undecided": len(self._open),
                "held_bytes": self._bytes,
                "problem": None,
            }

    # Below: the lock is held.

    def _select(self, trial: Trial) -> None:
        trial.state = SELECTED
        self.selected += 1
        if self.selected == self.recipe.requests:
            self._end()

    def _end(self) -> None:
        self.over = True
        for ref in self._open:
            trial = ref()
            if trial is not None:
                trial.state, trial.pieces = LEFT, []
        self.not_selected += len(self._open)
        self._open.clear()
        self._bytes = 0

    def _evict(self, ref: weakref.ref[Trial]) -> list[Piece]:
        self._bytes -= self._open.pop(ref)
        self.not_selected += 1
        trial = ref()
        if trial is None:
            return []
        pieces, trial.pieces, trial.state = trial.pieces, [], LEFT
        return pieces

    def _forget(self, trial: Trial) -> None:
        self._bytes -= self._open.pop(self._ref(trial), 0)

    def _sweep(self) -> None:
        while self._gone:
            size = self._open.pop(self._gone.popleft(), None)
            if size is not None:
                self._bytes -= size
                self.not_selected += 1

    def _ref(self, trial: Trial) -> weakref.ref[Trial]:
        # Equal to the one with the callback, as long as the trial lives.
        return weakref.ref(trial)


def _put_all(pieces: list[Piece]) -> None:
    """Whatever becomes of one of them."""
    failed: CollectError | None = None
    for piece in pieces:
        try:
            piece.put()
        except CollectError as error:
            # Of a strict client, and counted.
            failed = failed or error
        except Exception as error:  # noqa: BLE001
            piece.drop(piece.stream, accident(error).reason, piece.rows)
    if failed is not None:
        raise failed


def _elsewhere(selected: bool) -> Trial:
    """What a trial is to another process: it goes by what was decided when its context was sent there."""
    selection = Selection(Recipe(""), 0)
    trial = Trial(selection, False)
    trial.state = SELECTED if selected else LEFT
    return trial
