"""`Collector` as the v2 SDK has it: the same calls, in front of a collectord client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ... import process
from ...client import Client
from ...context import Context, Held, Recalled, Refused
from ...errors import CollectError
from ...notices import accident, once
from ...request import current
from ...wire import Stream
from .. import identity
from ..arrays import from_spark, is_spark
from ..clients import Clients
from ..identity import Identity
from . import capture, settings
from . import context as contexts
from .context import CorrelationContext, WrapperContext

ACCEPTED = "accepted"
SAMPLED = "dropped_sampling"
"""These two in the v2 SDK's words."""
SWITCHED_OFF = "the daemon has switched collecting off"
INPUTS = ("model_inputs", "inputs")
OUTPUTS = ("model_outputs", "outputs", "predictions")
"""Of these, one that comes without a context takes that of the inputs of its request."""
NO_TABLES = ("unsupported_type", "unsupported_media")
QUIET = ("no_rows",)
"""An empty frame was never an error."""

_heard = threading.local()
"""`error`: why rows of the call that this thread is in were not taken."""


class Telling(Client):
    """A client that also keeps, for the call that is under way, why its rows were refused."""

    def _refuse(self, stream: Stream, error: CollectError) -> None:
        super()._refuse(stream, error)
        _heard.error = error


_clients = Clients(Telling)


class Collector:
    """Collects one collection of the model that a deployment serves. Made in a script's `init()`, used in its `run()`;
    thread-safe.

    `name` is the collection's, in any case: a configuration file says which are enabled, and how they are written.
    `on_error` is called with an exception for whatever the v2 SDK calls it for: here and at each call of `collect` where
    nothing is collected, and for data that is refused or dropped. Without one nothing is raised: it is told in the log,
    once, and counted in `stats()`. What an `on_error` raises, its script gets.
    """

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        self._on_error = on_error
        self._settings = settings.read()
        self.identity = identity.find_deployed()
        said = name if isinstance(name, str) else ""
        found = self._settings.of(said)
        self.name = found.name
        self._refusal = found.refusal if said else "collection name is not provided"
        self._unusable = not said
        self._sent = not self._refusal and not self._settings.local and found.fraction > 0
        self._offers, self._takes = self.name.lower() in INPUTS, self.name.lower() in OUTPUTS
        try:
            self._client = _client(self.identity, found.fraction, self._settings.wanted if self._sent else False)
            self._bound = self._client.collector(self.name or "default")
            self._bound._predicts = self._takes
        except ValueError as error:
            # A script that fails in init() serves nobody. It goes on, and every call is reported.
            self._refusal, self._unusable, self._sent = self._refusal or str(error), True, False
            self._client = _clients.counting()
            self._bound = self._client.collector("default")
        if self.name.lower() in settings.RESERVED:
            once(logging.WARNING, self.name, "collection %s: Azure ML keeps that name for payloads of HTTP", self.name)
        if self._refusal:
            once(logging.WARNING, f"refused {self.name}", "%s is not collected: %s", self.name, self._refusal)
            self._report(Exception(self._refusal))

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        """Copies `data` into memory, to be sent in the background, and returns the context to pass to the other collections
        of the request. Later changes to `data` do not matter.

        A pandas frame, and whatever else the client takes: arrays, lists, dictionaries, Arrow, polars, Spark. Without a
        context there is a new one; outputs take that of the inputs of their request, if there are any.
        """
        context: Any = correlation_context
        source: Context | None = None
        reached = False
        failed: str | Exception
        try:
            context, source = self._context(context)
            if self._refusal:
                failed = Exception(self._refusal)
            else:
                failed = self._collect(data, context, source)
                reached = True
            if self._unusable:
                self._count(CollectError("bad_name", self._refusal, len(data) if hasattr(data, "__len__") else 0))
        except CollectError as error:
            failed = self._count(error)
        except Exception as error:  # noqa: BLE001
            failed = self._count(accident(error))
        if isinstance(failed, str):
            return self._answer(context, failed == ACCEPTED, failed)
        if source is not None and not reached:
            # Outputs must not take the inputs of an earlier request instead. How many rows there were, nobody knows.
            self._remember(context, Recalled(source._id, source.time_ns, source._request))
        if not isinstance(failed, CollectError):
            self._report(failed)
        elif failed.reason not in QUIET:
            # For data of a kind that nobody takes, the v2 SDK has a TypeError.
            self._report(TypeError(str(failed)) if failed.reason in NO_TABLES else failed)
        return self._answer(context, False, str(failed))

    def stats(self) -> dict[str, Any]:
        """What happened to the rows of this model in this process; see `Client.stats`. `switch` says what decides whether
        anything is collected, and `refused` why nothing of this collection is."""
        more = {"enabled": self._sent, "switch": self._settings.switch, "refused": self._refusal}
        return {**self._client.stats(), **more}

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Sends what was collected so far; see `Client.flush`."""
        return self._client.flush(timeout)

    def _context(self, given: Any) -> tuple[Any, Context]:
        """The context to return, and the client's."""
        waiting = self._bound._pending.get(current()) if self._takes else None
        if given is None:
            if waiting is not None and not waiting._taken:
                waiting._taken = True
                return contexts.of(waiting), waiting
            if self._takes:
                self._client._outbox.note(["uncorrelated"])
            now, asked = time.time_ns(), current()
            source = Context(process.ids.make(now), now, 0, None if asked is None else asked.id)
            source = self._begin(source)
            return contexts.of(source), source
        source, doubts = contexts.read(contexts.unwrap(given))
        if waiting is not None and waiting._id == source._id:
            # The next outputs on this thread may be those of a request without inputs.
            waiting._taken = True
        if doubts:
            self._client._outbox.note(doubts)
        if self._offers and not source.rows and not isinstance(source, Refused):
            source = self._begin(source)
        return given if hasattr(given, "get_id") else contexts.of(source), source

    def _begin(self, source: Context) -> Context:
        """`source` as that of a request which begins here: a capture recipe decides on it, or the latency budget does now, for
        all that follows."""
        source = self._bound.begun(source)
        budget = self._client._budget
        if budget is None or isinstance(source, Held):
            return source
        expected = source._request_rows
        return Refused(source._id, source.time_ns, expected, source._request, source._keys, budget.factor)

    def _collect(self, data: Any, context: Any, source: Context) -> str | CollectError:
        """ACCEPTED, or why not; an error is counted already. Raises CollectError for one that is not."""
        if is_spark(data):
            data = from_spark(data)
        if self._settings.local:
            rows = capture.show(self.name, data, source, self._client._rules)
            self._remember(context, Context(source._id, source.time_ns, rows, source._request))
            return ACCEPTED
        if not self._sent:
            return SAMPLED
        _heard.error = None
        made = self._bound.collect(data, context=source)
        self._remember(context, made)
        if _heard.error is not None:
            refused: CollectError = _heard.error
            return refused
        if not self._bound.collecting:
            return SWITCHED_OFF
        return ACCEPTED if made.rows else SAMPLED

    def _remember(self, context: Any, made: Context) -> None:
        contexts.remember(contexts.unwrap(context), made)
        if self._offers:
            self._bound._pending.set(current(), made)

    def _count(self, error: CollectError) -> CollectError:
        """Counts, and tells once, what did not reach the client."""
        self._client._refuse(self._bound._stream, error)
        return error

    def _report(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)

    def _answer(self, context: Any, success: bool, message: str) -> CorrelationContext:
        """What is returned: the context itself, but in debug mode."""
        if self._settings.debug:
            return WrapperContext(contexts.unwrap(context), success, message)
        answer: CorrelationContext = context
        return answer


def _client(of: Identity, fraction: float, enabled: bool | None) -> Client:
    return _clients.find(of, (fraction, enabled), enabled=enabled, **_sampling(fraction))


def _sampling(fraction: float) -> dict[str, Any]:
    """The client decides by the correlation id, alike for all collections of a request."""
    return {"sampling": fraction} if 0 < fraction < 1 else {}
