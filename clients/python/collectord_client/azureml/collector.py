"""`ModelDataCollector` as the v1 SDK has it: the same calls, in front of a collectord client."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from typing import Any

from .. import process
from ..client import Client
from ..collector import Collector
from ..context import Context, Refused
from ..core import Correlations, ValueWay, describe
from ..errors import CollectError
from ..features import NoNames, names_of
from ..ids import is_list, parse_id, show_id, time_of
from ..intake import count_rows
from ..notices import accident, once, say, trace
from ..request import current
from ..values import plain, text
from . import correlations as by_value
from . import printing, settings
from .arrays import correlated, from_spark, is_spark, parted
from .carried import Carried, carrying
from .clients import Clients
from .identity import DEFAULT, NOWHERE, Identity, find

DESIGNATIONS = ("inputs", "predictions", "labels", "signals", "general")
NAMED_FILES = ("signals", "general")
"""Only with these a collection's name is part of the file's."""

_clients = Clients()


class ModelDataCollector(ValueWay):
    """Collects one designation of one model. Made in a script's `init()`, used in its `run()`; thread-safe.

    Never raises, prints nothing (but in debug mode), installs no signal handler. What cannot be collected is counted in
    `stats()` and told by the logger `collectord_client`.

    Where an argument is left at its default, the deployment is asked: SERVICE_NAME, model_config_map.json (`config_map`
    names another file), the workspace's config.json. `feature_names` become the header; data with names of its own needs
    none; a frame, a fitted model, or a signature or model of MLflow may stand for them. A designation other than the five is taken as it is. `identifier` is what `designation` was called before 2019.
    """

    # What the v1 SDK calls the columns, for scripts that look them up in what `collect` returned.
    AML_DC_CORRELATION_HEADER = by_value.CORRELATION
    AML_DC_SCORING_TIMESTAMP_HEADER = by_value.TIMESTAMP
    AML_DC_BOUNDARY_HEADER = by_value.BOUNDARY
    AML_WORKSPACE_HEADER = by_value.WORKSPACE
    AML_SERVICE_NAME_HEADER = by_value.SERVICE
    AML_MODEL_NAME_HEADER = by_value.MODEL
    AML_MODEL_VERSION_HEADER = by_value.VERSION
    AML_REQUEST_ID_HEADER = by_value.REQUEST

    def __init__(
        self,
        model_name: str,
        designation: str = DEFAULT,
        feature_names: Any = None,
        workspace: str = NOWHERE,
        webservice_name: str = DEFAULT,
        model_version: str = DEFAULT,
        collection_name: str = DEFAULT,
        *,
        identifier: str | None = None,
        config_map: str | None = None,
    ) -> None:
        if identifier is not None:
            warnings.warn("identifier is called designation now", DeprecationWarning, stacklevel=2)
            designation = identifier if _said(designation) == DEFAULT else designation
        designation = _said(designation)
        if designation == DEFAULT:
            designation = "general"
        if designation not in DESIGNATIONS:
            once(
                logging.WARNING, f"designation {designation}", "the designation %r is none of %s: taken as it is",
                designation, ", ".join(DESIGNATIONS),
            )  # fmt: skip
        self.designation = designation
        self._settings = settings.read()
        collection = _said(collection_name)
        self._collection = collection if designation in NAMED_FILES and collection != DEFAULT else ""
        self._bound: dict[Identity | None, Collector] = {}
        self._names: tuple[str, ...] | None = None
        self._unusable = ""
        self.identity = find(
            _said(model_name), _said(workspace, NOWHERE), _said(webservice_name), _said(model_version), config_map
        )
        try:
            self._names = self._names_in(feature_names)
            self._client = _client(self.identity, self._collection, self._settings)
            self._own = self._bound[self.identity] = self._client.collector(designation, self._names)
        except (TypeError, ValueError) as error:
            # A script that fails in init() serves nobody. It goes on, and every call is counted as dropped.
            self._unusable = str(error)
            log_once = f"unusable {model_name} {designation}"
            once(logging.ERROR, log_once, "%s of %s cannot be collected: %s", designation, model_name, error)
            self._client = _clients.counting()
            self._own = self._client.collector("general")
        self._bound[None] = self._own
        named = self._names is not None and by_value.CORRELATION in self._names
        if named and not self._unusable:
            # What names the request is read, and is no column of the rows then.
            self._bound[self.identity] = self._bound[None] = self._client.collector(designation, self._bare())
        self._constants = by_value.constants(self.identity, self._settings.boundary)
        self._printer = printing.Printer() if self._settings.printing else None
        self._plain = self._printer is None and not self._unusable and not named
        self._is_inputs = designation == "inputs"
        # These four are the v1 SDK's too.
        self.model_name, self.model_version = self.identity.model, self.identity.version
        self.service_name, self.workspace = self.identity.webservice, self.identity.workspace

    def _long_way(self, data: Any, user_id: Any, given: Any, request_id: Any) -> Correlations:
        try:
            return describe(self._collect(data, user_id, given, request_id), self._constants)
        except Exception as error:  # noqa: BLE001
            return self._accident(error, data)

    def _accident(self, error: Exception, data: Any = None) -> Correlations:
        if not isinstance(error, CollectError):
            error = accident(error)
        return describe(self._own._refuse(error, None, current(), data), self._constants)

    def add_correlations(self, input_data: Any, correlations: Mapping[str, Any] | None) -> Any:
        """`input_data` with the correlations that collecting the inputs returned, for `collect`.

        A pandas or Spark frame, and a series, becomes a pandas frame with eight more columns. An array or a list keeps its
        values, and anything else is for `collect` only.
        """
        if correlations is None:
            return input_data
        try:
            name = self._names[0] if self._names is not None and len(self._names) == 1 else None
            return correlated(input_data, correlations, name)
        except Exception as error:  # noqa: BLE001
            say(logging.ERROR, "add", "no correlations were added: %s", type(error).__name__)
            trace(error)
            return input_data

    def failed(self, error: BaseException | str, correlations: Any = None) -> Correlations:
        """Stores that the request failed, for each row of its inputs, under the designation `errors`; see `Client.failed`.

        Under Azure ML's inference server, and wherever else Flask serves, that happens by itself when an error leaves `run`.
        """
        try:
            context = None if correlations is None else by_value.recall(correlations)[0]
            return describe(self._client.failed(error, context), self._constants)
        except CollectError as refused:
            return describe(self._own._refuse(refused, None, current()), self._constants)

    def stats(self) -> dict[str, Any]:
        """What happened to the rows of this model in this process; see `Client.stats`. `unusable` says why nothing of this
        collector can be collected."""
        return {**self._client.stats(), "enabled": self._settings.collecting is not False, "unusable": self._unusable}

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Sends what was collected so far; see `Client.flush`."""
        return self._client.flush(timeout)

    def _names_in(self, given: Any) -> tuple[str, ...] | None:
        """The feature names; none for a model that has none, whose data is collected all the same. Raises ValueError."""
        try:
            return names_of(given, self.designation)
        except NoNames as error:
            where = f"{self.designation} of {self.identity.model}"
            once(logging.WARNING, f"nameless {where}", "%s have no feature names: %s", where, error)
            return None

    def _bare(self) -> tuple[str, ...] | None:
        """The feature names without those of the columns that name a request."""
        return tuple([name for name in self._names or () if name not in by_value.OURS]) or None

    def _collect(self, data: Any, user_id: Any, given: Any, request_id: Any) -> Context:
        if self._unusable:
            raise CollectError("bad_name", "the collector's arguments are unusable", _length(data))
        data, added = parted(data)
        if is_spark(data):
            data = from_spark(data)
        given = added if given is None else given
        if isinstance(user_id, Mapping) and by_value.CORRELATION in user_id:
            # The second argument of the v2 SDK's `collect`. As an id its text would join with nothing.
            given, user_id = user_id if given is None else given, None
        user_id = _own_id(user_id)
        if given is None:
            rows = carrying(data, self._names)
            if rows is not None:
                return self._collect_carried(rows)
        if given is None and not self._is_inputs and _names_inputs(user_id):
            given = user_id
        if given is not None:
            context, stream, doubts = by_value.recall(given)
            waiting = self._own._pending.get(current())
            if waiting is not None and waiting._id == context._id:
                # Of this very request: it also knows how many rows there are.
                context, doubts = waiting, []
            if doubts:
                self._client._outbox.note(doubts)
            told: dict[str, Any] = {"request_id": request_id, "context": context}
            row = by_value.row_of(given)
            if row is not None and count_rows(data, self._names, 0) == 1:
                told["row"] = [row]
            return self._put(self._of(stream), data, context, told)
        told = {"request_id": request_id}
        if self._is_inputs and user_id is not None:
            now = time.time_ns()
            told |= {
                "correlation_id": f"{show_id(parse_id(user_id))}-{show_id(process.ids.make(now))}",
                "timestamp": now,
            }
        elif user_id is not None and not self._follows_inputs():
            told["correlation_id"] = user_id
        return self._put(self._own, data, None, told)

    def _put(self, bound: Collector, data: Any, context: Context | None, told: dict[str, Any]) -> Context:
        # In debug mode the pending inputs are looked at before the prediction takes them.
        pending = bound._pending.get(current()) if self._printer is not None and not self._is_inputs else None
        made = bound.collect(data, **told)
        if self._printer is not None:
            source = context or (None if pending is None or pending._id != made._id else pending)
            rows = 0 if source is None else source._request_rows
            own = {by_value.ROW: told["row"]} if "row" in told else {}
            told = printing.told(made, self._constants) | own
            expected = 0 if self._is_inputs else rows
            shown = self._printer.show(data, self._names, expected, told, self._client._rules)
            if isinstance(made, Refused) and made._expected is None:
                # They were only printed: the prediction is told how many they are.
                made._expected = shown
        return made

    def _collect_carried(self, carried: Carried) -> Context:
        """Rows that say which request they belong to."""
        made: Context | None = None
        for stream, rows in carried.streams():
            told, doubts = rows.told()
            if doubts:
                self._client._outbox.note(doubts)
            made = self._of(stream).collect(rows.own, **told)
            if self._printer is not None:
                constants = self._constants if stream is None else by_value.constants(stream, self._settings.boundary)
                columns = {
                    **constants,
                    by_value.CORRELATION: told["correlation_id"],
                    by_value.TIMESTAMP: list(map(printing.show_time, told["timestamp"])),
                    by_value.REQUEST: told.get("request_id", constants[by_value.REQUEST]),
                    by_value.ROW: told["row"],
                }
                self._printer.show(rows.own, self._bare(), 0, columns, self._client._rules)
        if made is None:
            raise CollectError("no_rows", "there are no rows")
        return made

    def _of(self, stream: Identity | None) -> Collector:
        """The collector of another stream's rows: they are filed where their inputs are."""
        found = self._bound.get(stream)
        if found is None and stream is not None:
            try:
                found = _client(stream, self._collection, self._settings).collector(self.designation, self._bare())
            except ValueError as error:
                raise CollectError("bad_name", str(error)) from None
            if len(self._bound) >= 1000:
                self._bound = {own: self._bound[own] for own in (self.identity, None)}
            self._bound[stream] = found
        return found or self._own

    def _follows_inputs(self) -> bool:
        """True where inputs of this request wait for this prediction."""
        found = self._own._pending.get(current()) if self._own._takes else None
        return found is not None and not found._taken


def _client(identity: Identity, collection: str, given: settings.Settings) -> Client:
    return _clients.find(
        identity, (collection, given), collection=collection, outbox_bytes=given.outbox_bytes, enabled=given.collecting
    )


def _said(given: Any, default: str = DEFAULT) -> str:
    """An argument as text. None and the empty text, as of a variable that is not set, are the default."""
    return default if given is None else str(given) or default


def _own_id(given: Any) -> Any:
    """The id that a caller gave; None where none was. v1 wrote whatever it was given, such as a customer's number that has come
    as a float: what is neither a text, a whole number, a UUID nor one of these per row is its text in the CSV."""
    if isinstance(given, str):
        return given or None
    if is_list(given):
        return given
    try:
        value = plain(given)
        return None if value is None or value != value else text(value) or None
    except CollectError:
        # What has no text will be refused.
        return given


def _names_inputs(user_id: Any) -> bool:
    """True for an id that inputs were given."""
    if user_id is None:
        return False
    try:
        return time_of(parse_id(user_id)) is not None
    except CollectError:
        return False


def _length(data: Any) -> int:
    try:
        return len(data)
    except TypeError:
        return 1
