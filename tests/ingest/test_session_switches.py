"""A client learns what is switched on for the services that it follows, at once and of no others."""

from __future__ import annotations

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.errors import ProtocolError
from collectord.ingest.following import MAX_FOLLOWED, NO_STREAM
from collectord.kinds import EVENTS
from collectord.model import Stream, StreamKind
from collectord.patterns import StreamPatterns
from collectord.schema import parse_schema
from collectord.switches import NOTHING, Rules
from tests.ingest.fakes import CLIENT, SCHEMA, World, declare, hello, in_loop, said, send, words
from tests.reference_batch import schema_message

SWITCHES = NOTHING.patched("a", {"collect_model_data": False, "sampling": {"inputs": 0.25}}).patched(
    "b", {"collect_model_data": True}
)


def follow(*webservices: str) -> bytes:
    return pb.ClientMessage(follow=pb.Follow(webservices=webservices)).SerializeToString()


@in_loop
async def test_welcome_has_the_settings_of_the_services_that_hello_names() -> None:
    world = World()
    world.gate.switch(Rules(collect=False, switches=SWITCHES))
    session = world.session()
    await session.receive(hello(webservices=["a", "c"]))
    (message,) = said(session)
    settings = pb.Settings(collect=False)
    settings.services.add(webservice="a", collect=False, sampling={"inputs": 0.25})
    assert message.welcome.settings == settings
    assert said(session) == []


@in_loop
async def test_who_follows_later_is_told_then() -> None:
    world = World()
    world.gate.switch(Rules(switches=SWITCHES))
    session = await world.greeted()
    await session.receive(follow("b"))
    (message,) = said(session)
    assert [(one.webservice, one.collect) for one in message.settings.services] == [("b", True)]
    await session.receive(follow("c"))
    (message,) = said(session)
    assert message.settings == pb.Settings(collect=True), "also where nothing is said of it, so that it knows"
    assert said(session) == []


@in_loop
async def test_a_switch_is_told_to_whom_it_concerns() -> None:
    world = World()
    first, second = await world.greeted(b"1" * 16), await world.greeted(b"2" * 16)
    await first.receive(follow("a"))
    await second.receive(follow("b"))
    assert (len(said(first)), len(said(second))) == (1, 1)
    world.gate.switch(Rules(switches=NOTHING.patched("a", {"collect_model_data": False})))
    assert first.wake.is_set()
    (message,) = said(first)
    assert message.settings.services[0].collect is False
    assert said(second) == []
    world.gate.switch(Rules())
    (message,) = said(first)
    assert message.settings == pb.Settings(collect=True)
    world.gate.switch(Rules(collect=False))
    assert [one.settings.collect for one in (*said(first), *said(second))] == [False, False]


@in_loop
async def test_whether_events_are_sent_is_told_at_once_and_on_change() -> None:
    world = World()
    world.gate.switch(Rules(telemetry=True, switches=NOTHING.patched("a", {"enable_app_insights": False})))
    session = world.session()
    await session.receive(hello(webservices=["a", "b"]))
    settings = said(session)[0].welcome.settings
    assert settings.telemetry is True
    assert [(one.webservice, one.HasField("collect"), one.telemetry) for one in settings.services] == [
        ("a", False, False)
    ]
    world.gate.switch(Rules(switches=NOTHING.patched("b", {"enable_app_insights": True})))
    (message,) = said(session)
    assert message.settings.telemetry is False
    assert [(one.webservice, one.telemetry) for one in message.settings.services] == [("b", True)]
    world.gate.switch(Rules(switches=NOTHING.patched("b", {"collect_model_data": True})))
    assert not said(session)[0].settings.services[0].HasField("telemetry")


@in_loop
async def test_events_that_are_switched_off_are_kept_and_those_not_allowed_are_rejected() -> None:
    """What a client sends before it hears of a switch is not lost; `collect_only` is what nobody gets around."""
    columns = EVENTS[StreamKind.TRACE].columns
    message = schema_message(
        *[column.type for column in columns],
        names=[column.name for column in columns],
        webservice="s",
        designation="traces",
    )
    message.stream.kind = pb.STREAM_KIND_TRACE
    traces = parse_schema(message.SerializeToString())
    for only, end in ((), "ack 1"), (("s/*/traces",), "ack 1"), (("s/*/inputs",), "reject 1 not_allowed 1"):
        world = World()
        world.gate.switch(
            Rules(only=StreamPatterns(only), switches=NOTHING.patched("s", {"enable_app_insights": False}))
        )
        session = await world.greeted(CLIENT, traces)
        await session.receive(send(1, schema=traces))
        await world.commit()
        assert end in words(session)


@in_loop
async def test_recipes_are_told() -> None:
    world = World()
    capture = {"id": "x", "requests": 5, "where": "a > 1", "failed": True, "until": "2026-12-01T12:00:00Z"}
    world.gate.switch(Rules(switches=NOTHING.patched("a", {"capture": capture}).patched("b", {"capture": capture})))
    session = world.session()
    await session.receive(hello(webservices=["a"]))
    (service,) = said(session)[0].welcome.settings.services
    assert service.recipe == pb.Recipe(id="x", requests=5, where="a > 1", failed=True, until=1_796_126_400_000_000_000)
    assert not service.HasField("collect")
    world.gate.switch(Rules(switches=NOTHING.patched("a", {"collect_model_data": True})))
    assert not said(session)[0].settings.services[0].HasField("recipe")


@in_loop
async def test_patterns_of_other_services_are_not_told() -> None:
    world = World()
    rules = Rules(False, StreamPatterns(["a/*/inputs", "b/*/*"]), StreamPatterns(["a/*/*", "?/m/*"]))
    world.gate.switch(rules)
    session = world.session()
    await session.receive(hello(webservices=["a"]))
    settings = said(session)[0].welcome.settings
    assert (list(settings.on), list(settings.only)) == (["a/*/inputs"], ["a/*/*", "?/m/*"])
    await session.receive(follow("other"))
    settings = said(session)[0].settings
    assert (list(settings.on), list(settings.only)) == ([], [NO_STREAM])
    assert Stream() not in StreamPatterns(["x/y/z"])


@in_loop
async def test_streams_that_are_not_allowed_are_rejected_whoever_sends_them() -> None:
    world = World()
    world.gate.switch(Rules(only=StreamPatterns(["elsewhere/*/*"])))
    session = world.session()
    for raw in (hello(), declare(SCHEMA), send(1)):
        await session.receive(raw)
    await world.commit()
    assert words(session)[1:] == ["reject 1 not_allowed 1"]
    assert world.counted("collectord_records_rejected_total", reason="not_allowed") == 1
    world.at_rest()


@in_loop
async def test_following_too_many_ends_the_stream() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(follow(*map(str, range(MAX_FOLLOWED))))
    with pytest.raises(ProtocolError, match=f"{MAX_FOLLOWED + 1} services are followed; {MAX_FOLLOWED} are allowed"):
        await session.receive(follow(*map(str, range(MAX_FOLLOWED + 1))))
    with pytest.raises(ProtocolError, match="follow has"):
        await session.receive(follow("x" * (600 << 10)))
