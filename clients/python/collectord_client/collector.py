"""What a scoring script calls for each request: one designation's rows, taken into the client's outbox."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from . import process
from .arrays import column_type
from .block import Block, all_read
from .call import Call, refusal
from .columns import Plan, outcome
from .context import Context, Held, Recalled, Refused, Thinned
from .core import (
    HOUR,
    LARGE,
    NO_SHAPE,
    REQUEST_BYTES,
    ShortWay,
    Slot,
    Told,
    columns_of,
    only_block,
)  # fmt: skip
from .errors import CollectError
from .failures import DESIGNATION as ERRORS
from .ids import Keys, is_list, parse_id, parse_ids
from .intake import count_rows, tabulate
from .loaded import loaded
from .names import resolve
from .notices import accident, once, trace
from .outbox import MAX_SLOT_COLUMNS, MAX_SLOTS, Outbox
from .recipe import PIECE_BYTES, Piece, Selection, Trial
from .request import current
from .sampling import Sampler
from .values import Memory
from .wire import NO_IDS, TEXTS, UUIDS, Schema

if TYPE_CHECKING:
    from .client import Client
    from .request import Request

# Assigned, not imported: CPython binds a method anew for each call where the name comes from an import.
_ids = process.ids
_now = time.time_ns

Known = tuple[Slot, list[str], tuple[int, ...] | None, Plan | None]
"""What a kind of data becomes: its slot, what there is to note each time, which columns in which order, and what the column
rules do with them."""


class Collector(ShortWay):
    """Collects for one designation. Made by `Client.collector`; thread-safe."""

    _outbox: Outbox

    def __init__(self, client: Client, designation: str, names: tuple[str, ...] | None) -> None:
        super().__init__(client._outbox, client._pending, _ids, designation)
        self._client = client
        self._board = client._outbox.board
        self._stream = replace(client._stream, designation=designation)
        self._names = names
        self._predicts = self._takes
        """Whether capture recipes look at its rows. The faces of SDKs that call predictions otherwise say so."""
        self._dates = designation == "labels"
        self._errs = designation == ERRORS
        self._rules = client._rules
        self._drops = all_read if self._rules is None else self._rules.unread(names)
        self._budget = client._budget
        self._memory = Memory()
        self._slots: dict[tuple[object, ...], Known] = {}
        self._columns = 0
        self._on = True
        """False while the daemon has switched this stream off."""
        self._allowed = True
        """False where it may not be collected whatever is switched on."""
        self._selection: Selection | None = None
        self._sampler: Sampler | None = None
        self._fraction = 0.0
        self._board.tell(self)

    @property
    def collecting(self) -> bool:
        """Whether rows may be taken in, as far as host and daemon decide it."""
        return (self._outbox.collecting and self._on) or (self._allowed and self._board.careful())

    def obey(self) -> None:
        """Does what the switchboard has heard of; from any thread. Calls that are under way end as they began."""
        board = self._board
        fraction, on, selection = board.fraction(self._stream), board.collects(self._stream), board.selection
        self._allowed = board.allows(self._stream)
        if (fraction, on) == (self._fraction, self._on) and selection is self._selection:
            return
        self._selection = selection
        if fraction != self._fraction:
            self._fraction = fraction
            if fraction:
                # At 0 the last one stays: without one, a call that is under way would take what comes.
                self._sampler = self._client._sampler(self._stream.designation, fraction)
        self._on = on
        self._forget()

    def _forget(self) -> None:
        """Nothing goes the short way any more, until a call has shown that it may."""
        self._shape = NO_SHAPE

    def _long_way(self, data: Any, told: Told) -> Context:
        call = Call(told)
        try:
            return self._collect(data, call)
        except CollectError as error:
            refused = error
        except Exception as error:  # noqa: BLE001
            refused = accident(error)
        return self._refuse(refused, self._whose(call), call.request, data)

    def _whose(self, call: Call) -> Context | None:
        """The context of a call that was refused: what follows it goes by the ids that its rows would have had."""
        return call.known if self._offers or call.context is None else call.context

    def _dropped(self, reason: str, made: Context, request: Request | None) -> Context:
        return self._refuse(CollectError(reason, "the rows of this call were dropped", made.rows), made, request)

    def _accident(self, error: Exception, context: Context | None, request: Request | None) -> Context:
        return self._refuse(accident(error), context, request)

    def _refuse(
        self, error: CollectError, context: Context | None, request: Request | None, data: Any = None
    ) -> Context:
        """Counts what was refused, in the rows of `data` where the error does not know them; strict clients raise it."""
        if self._offers or not isinstance(context, Context):
            # A prediction must not take the inputs of an earlier request instead of these.
            context = refusal(context, error.rows or None, request)
            if self._offers:
                self._pending.set(request, context)
        if not error.rows and data is not None:
            try:
                error.rows = count_rows(data, self._names, 0)
            except Exception as broken:  # noqa: BLE001
                # It is asked for its length because something is wrong with it: then one is counted.
                trace(broken)
        self._client._refuse(self._stream, error)
        return context

    def _collect(self, data: Any, call: Call) -> Context:
        budget = self._budget
        if budget is None:
            return self._take(data, call)
        began = budget.clock()
        made = self._take(data, call)
        if made.rows:
            budget.spent(budget.clock() - began)
        return made

    def _source(self, call: Call) -> Context | None:
        """The context whose ids the rows get: the one given, else for predictions that of the last inputs."""
        if call.context is None:
            found = self._pending.get(call.request) if self._takes else None
            if found is None or found._taken or call.names_others(found):
                return None
            found._taken = True
            return found
        if not isinstance(call.context, Context):
            raise CollectError("bad_id", f"a context is what collect() returned, not a {type(call.context).__name__}")
        if self._takes:
            # The next prediction on this thread may be that of a request without inputs.
            call.context._taken = True
        return call.context

    def _take(self, data: Any, call: Call) -> Context:
        request = call.request
        source = self._source(call)
        sampler = self._sampler
        trial = self._trial(call, source)
        if trial is not None:
            if self._errs:
                trial.fail()
            if trial.left or not self._allowed:
                return self._pass_by(call, source, trial)
            # It has been selected, or will be: nothing else decides.
            sampler = None
        elif not (self._outbox.collecting and self._on):
            return self._pass_by(call, source)
        known = call.identify(source, self._offers)
        expected = source._request_rows if source is not None else 0
        factor, decided = 1.0, False
        if sampler is not None:
            factor = known._left = sampler.factor(source, call.correlation_id is not None and not self._offers)
            decided = known._keys is None
            if decided:
                # One id for all rows: those of a request that is left out are not looked at.
                taken, without_budget = sampler.takes(known._id, factor)
                if not taken:
                    known._expected = rows = count_rows(data, self._names, expected)
                    return self._leave_out(known, rows, rows if without_budget else 0, request)
        block, notes = tabulate(data, self._names, expected, self._memory, self._drops)
        rows = block.rows
        id, ids = call.ids(rows)
        time_ns, keys, undated = call.keys(id, ids, rows, source is None and not self._offers)
        if self._takes and call.correlation_id is None and (source is None or ids is not source._keys):
            notes = [*notes, "uncorrelated"]
        if undated and self._dates:
            notes = [*notes, "undated"]
        times = None if keys is None else keys.times
        asked = known._request if keys is None or keys.requests is None else keys.requests[0]
        made = Context(id, time_ns, rows, asked, ids)
        sent, share = made, 1.0
        if trial is not None:
            made = Held(id, time_ns, rows, asked, ids, trial)
        if sampler is not None:
            share = sampler.fraction * factor
            if factor != 1.0:
                made = sent = Thinned(id, time_ns, rows, asked, ids, factor)
            if not decided:
                chosen, thinned = sampler.among(ids or (id,) * rows, factor)
                out = chosen.count(False)
                if out == rows:
                    return self._leave_out(Refused(id, time_ns, rows, asked, ids, factor), rows, thinned, request)
                if out and keys is not None:
                    self._outbox.leave_out(out - thinned, thinned)
                    block, keys, rows = block.take(chosen), keys.take(chosen), rows - out
                    times = keys.times
                    sent = Context(id, time_ns if times is None else times[0], rows, asked)
        if self._rules is not None and self._rules.of_ids:
            sent, keys = self._rules.disguise(sent, keys)
        layout = UUIDS if isinstance(keys.ids[0] if keys is not None else sent._id, bytes) else TEXTS
        marked = NO_IDS if sent._request is None else UUIDS if isinstance(sent._request, bytes) else TEXTS
        slot, changed, order, plan = self._slot_for(block, layout, marked, sampler is not None)
        if order is not None:
            block = block.select(order)
        if plan is not None and self._rules is not None:
            block = self._rules.apply(block, plan)
        several = times is not None and any(one // HOUR != times[0] // HOUR for one in times)
        pieces = [] if several else block.cut(self._outbox.page_bytes)
        if self._offers:
            self._pending.set(request, made)
        if notes or changed:
            self._outbox.note([*notes, *changed])
        if trial is not None:
            self._put_tried(trial, ids or (id,), slot, block, pieces, keys, sent)
            return made
        if several:
            self._put_by_hour(slot, block, keys, sent, share)
            return made
        refused = self._put(slot, pieces, rows, keys, sent, share)
        if refused is not None:
            return self._refuse(refused, made, request)
        if block.tensor is not None and order is None and keys is None and not changed and self._short(plan):
            self._remember(data, slot, block)
        return made

    def _trial(self, call: Call, source: Context | None) -> Trial | None:
        """What decides about the rows of a call while a capture recipe holds, and about those of its requests later on. None:
        what is switched does, as it does about requests that began before."""
        if isinstance(source, Held):
            return source._trial
        selection = self._board.selection
        if selection is None:
            return None
        if isinstance(source, Recalled):
            return selection.named([source._id])
        given = call.correlation_id
        if given is not None and not self._offers:
            return selection.named(parse_ids(given) if is_list(given) else [parse_id(given)])
        trials = None if call.request is None else call.request.trials
        if source is not None and (trials is None or self._pending not in trials):
            return None
        return selection.begin(trials, self._pending)

    def begun(self, source: Context) -> Context:
        """`source` as that of a request that begins here, if a capture recipe decides about it."""
        selection = self._board.selection
        if selection is None or isinstance(source, Held):
            return source
        request = current()
        trial = selection.begin(None if request is None else request.trials, self._pending)
        if trial is None:
            return source
        return Held(source._id, source.time_ns, source.rows, source._request, source._keys, trial)

    def _put_tried(
        self,
        trial: Trial,
        ids: Sequence[bytes | str],
        slot: Slot,
        block: Block,
        pieces: list[tuple[int, Block]],
        keys: Keys | None,
        sent: Context,
    ) -> None:
        """Puts the rows of a request that is selected; else they are held, with all that is needed to put them later."""
        if self._predicts:
            trial.look(slot.schema, block)
        put = partial(self._put_selected, trial.selection, ids, slot, block, pieces, keys, sent)
        size = block.size + PIECE_BYTES + (0 if keys is None else 64 * block.rows)
        trial.selection.take(trial, ids[0], Piece(put, size, self._stream, block.rows, self._outbox.drop))

    def _put_selected(
        self,
        selection: Selection,
        ids: Sequence[bytes | str],
        slot: Slot,
        block: Block,
        pieces: list[tuple[int, Block]],
        keys: Keys | None,
        sent: Context,
    ) -> None:
        selection.remember(ids)
        if not pieces:
            # The rows of several hours.
            self._put_by_hour(slot, block, keys, sent, 1.0)
            return
        refused = self._put(slot, pieces, block.rows, keys, sent, 1.0)
        if refused is not None:
            self._client._refuse(self._stream, refused)

    def _short(self, plan: Plan | None) -> bool:
        """True where nothing decides about a call but its kind of data: then the next one like it may go the short way."""
        return self._sampler is None and plan is None and (self._rules is None or not self._rules.of_ids)

    def _pass_by(self, call: Call, source: Context | None, trial: Trial | None = None) -> Context:
        """The context of a call while nothing is collected; what follows it goes by the `trial` of its request, if it has one."""
        if source is not None:
            return source
        try:
            # One id per row would be a look at each.
            known = None if is_list(call.correlation_id) else call.identify(None, self._offers)
        except CollectError:
            # An unusable id, and nothing is lost with it.
            known = None
        left: Context = refusal(known, None, call.request)
        if trial is not None:
            held = Held(left._id, left.time_ns, 0, left._request, left._keys, trial)
            held._expected = None
            left = held
        if self._offers:
            self._pending.set(call.request, left)
        return left

    def _leave_out(self, left: Refused, rows: int, thinned: int, request: Request | None) -> Context:
        """Counts the rows of a request that is not collected; `thinned` of them for want of time. What follows it is given
        its context."""
        self._outbox.leave_out(rows - thinned, thinned)
        if self._offers:
            self._pending.set(request, left)
        return left

    def _put_by_hour(self, slot: Slot, block: Block, keys: Keys | None, made: Context, share: float) -> None:
        """Puts the rows of several hours: a page holds those of one. What is refused of one hour does not touch the others."""
        assert keys is not None
        assert keys.times is not None
        hours = [time_ns // HOUR for time_ns in keys.times]
        edges = [at for at in range(1, len(hours)) if hours[at] != hours[at - 1]]
        cuts = list(pairwise([0, *edges, len(hours)]))
        for (at, end), part in zip(cuts, block.between(cuts), strict=True):
            theirs = keys.between(at, end)
            if theirs.numbers is None:
                theirs.numbers = range(at, end)
            source = Context(made._id, keys.times[at], end - at, made._request)
            refused: CollectError | None
            try:
                pieces = part.cut(self._outbox.page_bytes)
            except CollectError as error:
                refused = error
            else:
                refused = self._put(slot, pieces, end - at, theirs, source, share)
            if refused is not None:
                self._client._refuse(self._stream, refused)

    def _put(
        self,
        slot: Slot,
        pieces: list[tuple[int, Block]],
        rows: int,
        keys: Keys | None,
        made: Context,
        share: float,
    ) -> CollectError | None:
        """Puts `rows` rows into the outbox. Returns why none of them had room; counts those that had none while others had,
        and those that are not among the pieces."""
        refused = self._outbox.put_block(slot, pieces, made.time_ns, made._id, made._request, keys, share)
        if refused is not None:
            reason, lost = refused
            error = CollectError(reason, "the rows of this call were dropped", lost)
            if lost == rows:
                return error
            self._client._refuse(self._stream, error)
            return None
        lost = rows - sum(piece.rows for _, piece in pieces)
        if lost:
            self._client._refuse(self._stream, CollectError("row_too_large", "rows of this call were left out", lost))
        return None

    def _slot_for(self, block: Block, correlation: int, request: int, sampled: bool) -> Known:
        tensor = block.tensor is not None
        key = (block.names, block.positional, block.types, tensor, correlation, request, sampled)
        found = self._slots.get(key)
        if found is None:
            names, notes, order = resolve(self._names, block.names, len(block.types), block.positional)
            types = block.types if order is None else tuple([block.types[at] for at in order])
            plan = None
            if self._rules is not None:
                plan = self._rules.plan(names, block.names, order, block.rows, self._stream)
            if plan is not None:
                names, types, tensor = outcome(plan, names, types, tensor)
            for note in notes:
                once(logging.WARNING, f"{self._stream} {note}", "%s for %s: see docs/client.md", note, self._stream)
            self._columns += len(types)
            if len(self._slots) >= MAX_SLOTS or self._columns > MAX_SLOT_COLUMNS:
                self._slots.clear()
                self._columns = len(types)
            slot = self._outbox.slot(Schema(self._stream, names, types, tensor, correlation, request, sampled))
            found = self._slots[key] = (slot, notes, order, plan)
        return found

    def _remember(self, data: Any, slot: Slot, block: Block) -> None:
        """Lets data like this go the short way from now on, if it is of a kind that may."""
        numpy, pandas = loaded("numpy"), loaded("pandas")
        if slot.schema.sampled:
            # A fraction that was switched away during the call: the short way knows of none.
            return
        if slot.schema.correlation != UUIDS or slot.schema.request == TEXTS:
            return
        if numpy is None or sys.byteorder != "little" or block.tensor is None:
            return
        kind, array, labels = type(data), data, None
        if pandas is not None and kind is pandas.DataFrame:
            labels = columns_of(data)
            array = only_block(data, labels)
            if array is None or array[:1].tobytes() != block.tensor[: array[:1].nbytes]:
                return
        # In one dimension only a single name says that values are rows, whatever request they come in.
        if type(array) is not numpy.ndarray or (
            array.ndim != 2 and (array.ndim != 1 or self._names is None or len(self._names) != 1)
        ):
            return
        # What an array of objects holds are addresses, though they may be those of numbers, of which the block is a tensor.
        if column_type(array.dtype) is None:
            return
        # Only numpy's own dtype objects are one per type, so that identity is enough on the short way.
        if not array.dtype.isnative or array.dtype is not numpy.dtype(array.dtype.type):
            return
        columns = array.shape[1] if array.ndim == 2 else 1
        width = array.dtype.itemsize * columns
        most_rows = max(0, self._outbox.page_bytes - REQUEST_BYTES - 16) // width
        marked = type(None) if slot.schema.request == NO_IDS else bytes
        self._shape = (kind, array.dtype, array.shape[1:], most_rows, LARGE // width + 1, slot, marked, labels)
        if self._sampler is not None or not self._on or self._board.careful():
            # Switched meanwhile.
            self._forget()
