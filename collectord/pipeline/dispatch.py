"""Who works on what: what is due goes to idle workers, one frame per blob at a time, unless something holds it up. A worker
that would be idle makes the frame that comes next where one is on its way.

Called by the pipeline's thread; the workers are threads of its own. What it holds is guarded by the state's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import ParamSpec

from collectord.buffer.index import Slice
from collectord.clock import Clock
from collectord.errors import CollectordError, described
from collectord.model import Partition
from collectord.pipeline.known import Known
from collectord.pipeline.poison import Unencodable
from collectord.pipeline.sending import Sending
from collectord.pipeline.state import State
from collectord.pipeline.workers import Workers

P = ParamSpec("P")

RETRY_UNEXPECTED = 1.0
RETRY_FULL = 0.1
NICE = 10
"""Of the workers: a batch that waits for its acknowledgement goes before frames, which nobody waits for."""

_log = logging.getLogger("collectord.pipeline")


class Dispatch:
    """The workers, and what they have in hand."""

    def __init__(
        self,
        state: State,
        *,
        known: Known,
        sending: Sending,
        clock: Clock,
        workers: int,
        make_room: Callable[[Exception], bool],
    ) -> None:
        """`make_room`: asked after an error of the spool; whether trying again soon may help."""
        self._state = state
        self._known = known
        self._sending = sending
        self._clock = clock
        self._workers = workers
        self._make_room = make_room
        self._busy: set[str] = set()
        """Blobs that a worker has in hand."""
        self._running = 0
        self._holds: dict[str, tuple[str, bool]] = {}
        """Why nothing is uploaded at the moment, and whether somebody has to act, by whoever says so."""
        self._pool = Workers(workers, "collectord-upload", nice=NICE)

    def start(self) -> None:
        """Starts the workers."""
        self._pool.start()

    def stop(self) -> None:
        """Nothing is begun any more."""
        self._pool.stop(wait=False)

    def await_idle(self, deadline: float) -> bool:
        """After `stop`: waits until no worker has anything in hand, and then for their ends. False at the (monotonic) deadline."""
        with self._state.lock:
            while self._running and self._clock.monotonic() < deadline:
                self._state.lock.wait(max(0.0, deadline - self._clock.monotonic()))
            idle = not self._running
        if idle:
            # A moment at most. Who forks next must find no thread of ours.
            self._pool.stop(wait=True)
        return idle

    # ------------------------------------------------------------------ what holds it up

    def hold(self, name: str, why: str, lasting: bool = False) -> None:
        """Nothing is handed to a worker any more until `let_go` of the same name. `lasting`: until somebody acts."""
        with self._state.lock:
            self._holds[name] = (why, lasting)
            self._state.lock.notify_all()

    def let_go(self, name: str) -> None:
        """May be repeated."""
        with self._state.lock:
            if self._holds.pop(name, None) is not None:
                self._state.wake()

    def is_held(self, name: str) -> bool:
        """Whether somebody of that name holds it. Without the lock."""
        return name in self._holds

    @property
    def held(self) -> str:
        """Why nothing is uploaded; empty if nothing stands in the way. From any thread, without the lock."""
        return "; ".join(why for why, _ in list(self._holds.values()))

    @property
    def held_for_long(self) -> bool:
        """Whether somebody has to act first. With the lock held."""
        return any(lasting for _, lasting in self._holds.values())

    # ------------------------------------------------------------------ what is handed out

    def hand_out(self) -> None:
        """Hands what is due to idle workers."""
        index, intents, ahead = self._state.index, self._state.intents, self._state.ahead
        with self._state.lock:
            now = self._clock.monotonic()
            self._state.troubles.forget_over(now, keep=intents)
            # Also where nothing may be handed out: its timers must not come back at once.
            index.due(now)
            if self._holds or not self._idle:
                return
            # Frames that are open come first, those of whoever was served longest ago before the others'.
            ready = [(base, intent.partition) for base, intent in intents.items() if self._is_free(base, now)]
            for base, partition in sorted(ready, key=lambda one: index.served(one[1])):
                if not self._idle:
                    return
                self._submit(base, partition)
            # After a restart with another codec or layout, an open frame's blob has another name than its partition's next.
            on_their_way = {intent.partition for intent in intents.values()}
            for partition in index.turns(now):
                if not self._idle:
                    return
                base = self._known.base(partition)
                if (
                    base not in intents
                    and partition not in on_their_way
                    and self._is_free(base, now)
                    and not ahead.is_making(partition)
                ):
                    self._submit(base, partition)
            for partition in ahead.wanted():
                if not self._idle:
                    return
                self._run(self._make_ahead, partition, ahead.begin(partition))

    @property
    def _idle(self) -> int:
        """Workers that have nothing in hand."""
        return self._workers - len(self._busy) - self._state.ahead.making

    def _submit(self, base: str, partition: Partition) -> None:
        self._state.index.serve(partition)
        self._busy.add(base)
        self._run(self._work_on, base, partition)

    def _run(self, do: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Counted as running from here on, so that the end of the pipeline waits for it."""
        self._running += 1
        self._pool.submit(do, *args, **kwargs).add_done_callback(self._ended)

    def _ended(self, future: Future[None]) -> None:
        with self._state.lock:
            self._running -= 1
            self._state.lock.notify_all()

    def _is_free(self, base: str, now: float) -> bool:
        return base not in self._busy and not self._state.troubles.holds(base, now)

    def _work_on(self, base: str, partition: Partition) -> None:
        """One step for a blob; on a worker."""
        try:
            self._sending.send(base, partition)
        except (CollectordError, OSError) as error:
            # The spool's disk, mostly: nothing was confirmed, and it heals when there is room again.
            pause = error.pause if isinstance(error, Unencodable) else RETRY_UNEXPECTED
            self._sending.failed(base, RETRY_FULL if self._make_room(error) else pause, str(error))
        except MemoryError:
            # Where it happened tells nothing; there may be more in a moment.
            self._sending.failed(
                base, RETRY_UNEXPECTED, "not enough memory for a frame: give the daemon more, or fewer uploads"
            )
        except Exception as error:  # noqa: BLE001
            _log.exception("a frame could not be made; it will be tried again")
            self._sending.failed(base, RETRY_UNEXPECTED, described(error))
        finally:
            with self._state.lock:
                self._state.ahead.sent(partition)
                self._busy.discard(base)
                self._state.wake()

    def _make_ahead(self, partition: Partition, slices: Sequence[Slice]) -> None:
        """The frame behind one that is on its way; on a worker."""
        made = None
        try:
            made = self._sending.make_ahead(partition, slices)
        finally:
            with self._state.lock:
                self._state.ahead.end(partition, made)
                self._state.wake()
