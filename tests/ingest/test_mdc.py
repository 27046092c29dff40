"""The v2 door without HTTP: what is accepted, refused for good, or put off, and that a repeat is stored once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from collectord.errors import LogUnavailable, SpoolFull
from collectord.ingest import mdc
from collectord.ingest.columns import covers
from collectord.ingest.mdc import ASIDE_BYTES, MAX_BODY_BYTES, STATUSES, Answer, MdcDoor
from collectord.ingest.purses import HELD_REPORTS, Purses
from collectord.ingest.remembered import client_of, is_ours
from collectord.ingest.shares import Names
from collectord.ingest.validate import Refusal
from collectord.model import EntryKind, Reason, Stream
from collectord.patterns import StreamPatterns
from collectord.switches import Rules
from collectord.tenants import ANYBODY, Tenant
from collectord.uuids import new_v7
from tests.ingest.fakes import World, in_loop
from tests.ingest.payloads import headers, rows
from tests.ingest.test_purses import Named
from tests.reference_batch import NOW

BODY = b'[{"a": 1, "b": "x"}, {"a": 2, "b": null}]'
BUDGET = 256 << 20


def counted(world: World, name: str) -> dict[str, float]:
    """A metric's values by its labels; with labels, those that are not 0."""
    lines = (
        line.rpartition(" ") for line in world.gate.metrics.render().decode().splitlines() if line.startswith(name)
    )
    return {left.removeprefix(name): float(value) for left, _, value in lines if left == name or float(value)}


class Sent:
    """A body that arrives when a test wants."""

    def __init__(self, body: bytes = BODY, *, held: bool = False) -> None:
        self.body = body
        self.here = asyncio.Event()
        self.asked = False
        if not held:
            self.here.set()

    def arrived(self) -> bytes | None:
        self.asked = True
        return None

    async def receive(self, most: int) -> bytes | None:
        await self.here.wait()
        return None if len(self.body) > most else self.body


def door(world: World, budget: int = BUDGET, **given: Any) -> MdcDoor:
    return MdcDoor(world.gate, budget, **given)


async def post(door: MdcDoor, body: bytes = BODY, **more: str | None) -> Answer:
    return await door.answer(headers(**more), len(body), Sent(body))


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to that")


@in_loop
async def test_a_payload_is_accepted_when_it_is_durable_and_not_before() -> None:
    world = World()
    asked = asyncio.create_task(post(door(world)))
    await until(lambda: world.log.queue)
    assert not asked.done()
    world.log.commit()
    assert (await asked).status == 202
    (entry,) = world.log.entries
    assert (entry.kind, entry.sequence, entry.rows) == (EntryKind.BATCH, 1, 2)
    assert entry.client == client_of("model_inputs", headers()["trace-id"])
    assert world.gate.admission.used == 0
    assert counted(world, "collectord_records_received_total") == {"": 2}
    assert counted(world, "collectord_mdc_answers_total") == {'{code="202"}': 1}
    assert counted(world, "collectord_mdc_held_bytes") == {"": 0}
    assert counted(world, "collectord_mdc_incomplete_total") == {}


@in_loop
async def test_its_rows_have_the_ids_and_names_that_its_headers_say() -> None:
    world = World(eager=True)
    names = Stream(subscription="s", resource_group="g", workspace="w", webservice="svc", model="m")
    assert (await post(door(world, names=names), ce_model_version="3")).status == 202
    (entry,) = world.log.entries
    assert entry.schema is not None
    assert entry.schema.stream == Stream("s", "g", "w", "svc", "m", "3", "model_inputs")
    first, second = rows(entry.schema, bytes(entry.payload))
    assert first == {
        "a": "1", "b": "x",
        "$aml_dc_correlation_id": "a-request", "$aml_dc_scoring_timestamp": "2020-09-13T12:26:40.000000",
        "$aml_dc_boundary": "1440", "$aml_workspace": "s/g/w", "$aml_service_name": "svc", "$aml_model_name": "m",
        "$aml_model_version": "3", "$aml_request_id": "a-request", "$aml_dc_row": "0",
    }  # fmt: skip
    assert second == first | {"a": "2", "b": "", "$aml_dc_row": "1"}


@in_loop
async def test_what_is_not_taken_costs_no_quota() -> None:
    world = World(eager=True)
    world.gate.purses = Purses(rows_per_second=1)
    one = door(world)
    world.room.left["service default"] = 0
    world.gate.names = Names(0, 1.0)
    for _ in range(3):
        assert "names of streams" in (await post(one)).text
    world.gate.names = Names(1 << 20, 1.0)
    for _ in range(3):
        assert "in the spool" in (await post(one)).text
    world.room.left.clear()
    assert (await post(one)).status == 202
    answer = await post(one, trace_id="another")
    assert (answer.status, answer.text) == (503, "the quota of the service default is used up; send it again")


@in_loop
async def test_what_a_tenant_has_no_share_of_is_answered_503_and_comes_again() -> None:
    """The spool, the names of streams, and refusals that are a flood; nothing of it is stored."""
    world = World(eager=True)
    one = door(world)
    world.room.left["service default"] = 0
    answer = await post(one)
    assert (answer.status, answer.text) == (
        503,
        "the share of the service default in the spool is used up; send it again",
    )
    world.room.left.clear()
    world.gate.names = Names(0, 1.0)
    answer = await post(one)
    assert (answer.status, "names of streams" in answer.text) == (503, True)
    world.gate.names = Names(1 << 20, 1.0)
    world.gate.schemas.max_columns = 1
    assert (await post(one)).status == 413
    purse = world.gate.purses.of(ANYBODY, "", world.clock.monotonic())
    purse.reports.take(HELD_REPORTS, world.clock.monotonic())
    answer = await post(one)
    assert (answer.status, "is refused; send it again" in answer.text) == (503, True)
    world.gate.schemas.max_columns = 2
    assert (await post(one)).status == 202
    assert [entry.kind for entry in world.log.entries] == [EntryKind.REJECT, EntryKind.BATCH]


@in_loop
async def test_a_tenant_does_not_hear_what_is_switched_on_for_anothers_service() -> None:
    world = World(eager=True)
    world.gate.rules = Rules(False, StreamPatterns(("red/*/*",)), StreamPatterns())
    world.gate.tenants = Named(Tenant("blue", StreamPatterns(("blue/*/*",))))
    one = door(world)
    assert [(await post(one, ce_webservice=name)).status for name in ("red", "green", "blue")] == [403, 403, 204]


@in_loop
async def test_a_repeat_is_accepted_and_not_stored() -> None:
    world = World(eager=True)
    one = door(world)
    assert (await post(one)).status == 202
    again = Sent(b"whatever")
    answer = await one.answer(headers(), 8, again)
    assert (answer.status, answer.text) == (202, "accepted before")
    assert not again.asked, "its body is not needed"
    assert (await post(one, trace_id="another")).status == 202
    assert (await post(one, ce_type="azureml.inference.model_outputs")).status == 202
    assert len(world.log.entries) == 3
    assert counted(world, "collectord_mdc_payloads_repeated_total") == {"": 1}


@in_loop
async def test_of_two_at_once_with_one_trace_id_one_is_stored() -> None:
    world = World()
    one = door(world)
    first, second = (asyncio.create_task(post(one)) for _ in range(2))
    await until(lambda: world.log.queue)
    await asyncio.sleep(0)
    assert len(world.log.queue) == 1
    world.log.commit()
    assert [(await first).text, (await second).text] == ["accepted", "accepted before"]
    assert world.gate.admission.used == 0


@in_loop
async def test_of_two_at_once_both_fail_with_the_log_and_the_next_is_stored() -> None:
    world = World()
    one = door(world)
    both = [asyncio.create_task(post(one)) for _ in range(2)]
    await until(lambda: world.log.queue)
    await asyncio.sleep(0)
    world.log.fail()
    assert [answer.status for answer in await asyncio.gather(*both)] == [503, 503]
    world.log.eager = True
    assert (await post(one)).text == "accepted"
    assert world.room.coming == 1
    assert world.gate.admission.used == 0


@in_loop
async def test_after_a_restart_a_repeat_is_known_from_the_log() -> None:
    """Whoever replays tells the marks of every entry, and the door asks them."""
    before, after = World(eager=True), World(eager=True)
    assert (await post(door(before))).status == 202
    (entry,) = before.log.entries
    after.gate.marks.observe(entry.client, entry.sequence, NOW)
    assert (await post(door(after))).text == "accepted before"
    assert not after.log.entries


@in_loop
async def test_without_a_trace_id_everything_is_stored_and_counted() -> None:
    world = World(eager=True)
    one = door(world)
    for _ in range(2):
        assert (await post(one, trace_id=None)).text == "accepted"
    clients = {entry.client for entry in world.log.entries}
    assert len(clients) == 2
    assert all(map(is_ours, clients))
    assert world.gate.marks.payloads() == 0
    assert counted(world, "collectord_mdc_incomplete_total") == {'{cause="trace"}': 2}


@in_loop
async def test_without_a_correlation_id_the_rows_get_one_that_tells_the_day() -> None:
    world = World(eager=True)
    assert (await post(door(world), ce_x_request_id=None)).status == 202
    (entry,) = world.log.entries
    assert entry.schema is not None
    ids = {row["$aml_dc_correlation_id"] for row in rows(entry.schema, bytes(entry.payload))}
    assert len(ids) == 1
    assert ids.pop()[:13] == new_v7(NOW)[:13]
    assert counted(world, "collectord_mdc_incomplete_total") == {'{cause="correlation"}': 1}


@pytest.mark.parametrize(
    ("error", "said"),
    [(SpoolFull("the spool is full"), "full"), (LogUnavailable("the disk is gone"), "disk")],
)
def test_what_the_log_cannot_take_is_to_be_sent_again(error: Exception, said: str) -> None:
    @in_loop
    async def run() -> None:
        world = World()
        world.log.error = error
        answer = await post(door(world))
        assert (answer.status, answer.retry_after) == (503, 1)
        assert said in answer.text
        assert world.gate.admission.used == world.room.coming == 0

    run()


@in_loop
async def test_while_the_daemon_drains_nothing_is_read() -> None:
    world = World(eager=True)
    one = door(world)
    world.gate.close("the daemon is draining")
    sent = Sent()
    answer = await one.answer(headers(), len(BODY), sent)
    assert (answer.status, answer.retry_after, answer.text) == (503, 1, "the daemon is draining")
    assert not sent.asked
    world.gate.close("")
    assert (await post(one)).status == 202


@in_loop
async def test_who_watches_sees_payloads_too() -> None:
    world = World(eager=True)
    with world.gate.arrivals.watch(lambda _: True) as watch:
        assert (await post(door(world))).status == 202
        assert watch is not None
        batches, _ = watch.take()
        assert batches == world.log.entries and batches


@in_loop
async def test_where_collecting_is_off_a_payload_is_not_wanted() -> None:
    """2xx, so that the SDK does not complain; another one than for what is stored."""
    world = World(eager=True)
    world.gate.switch(Rules(collect=False))
    assert (await post(door(world))).status == 204
    assert not world.log.entries


@pytest.mark.parametrize(
    ("body", "more", "status", "reason"),
    [
        (b'[{"$aml_dc_row": 1}]', {}, 400, "duplicate_column"),
        (b'[{"": 1}]', {}, 400, "bad_name"),
        (b'[{"%s": 1}]' % (b"n" * 1025), {}, 400, "bad_name"),
        (b'[{"a": 1}]', {"ce_time": "1500000000"}, 400, "time_out_of_window"),
        (b'[{"a": 1}]', {"ce_type": "azureml.inference." + "c" * 256}, 400, "bad_name"),
        (b'[{"a": "%s"}]' % (b"x" * ((1 << 20) + 1)), {}, 413, "value_too_large"),
        (b'[{"a": 1}]', {"ce_x_request_id": "i" * 1025}, 413, "value_too_large"),
        (json.dumps([{f"c{at}": "y" * 1000 for at in range(1600)}]).encode(), {}, 413, "row_too_large"),
        (json.dumps([{f"{at:>01000}": 1 for at in range(500)}]).encode(), {}, 413, "header_too_large"),
    ],
)
def test_rows_that_can_never_be_stored_are_refused_and_in_the_books(
    body: bytes, more: dict[str, str], status: int, reason: str
) -> None:
    @in_loop
    async def run() -> None:
        world = World(eager=True)
        told: list[Refusal] = []
        world.gate.rejections.tell = lambda _, refusal, *__: told.append(refusal)  # type: ignore[method-assign]
        answer = await post(door(world), body, **more)
        assert (answer.status, answer.retry_after) == (status, 0)
        assert [str(refusal.reason) for refusal in told] == [reason]
        assert answer.text.startswith(f"{reason}: ")
        (entry,) = world.log.entries
        assert (entry.kind, entry.sequence, entry.rows, bytes(entry.payload)) == (
            EntryKind.REJECT,
            0,
            1,
            reason.encode(),
        )
        assert counted(world, "collectord_records_rejected_total") == {f'{{reason="{reason}"}}': 1}
        assert world.gate.admission.used == world.room.coming == 0
        assert not world.gate.marks.payloads(), "what was refused may come again, mended, under its trace id"

    run()


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        (b"[]", {}, 400),
        (b"{", {}, 400),
        (b'[{"a": 1}]', {"ce_time": None}, 400),
        (b'[{"a": 1}]', {"ce_type": None}, 400),
        (b'[{"a": 1}]', {"trace_id": "t" * 300}, 400),
        (b'[{"a": 1}]', {"Content_Type": "application/octet-stream"}, 415),
        (b"a b\n1 2", {"Content_Type": "application/octet-stream"}, 415),
        (b'[{"a":0,"b":0}' + b",{}" * 400_000 + b"]", {}, 413),
        (b"[{" + b",".join(b'"%d":1' % at for at in range(10_001)) + b"}]", {}, 413),
        (
            b"[" + b",".join([b"{%s}" % b",".join(b'"%d":1' % at for at in range(3000))] * 3) + b",{}" * 1500 + b"]",
            {},
            413,
        ),
    ],
)
def test_what_is_no_payload_is_refused_and_leaves_no_trace(
    body: bytes, more: dict[str, str | None], status: int
) -> None:
    @in_loop
    async def run() -> None:
        world = World(eager=True)
        one = door(world)
        answer = await post(one, body, **more)
        assert answer.status == status, answer
        assert answer.text
        assert not world.log.entries
        assert counted(world, "collectord_mdc_answers_total") == {f'{{code="{status}"}}': 1}
        assert counted(world, "collectord_mdc_held_bytes") == {"": 0}
        assert (await post(one)).status == 202

    run()


@in_loop
async def test_a_stream_that_may_not_grow_is_told_to_come_later() -> None:
    world = World(eager=True)
    one = door(world)
    world.room.blocked = True
    blocked = await post(one)
    world.room.blocked, world.room.full = False, True
    full = await post(one)
    assert [(answer.status, answer.retry_after) for answer in (blocked, full)] == [(503, 60), (503, 60)]
    assert "max_streams" in full.text
    world.room.full = False
    assert (await post(one)).text == "accepted"
    assert world.gate.admission.used == 0


def test_every_reason_has_a_status() -> None:
    assert set(STATUSES) == set(Reason)
    assert set(STATUSES.values()) == {400, 403, 413, 503}


@in_loop
async def test_a_body_that_is_too_large_is_refused_by_its_length_or_on_the_way() -> None:
    world = World(eager=True)
    one = door(world, 64 << 20)
    assert one.max_body == 1 << 20
    assert door(world).max_body == MAX_BODY_BYTES
    sent = Sent(b" " * (one.max_body + 1))
    announced = await one.answer(headers(), len(sent.body), sent)
    assert (announced.status, sent.asked) == (413, False)
    unannounced = await one.answer(headers(), None, sent)
    assert (unannounced.status, sent.asked) == (413, True)
    assert "1048576 bytes are allowed" in announced.text
    assert "1048576 bytes are allowed" in unannounced.text


@in_loop
async def test_a_body_may_not_grow_beyond_its_share_of_the_memory() -> None:
    """Three bytes of JSON can be an object of Python, of 64 bytes and its place in a list."""
    world = World(eager=True)
    one = door(world, 64 << 20)
    answer = await post(one, b"[" + b",".join([b"{}"] * 300_000) + b"]")
    assert answer.status == 413
    assert "bytes of memory" in answer.text
    rows = [{"f": at / 3} for at in range(20_000)]
    assert (await post(one, json.dumps(rows).encode())).status == 202


@in_loop
async def test_bodies_under_way_stay_inside_their_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB have room for four bodies of 1 MiB; the fifth waits, and after a while is told to come again."""
    world = World(eager=True)
    one = door(world, 64 << 20)
    slow = [Sent(held=True) for _ in range(4)]
    held = [asyncio.create_task(one.answer(headers(trace_id=f"{at}"), None, sent)) for at, sent in enumerate(slow)]
    await until(lambda: all(sent.asked for sent in slow))
    assert counted(world, "collectord_mdc_held_bytes") == {"": 4 << 20}
    waits = asyncio.create_task(post(one, trace_id="waits"))
    await asyncio.sleep(0)
    assert not waits.done()
    monkeypatch.setattr(mdc, "ROOM_SECONDS", 0.01)
    late = await post(one, trace_id="late")
    assert (late.status, late.retry_after) == (503, 1)
    slow[0].here.set()
    assert (await waits).status == 202
    for sent in slow:
        sent.here.set()
    assert {answer.status for answer in await asyncio.gather(*held)} == {202}
    assert counted(world, "collectord_mdc_held_bytes") == {"": 0}


@in_loop
async def test_a_payload_waits_for_the_budget_of_all_doors_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(budget=100)
    one = door(world)
    first = asyncio.create_task(post(one, trace_id="first"))
    await until(lambda: world.log.queue)
    monkeypatch.setattr(mdc, "ROOM_SECONDS", 0.01)
    assert (await post(one, trace_id="second")).status == 503
    world.log.commit()
    assert (await first).status == 202
    assert world.gate.admission.used == 0


@in_loop
async def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdc, "BODY_SECONDS", 0.01)
    world = World(eager=True)
    one = door(world)
    answer = await one.answer(headers(), len(BODY), Sent(held=True))
    assert (answer.status, answer.text) == (408, mdc.SLOW.text)
    assert counted(world, "collectord_mdc_held_bytes") == {"": 0}


@in_loop
async def test_a_body_that_is_cut_short_is_nothing() -> None:
    class Cut(Sent):
        async def receive(self, most: int) -> bytes:
            raise ConnectionError("gone")

    world = World(eager=True)
    assert (await door(world).answer(headers(), 100, Cut())).status == 400
    assert not world.log.entries


@in_loop
async def test_a_large_body_is_read_beside_the_loop() -> None:
    world = World(eager=True)
    body = json.dumps([{"a": "x" * 100, "b": at} for at in range(ASIDE_BYTES // 100)]).encode()
    assert len(body) > ASIDE_BYTES
    one = door(world)
    large = asyncio.create_task(post(one, body, trace_id="large"))
    small = asyncio.create_task(post(one, trace_id="small"))
    assert [(await large).status, (await small).status] == [202, 202]
    assert [entry.rows for entry in world.log.entries] == [2, ASIDE_BYTES // 100]


@in_loop
async def test_column_rules_act_before_anything_is_written() -> None:
    world = World(eager=True)
    rules = covers({"ssn": "drop", "email": "mask"}, b"")
    body = b'[{"ssn": "123-45-6789", "email": "a@example.com", "x": 1}]'
    assert (await post(door(world, covers=rules), body)).status == 202
    (entry,) = world.log.entries
    assert entry.schema is not None
    written = bytes(entry.payload) + entry.schema.raw
    assert b"ssn" not in written
    assert b"123-45" not in written
    assert b"example" not in written
    (row,) = rows(entry.schema, bytes(entry.payload))
    assert (row["email"], row["x"]) == ("***", "1")


@in_loop
async def test_rules_for_our_columns_act_on_the_ids_of_the_headers() -> None:
    world = World(eager=True)
    rules = covers({"$aml_dc_correlation_id": "hmac", "$aml_request_id": "drop"}, b"k")
    assert (await post(door(world, covers=rules), ce_x_request_id="Customer-77")).status == 202
    (entry,) = world.log.entries
    assert entry.schema is not None
    assert b"Customer-77" not in bytes(entry.payload)
    assert {
        (row["$aml_dc_correlation_id"], row["$aml_request_id"]) for row in rows(entry.schema, bytes(entry.payload))
    } == {("ea5f41c1df69c27dcfae22d5a524cf54b619b6a4262177e3e47ced03550333a3", "00000000-0000-0000-0000-000000000000")}


@in_loop
async def test_whoever_hangs_up_does_not_disturb_another_with_the_same_trace_id() -> None:
    world = World()
    one = door(world)
    first, second = (asyncio.create_task(post(one)) for _ in range(2))
    await until(lambda: world.log.queue)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    world.log.commit()
    assert (await second).status == 202
    assert world.gate.admission.used == 0
