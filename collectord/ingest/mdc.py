"""The door for the v2 SDK's payloads: a heading and a body become a batch in the log, or an answer that says why not.

A payload is accepted (202) when its rows are durable, and nothing else is waited for. What can never be accepted is answered
with 4xx, what may be accepted later with 503; what is not wanted at all with 204. No HTTP here: `mdc_http.py` speaks it.
Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

from collectord import batch
from collectord.errors import Rejected, Unauthenticated
from collectord.ingest.admission import Account, Admission
from collectord.ingest.columns import ids
from collectord.ingest.forms import Forms, payload
from collectord.ingest.gate import ENTRY_OVERHEAD, Gate, Outcome
from collectord.ingest.heading import Heading, read_heading
from collectord.ingest.payload import BadPayload
from collectord.ingest.purses import Purse
from collectord.ingest.records import Cover, Packed, read, weight
from collectord.ingest.remembered import client_of, untraced_client
from collectord.ingest.validate import Judged, Refusal, judge
from collectord.model import ENTRY_BYTES, REQUEST_COLUMN, Entry, EntryKind, Reason, Stream
from collectord.tenants import Tenant
from collectord.uuids import new_v7

PATH = "/modeldata/log"
LISTENER = "mdc"
"""What this door is called among the listeners of the tenants' file."""
MAX_BODY_BYTES = 4 << 20
BODY_SHARE = 64
"""A body may have this part of the memory budget, if that is less."""
RECORDS_SHARE = 4
"""Of the memory budget, for what a body becomes while it is read: `[{},{},…` grows thirtyfold."""
HELD_SHARE = 16
"""Of the memory budget, for bodies that are being received or wait to be read."""
BODY_SECONDS = 10.0
"""For a whole body to arrive."""
ROOM_SECONDS = 5.0
"""How long a payload waits for room before it is told to come again."""
ASIDE_BYTES = 64 << 10
"""Larger bodies are read on a thread, one at a time, while others are answered."""
RETRY_SECONDS, BLOCKED_SECONDS = 1, 60

STATUSES: Final[dict[Reason, int]] = {
    Reason.MALFORMED: 400,
    Reason.LENGTH_MISMATCH: 400,
    Reason.UNKNOWN_SCHEMA: 400,
    Reason.BAD_SCHEMA: 400,
    Reason.UNSUPPORTED_TYPE: 400,
    Reason.UNSUPPORTED_KIND: 400,
    Reason.TOO_MANY_COLUMNS: 413,
    Reason.HEADER_TOO_LARGE: 413,
    Reason.DUPLICATE_COLUMN: 400,
    Reason.BAD_NAME: 400,
    Reason.NO_ROWS: 400,
    Reason.TOO_MANY_ROWS: 413,
    Reason.ROW_TOO_LARGE: 413,
    Reason.VALUE_TOO_LARGE: 413,
    Reason.INVALID_UTF8: 400,
    Reason.TIME_OUT_OF_WINDOW: 400,
    Reason.MIXED_PARTITION: 400,
    Reason.TOO_MANY_STREAMS: 503,
    Reason.STREAM_BLOCKED: 503,
    Reason.TOO_MANY_SCHEMAS: 503,
    Reason.NOT_ALLOWED: 403,
}
"""What each reason to refuse rows is in HTTP: 503 where they may be taken later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told."""

    status: int
    text: str
    retry_after: int = 0
    """Seconds; 0: nothing is said."""


ACCEPTED = Answer(202, "accepted")
REPEATED = Answer(202, "accepted before")
SWITCHED_OFF = Answer(204, "")
SLOW = Answer(408, f"the body did not arrive within {BODY_SECONDS:g} s")
CUT = Answer(400, "the body was cut short")
BUSY = Answer(503, "too many payloads are under way; send it again", RETRY_SECONDS)

NAMELESS = Stream()


class Source(Protocol):
    """Where a body comes from."""

    def arrived(self) -> bytes | None:
        """The whole of it, if it is here already."""
        ...

    async def receive(self, most: int) -> bytes | bytearray | None:
        """Waits for a body of at most so many bytes; None: it has more. Raises ConnectionError if it is cut short."""
        ...


@dataclass(slots=True)
class Posting:
    """A `Sender` of one entry."""

    answered: asyncio.Future[Exception | None]
    """Done when the log has answered."""
    account: Account = field(default_factory=Account)

    def settle(self, outcome: Outcome) -> None:
        if not self.answered.done():
            self.answered.set_result(outcome.error)


class MdcDoor:
    """Takes payloads in."""

    def __init__(
        self, gate: Gate, memory_budget: int, names: Stream = NAMELESS, covers: Mapping[str, Cover | None] | None = None
    ) -> None:
        """`names`: of streams whose payloads do not say them. `covers`: the column rules."""
        self._gate = gate
        self._names = names
        self._covers = covers or {}
        self._forms = Forms(
            value_bytes=gate.schemas.max_value_bytes, requests=self._covers.get(REQUEST_COLUMN, str) is not None
        )
        self._room = Admission(memory_budget // HELD_SHARE)
        # One thread: what the libc keeps for each that has read a large body is several times the body.
        self._aside = ThreadPoolExecutor(1, "collectord-mdc")
        self._under_way: dict[bytes, asyncio.Future[Exception | None]] = {}
        """By client id what waits for the log."""
        self.max_body = min(MAX_BODY_BYTES, memory_budget // BODY_SHARE)
        self.max_weight = memory_budget // RECORDS_SHARE
        gate.metrics.gauge("collectord_mdc_held_bytes", lambda: self._room.used)

    async def answer(
        self, headers: Mapping[str, str], length: int | None, source: Source, certificate: Sequence[str] = ()
    ) -> Answer:
        """Takes one payload in. `length`: of the body, if it is said; `certificate`: the names in the sender's."""
        try:
            self._gate.look_for_tenants()
            tenants = self._gate.tenants
            tenant = tenants.who(LISTENER, tenants.digest(_token(headers)), certificate)
            answer = await self._answer(headers, length, source, tenant)
        except BadPayload as bad:
            answer = Answer(bad.status, str(bad))
        except Unauthenticated as error:
            answer = Answer(401, str(error))
        self.tell(answer)
        return answer

    def tell(self, answer: Answer) -> None:
        """Counts an answer."""
        self._gate.metrics.count("collectord_mdc_answers_total", code=str(answer.status))

    def no_tls(self) -> None:
        """Counts a connection whose handshake failed."""
        self._gate.metrics.count("collectord_tls_failures_total")

    async def _answer(self, headers: Mapping[str, str], length: int | None, source: Source, tenant: Tenant) -> Answer:
        gate = self._gate
        if gate.closed:
            return Answer(503, gate.closed, RETRY_SECONDS)
        heading = read_heading(headers, self._names)
        # Before what is switched on: of another's service a sender hears nothing.
        why_not = tenant.why_not(heading.stream)
        if why_not:
            return Answer(STATUSES[Reason.NOT_ALLOWED], f"{Reason.NOT_ALLOWED}: {why_not}")
        if not gate.rules.collects(heading.stream):
            return SWITCHED_OFF
        client = (
            client_of(heading.stream.designation, heading.trace, tenant.name) if heading.trace else untraced_client()
        )
        if gate.marks.has_stored(client):
            return self._repeated()
        if length is not None and length > self.max_body:
            return self._too_large(length)
        purse = gate.purses.of(tenant, heading.stream.webservice, gate.clock.monotonic())
        account, room = Account(whose=purse), length if length is not None else self.max_body
        if not await _acquire(self._room, account, room):
            return BUSY
        try:
            body: bytes | bytearray | None = source.arrived()
            if body is None:
                try:
                    body = await asyncio.wait_for(source.receive(self.max_body), BODY_SECONDS)
                except asyncio.TimeoutError:
                    return SLOW
                except ConnectionError:
                    return CUT
            if body is None or len(body) > self.max_body:
                return self._too_large(None)
            rows, columns = await self._columns(body)
            del body
        finally:
            self._room.release(account, room)
        return await self._take(client, heading, rows, columns, purse)

    def close(self) -> None:
        """Nothing is asked any more."""
        self._aside.shutdown(wait=False)

    async def _columns(self, body: bytes | bytearray) -> tuple[int, list[Packed]]:
        need = weight(body)
        if need > self.max_weight:
            raise BadPayload(
                f"the records may need {need} bytes of memory; {self.max_weight} are allowed, send fewer rows at a time",
                status=413,
            )
        if len(body) <= ASIDE_BYTES:
            return read(body, self._covers)
        return await self._gate.loop.run_in_executor(self._aside, read, body, self._covers)

    async def _take(self, client: bytes, heading: Heading, rows: int, columns: list[Packed], purse: Purse) -> Answer:
        """Judges a batch and has it made durable."""
        gate = self._gate
        now_ns = gate.clock.wall_ns()
        rules: batch.Rules | None = None
        try:
            rules = self._forms.rules(heading.stream, columns)
            if (refusal := gate.schemas.too_large(rules.schema)) is not None:
                return await self._refuse(refusal, rows, rules, purse)
            correlation_id, request_id = ids(heading.correlation_id or new_v7(now_ns), self._covers)
            raw = payload(rules, heading, correlation_id, rows, columns, request_id)
            judged = judge(raw, batch.find(raw), rules, gate.window, now_ns)
        except Rejected as rejected:
            return await self._refuse(Refusal.of(rejected), rows, rules, purse)
        columns.clear()
        unnamed = gate.why_unnamed(judged.schema.stream, purse)
        if unnamed is not None:
            return Answer(STATUSES[unnamed.reason], unnamed.detail, BLOCKED_SECONDS)
        if not gate.has_share(purse, len(raw)):
            gate.admission.waits("share")
            return Answer(503, f"the share of the {purse.name} in the spool is used up; send it again", RETRY_SECONDS)
        # The last of these, so that nobody pays for what is not taken.
        if purse.limited and not purse.take(len(raw), judged.rows, gate.clock.monotonic()):
            gate.admission.waits("quota")
            return Answer(503, f"the quota of the {purse.name} is used up; send it again", RETRY_SECONDS)
        purse.spare -= len(raw)
        answer = await self._store(client, raw, judged, purse)
        if answer is ACCEPTED:
            for missing, there in (("trace", heading.trace), ("correlation", heading.correlation_id)):
                if not there:
                    gate.metrics.count("collectord_mdc_incomplete_total", cause=missing)
        return answer

    async def _store(self, client: bytes, raw: bytes, judged: Judged, purse: Purse) -> Answer:
        gate = self._gate
        entry = Entry(EntryKind.BATCH, client, 1, judged.rows, raw, judged.schema, judged.partition)
        posting = Posting(gate.loop.create_future(), Account(whose=purse))
        outcome = Outcome(
            posting, client, 1, len(raw), len(raw) + ENTRY_OVERHEAD, judged.rows, None, judged.partition,
            entry=entry if gate.arrivals.watched else None,
        )  # fmt: skip
        if not await _acquire(gate.admission, posting.account, outcome.charged):
            return BUSY
        # No await from here to the log: of two with one trace id, one gets there.
        under_way = self._under_way.get(client)
        if under_way is not None or gate.marks.has_stored(client):
            gate.admission.release(posting.account, outcome.charged)
            error = await asyncio.shield(under_way) if under_way is not None else None
            return self._repeated() if error is None else _failed(error)
        refusal = gate.no_room(purse, judged.partition)
        if refusal is not None:
            gate.admission.release(posting.account, outcome.charged)
            return Answer(STATUSES[refusal.reason], refusal.detail, BLOCKED_SECONDS)
        self._under_way[client] = posting.answered
        posting.answered.add_done_callback(lambda _: self._under_way.pop(client))
        try:
            gate.log.append([entry], gate.done(outcome), urgent=True)
        except BaseException:
            gate.streams.gave_up(judged.partition)
            gate.admission.release(posting.account, outcome.charged)
            posting.answered.cancel()
            raise
        error = await asyncio.shield(posting.answered)
        return ACCEPTED if error is None else _failed(error)

    async def _refuse(self, refusal: Refusal, rows: int, rules: batch.Rules | None, purse: Purse) -> Answer:
        """What is refused for good goes into the books, which are kept by the log."""
        gate = self._gate
        now = gate.clock.monotonic()
        if purse.reports.wait(now) > 0:
            return Answer(503, f"too much of the {purse.name} is refused; send it again", RETRY_SECONDS)
        purse.reports.take(ENTRY_BYTES + (len(rules.schema.raw) if rules is not None else 0), now)
        gate.rejections.tell(rules.schema if rules else None, refusal, rows, now)
        reason = str(refusal.reason).encode()
        entry = Entry(EntryKind.REJECT, untraced_client(), 0, rows, reason, rules.schema if rules else None)
        posting = Posting(gate.loop.create_future())
        outcome = Outcome(posting, entry.client, 0, len(reason), len(reason) + ENTRY_OVERHEAD, rows, refusal)
        if await _acquire(gate.admission, posting.account, outcome.charged):
            gate.log.append([entry], gate.done(outcome), urgent=True)
            await asyncio.shield(posting.answered)
        return Answer(STATUSES[refusal.reason], f"{refusal.reason}: {refusal.detail}")

    def _repeated(self) -> Answer:
        self._gate.metrics.count("collectord_mdc_payloads_repeated_total")
        return REPEATED

    def _too_large(self, length: int | None) -> Answer:
        said = f"has {length} bytes" if length is not None else "is larger"
        return Answer(413, f"the body {said}; {self.max_body} bytes are allowed, send fewer rows at a time")


async def _acquire(admission: Admission, account: Account, size: int) -> bool:
    """Waits for room, for a while; `account` holds nothing else. Returns whether it has it."""
    if admission.has_room(size):
        # As nearly always: the timer below costs more than all the rest.
        await admission.acquire(account, size, lambda: size)
        return True
    try:
        await asyncio.wait_for(admission.acquire(account, size, lambda: size), ROOM_SECONDS)
    except asyncio.TimeoutError:
        return False
    return True


def _token(headers: Mapping[str, str]) -> str:
    """The token of a sender, as `Authorization: Bearer TOKEN`; empty if there is none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _failed(error: Exception) -> Answer:
    return Answer(503, f"not stored: {error}", RETRY_SECONDS)
