"""The face of the package: what one model sees and says, by the collectors that a `Client` makes."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from . import embedded, failures, process
from .access import Access
from .budget import read as read_budget
from .call import refusal
from .collector import Collector
from .columns import read as read_rules
from .context import Context, Held, pending
from .core import CORE, CorrelationId, RequestId, Timestamp
from .endpoint import check
from .errors import CollectError
from .features import names_of
from .names import check as check_name
from .notices import once, trace
from .outbox import Outbox
from .request import Request, current
from .sampling import Fractions, Sampler, fraction_of
from .sampling import read as read_fractions
from .telemetry import switch
from .telemetry.reporter import Reporter
from .wire import Stream

NOT_CONNECTED: dict[str, Any] = {
    "connected": False,
    "transport": "",
    "reconnects": 0,
    "resent_elsewhere": 0,
    "last_error": "",
}


class Client(Reporter):
    """Collects what one model sees and says. Thread-safe; may be made before a fork and used on both sides.

    `workspace` is `subscription/resource_group/workspace`, or the last one or two of them. `endpoint` is `unix:/path`,
    `host:port`, `tls://host:port`, or `dir:/path` to collect without a daemon; by default COLLECTORD_ENDPOINT, else the usual sockets, looked
    up whenever it connects. `outbox_bytes` bounds what is held until the daemon has acknowledged it; when that is full,
    `outbox="drop"` gives up the rows of the call and counts them, `outbox="block"` waits. `linger` (seconds) and
    `page_bytes` say when a page is sent. A client that is not `enabled` collects nothing, whatever the daemon says, and its
    contexts are as ever; one that is (True) collects unless it is switched off for the service, also where the daemon's default is
    off. By default it does what the daemon says.

    `sampling` is the fraction of requests that is collected, for all designations or one for each of some. `columns` says what
    is done with a column before it leaves the process: "drop", "mask", or "hmac" with the `columns_key`. `max_us_per_call` is
    what a call may take on average: above that, fewer requests are collected. `errors` says what is stored of failed requests:
    "full", "types" or "off". `telemetry` says whether events are sent, unless the daemon says something of the service.
    `token` is shown to the daemon; `tls_ca` is the file of the authority that signed its certificate,
    `tls_cert` and `tls_key` are the client's own, `tls_name` is the name in the daemon's where it is not the endpoint's. Each of
    them is by default what the environment says (docs/client.md).

    Nothing is connected before the first `collect()`. Raises ValueError for arguments that can never work, and later
    nothing at all unless `strict`, which is for tests.
    """

    def __init__(
        self,
        model: str = "",
        version: str = "",
        webservice: str = "",
        workspace: str = "",
        endpoint: str | None = None,
        *,
        outbox: str = "drop",
        outbox_bytes: int = 32 << 20,
        linger: float = 1.0,
        page_bytes: int = 256 << 10,
        strict: bool = False,
        collection: str = "",
        token: str = "",
        enabled: bool | None = None,
        sampling: Fractions | None = None,
        columns: Mapping[str, str] | None = None,
        columns_key: bytes | str | None = None,
        max_us_per_call: float | None = None,
        errors: str | None = None,
        telemetry: bool | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        tls_name: str = "",
    ) -> None:
        levels = workspace.split("/") if workspace else []
        if len(levels) > 3:
            raise ValueError(
                f"workspace {workspace!r} has more than the three parts subscription/resource_group/workspace"
            )
        if outbox not in ("drop", "block"):
            raise ValueError(f'outbox is "drop" or "block", not {outbox!r}')
        if not outbox_bytes >= 64 << 10:
            raise ValueError(f"outbox_bytes is at least 65536, not {outbox_bytes}")
        if not 1 << 10 <= page_bytes <= 1_000_000:
            raise ValueError(f"page_bytes lies between 1024 and 1000000, not {page_bytes}")
        if not 0 <= linger <= 3600:
            raise ValueError(f"linger lies between 0 and 3600 seconds, not {linger}")
        if endpoint is not None:
            endpoint = check(endpoint)
        subscription, resource_group, last = ([""] * 3 + levels)[-3:]
        self._stream = Stream(subscription, resource_group, last, webservice, model, version, "", collection)
        for level in (subscription, resource_group, last, webservice, model, version, collection):
            _check_level(level)
        self.strict = strict
        self._fractions = read_fractions(sampling)
        self._rules = read_rules(columns, columns_key)
        self._budget = read_budget(max_us_per_call)
        self._errors = failures.read(errors)
        self._pending = pending((subscription, resource_group, last, webservice, model, version))
        # Asked again after a fork.
        self._endpoint = endpoint
        access = Access.of(token, tls_ca, tls_cert, tls_key, tls_name)
        carrier = partial(process.attach, endpoint, access)
        self._outbox = Outbox(
            carrier, outbox_bytes, min(page_bytes, outbox_bytes // 4), linger, outbox == "block", enabled, self._stream
        )
        self._report_through(self._outbox, self._stream, switch.read(telemetry), self._rules)
        process.outboxes.add(self._outbox)
        if process.sender_there(endpoint, access):
            # What is known of the daemon counts from the first call on: it may have switched collecting off.
            self._outbox.attach()
        process.arrange_drain()
        embedded.prepare(endpoint)
        failures.join(self._pending, self)
        self._collectors: dict[tuple[str, tuple[str, ...] | None], Collector] = {}
        weakref.finalize(self, setattr, self._outbox, "abandoned", True).atexit = False

    def collector(self, designation: str = "inputs", feature_names: Any = None) -> Collector:
        """A collector for one designation with fixed names: the fast way. Raises ValueError for unusable names.

        `feature_names` is a sequence of texts, a single text (one name), or what has names: a frame or its columns, a
        fitted model of scikit-learn, XGBoost or LightGBM, a signature or model of MLflow.
        """
        names = names_of(feature_names, designation)
        _check_level(designation)
        try:
            for name in names or ():
                check_name(name)
        except CollectError as error:
            raise ValueError(error.detail) from None
        if len(names or ()) > 10_000:
            raise ValueError(f"{len(names or ())} feature names, at most 10000")
        return Collector(self, designation, names)

    def collect(
        self,
        data: Any,
        designation: str = "inputs",
        feature_names: Any = None,
        correlation_id: CorrelationId | None = None,
        request_id: RequestId | Sequence[RequestId] | None = None,
        context: Context | None = None,
        timestamp: Timestamp | Sequence[Timestamp] | None = None,
        row: Sequence[int] | None = None,
    ) -> Context:
        """Copies `data` into memory, to be sent in the background; see `Collector.collect`."""
        try:
            key = (designation, names_of(feature_names, designation))
            found = self._collectors.get(key)
            if found is None:
                if len(self._collectors) > 1000:
                    self._collectors.clear()
                found = self._collectors[key] = self.collector(*key)
        except Exception as error:  # noqa: BLE001
            reason = "bad_name" if isinstance(error, (ValueError, TypeError)) else "internal_error"
            trace(error)
            self._refuse(self._stream, CollectError(reason, "the designation or the feature names are unusable"))
            return context if isinstance(context, Context) else refusal(None, None, None)
        return found.collect(data, correlation_id, request_id, context, timestamp, row)

    def failed(self, error: BaseException | str, context: Context | None = None) -> Context:
        """Stores that a request failed: under the designation `errors`, a row for each of its inputs, with their ids, time and
        indices. For the `except` of a script; where a web framework's request is known, that happens by itself.

        `context` is what collecting the inputs returned; by default the last inputs of the model in this request. The columns
        are `error_type` and `error_message`. Never raises unless the client is strict, then CollectError.
        """
        request = current()
        if context is None:
            found = self._pending.get(request)
            # Where no request is known, inputs that a prediction has taken may be those of an earlier one.
            if found is not None and (request is not None or not found._taken):
                context = found
        if isinstance(context, Context):
            context._taken = True
        self._try(context, request)
        if self._errors == failures.OFF:
            return context if isinstance(context, Context) else refusal(None, None, request)
        if context is None:
            self._outbox.note(("uncorrelated",))
        rows = (context._request_rows if isinstance(context, Context) else None) or 1
        try:
            table = failures.describe(error, rows, self._errors == failures.FULL)
        except Exception as broken:  # noqa: BLE001
            trace(broken)
            self._refuse(
                self._stream,
                CollectError("internal_error", f"an error could not be described: {type(broken).__name__}"),
            )
            return context if isinstance(context, Context) else refusal(None, None, request)
        return self.collect(table, failures.DESIGNATION, failures.NAMES, context=context)

    def _try(self, context: Context | None, request: Request | None) -> None:
        """A capture recipe may want failed requests."""
        trial = context._trial if isinstance(context, Held) else None
        if trial is None and request is not None:
            trial = request.trials.get(self._pending)
        if trial is not None:
            trial.fail()

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Sends what was collected so far; True once all of it is durable or rejected for good, False after `timeout`.

        None waits without limit.
        """
        return self._outbox.wait_settled(None if timeout is None else time.monotonic() + timeout)

    def close(self, timeout: float | None = 5.0) -> bool:
        """Flushes, and takes nothing more. Returns what `flush` did.

        What was not sent by then is given up and counted as dropped, `closed`; what was sent and is still without an
        answer as `unconfirmed`, if the connection ends with this client.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._release()
        self._feed.close()
        self._outbox.close()
        entered = self._outbox.wait_entered(deadline)
        done = self._outbox.wait_settled(deadline) and entered
        self._outbox.give_up()
        if self._outbox.carrier is not None:
            self._outbox.carrier.detach(self._outbox)
        return done

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stats(self) -> dict[str, Any]:
        """What happened so far in this process, in rows where nothing else is said.

        `core` says which one this process runs: "compiled" or "pure".
        `collected` = `acknowledged` + `rejected` + `waiting` + `lost`. What is lost was collected and is part of
        `dropped`, whose other rows were never taken in. `sampled_out` and `thinned_out` are rows that sampling and the latency
        budget left out: they are none of these. `fraction` is what the budget leaves at present.
        """
        carrier = self._outbox.carrier
        connection = NOT_CONNECTED if carrier is None else carrier.stats()
        budget, rules = self._budget, self._rules
        return {
            **self._outbox.stats(),
            "fraction": 1.0 if budget is None else budget.factor,
            "us_per_call": None if budget is None else budget.mean,
            "unmatched_rules": [] if rules is None else sorted(rules.unmatched),
            **connection,
            "embedded": embedded.served_by(self._endpoint, connection["connected"]),
            "core": CORE,
        }

    def _sampler(self, designation: str, wanted: float) -> Sampler | None:
        """What decides which requests a designation collects, of which the daemon has `wanted` a fraction; None where all are."""
        fraction = min(fraction_of(self._fractions, designation), wanted)
        return None if fraction == 1.0 and self._budget is None else Sampler(fraction, self._budget)

    @property
    def takes(self) -> bool:
        """False once it is closed, and where the host has switched it off."""
        return self._outbox.board.enabled is not False and not self._outbox.closed

    @property
    def collection(self) -> str:
        """Part of the files' names; empty by default."""
        return self._stream.collection

    def _refuse(self, stream: Stream, error: CollectError) -> None:
        if not error.counted:
            error.counted = True
            self._outbox.drop(stream, error.reason, max(1, error.rows))
        if self.strict:
            raise error
        once(logging.WARNING, f"{stream} {error.reason}", "not collected: %s (counted, said once)", error)


def _check_level(level: str) -> None:
    if not isinstance(level, str):
        raise ValueError(f"a name is a str, not {type(level).__name__}")
    try:
        size = len(level.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{level!r} is not valid Unicode") from None
    if size > 255 or any(ord(letter) < 32 or ord(letter) == 127 for letter in level):
        raise ValueError(f"{level!r} has more than 255 bytes, or control characters")
