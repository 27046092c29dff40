"""A client learns what is switched on for the services that it follows, at once and of no others."""

from __future__ import annotations

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.errors import ProtocolError
from collectord.ingest.session import MAX_FOLLOWED, NO_STREAM
from collectord.model import Stream
from collectord.patterns import StreamPatterns
from collectord.switches import NOTHING, Rules
from tests.ingest.fakes import SCHEMA, World, declare, hello, in_loop, said, send, words

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
