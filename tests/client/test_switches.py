"""Switches that the daemon throws: at once, for running clients, per service, stream and designation."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collectord_client import Client, sampling
from collectord_client._pb import collector_pb2 as pb
from collectord_client.session import MAX_FOLLOWED
from collectord_client.switches import Said, Switches
from collectord_client.wire import Stream

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon
from tests.e2e.waiting import eventually

ROW = np.ones((1, 2))


def off(webservice: str = "", collect: bool = False, **sampling: float) -> list[Any]:
    return [pb.ServiceSettings(webservice=webservice, collect=collect, sampling=sampling)]


def designations(daemon: FakeDaemon) -> list[str]:
    return [row.designation for row in daemon.rows]


@pytest.mark.parametrize(
    ("said", "host", "collects"),
    [
        (Switches(), None, True),
        (Switches(False), None, False),
        (Switches(False), True, True),
        (Switches(False, on=("s/*/in*",)), None, True),
        (Switches(False, on=("s/*/labels", "x/*/*")), None, False),
        (Switches(True, services={"s": Said(False)}), True, False),
        (Switches(False, services={"s": Said(True)}), None, True),
        (Switches(True, services={"s": Said(True)}), False, False),
        (Switches(True, only=("//",), services={"s": Said(True)}), True, False),
        (Switches(True, only=("s/a%2Fb/inputs",)), None, True),
        (Switches(True, services={"s": Said(True, {"inputs": 0.0})}), True, False),
        (Switches(True, only=("nonsense",)), None, False),
    ],
)
def test_who_decides(said: Switches, host: bool | None, collects: bool) -> None:
    stream = Stream(webservice="s", model="a/b", designation="inputs")
    assert said.collects(stream, host) is collects
    if collects:
        assert said.collects_some(Stream(webservice="s", model="a/b"), host)


@pytest.mark.parametrize(
    ("said", "host", "sends"),
    [
        (Switches(), None, False),
        (Switches(telemetry=True), None, True),
        (Switches(telemetry=True), False, False),
        (Switches(), True, True),
        (Switches(services={"s": Said(telemetry=True)}), False, True),
        (Switches(telemetry=True, services={"s": Said(telemetry=False)}), True, False),
        (Switches(services={"s": Said(True), "t": Said(telemetry=True)}), None, False),
        (Switches(False, services={"s": Said(False, telemetry=True)}), None, True),
    ],
)
def test_who_decides_about_events(said: Switches, host: bool | None, sends: bool) -> None:
    """A person who switches the service, then the host, then the daemon's default; collecting has no say."""
    assert said.sends_events("s", host) is sends
    traces = Stream(webservice="s", model="m", designation="traces")
    assert said.sends(traces, host) is sends
    for only, allowed in ("*/*/inputs", False), ("s/*/tr*", sends):
        assert replace(said, only=(only,)).sends(traces, host) is allowed


def test_the_switch_for_events_reaches_a_running_client(make: Any, daemon: FakeDaemon) -> None:
    daemon.settings(telemetry=True)
    client = make(webservice="a")
    client.collect(ROW)
    assert client.flush(10)
    switches = client._outbox.board.switches
    assert switches.sends_events("a", None)
    assert not switches.sends_events("a", False)
    daemon.settings(services=[pb.ServiceSettings(webservice="a", telemetry=False)])
    eventually(lambda: not client._outbox.board.switches.sends_events("a", True), "the client hears of it")
    assert client.stats()["collecting"]


def test_hello_names_the_services_and_later_ones_follow(make: Any, daemon: FakeDaemon) -> None:
    first, same = make(webservice="a"), make(webservice="a", version="2")
    first.collect(ROW)
    assert first.flush(10)
    assert [list(one.webservices) for one in daemon.hellos] == [["a"]]
    same.collect(ROW)
    assert same.flush(10)
    later = make(webservice="b")
    eventually(lambda: daemon.follows == [["a", "b"]], "the service is followed before anything is collected")
    assert later.stats()["collected"] == 0


def test_a_service_is_switched_off_and_on_without_the_others(make: Any, daemon: FakeDaemon) -> None:
    a, b = make(webservice="a"), make(webservice="b")
    for client in (a, b):
        client.collect(ROW)
        assert client.flush(10)
    daemon.settings(services=off("a"))
    eventually(lambda: not a.stats()["collecting"], "the client hears of it")
    assert b.stats()["collecting"]
    for client in (a, b):
        client.collect(ROW)
        assert client.flush(10)
    assert (a.stats()["collected"], b.stats()["collected"]) == (1, 2)
    assert a.stats()["dropped"] == {}, "what is not wanted is not lost"
    daemon.settings()
    eventually(lambda: a.stats()["collecting"], "the client hears of it")
    a.collect(ROW)
    assert a.flush(10)
    assert len(daemon.rows) == 4


def test_what_was_collected_before_a_switch_still_lands(make: Any, daemon: FakeDaemon) -> None:
    daemon.hold_acks = True
    client = make(linger=3600.0)
    bound = client.collector("inputs")
    bound.collect(ROW)
    client.flush(0.5)
    bound.collect(ROW)
    daemon.settings(services=off())
    eventually(lambda: not client.stats()["collecting"], "the client hears of it")
    daemon.release()
    assert client.flush(10)
    assert (len(daemon.rows), client.stats()["dropped"]) == (2, {})


@pytest.mark.parametrize("settings", [{"collect": False}, {"services": off()}, {"only": ["x/*/*"]}])
def test_what_came_before_the_daemon_could_say_no_is_not_sent(
    make: Any, daemon: FakeDaemon, settings: dict[str, Any]
) -> None:
    """A process begins to collect before it is connected."""
    daemon.settings(**settings)
    daemon.stop()
    client = make()
    for _ in range(3):
        client.collect(ROW)
    daemon.start()
    assert client.flush(10)
    assert (daemon.rows, client.stats()["collecting"]) == ([], False)
    assert client.stats()["dropped"] == {"switched_off": 3}
    client.collect(ROW)
    assert client.stats()["collected"] == 3
    eventually(lambda: sum(sum(one.dropped.values()) for one in daemon.clients.values()) == 3, "the daemon knows")


def test_what_is_wanted_lingers_as_ever(make: Any, daemon: FakeDaemon) -> None:
    client = make(linger=3600.0)
    client.collect(ROW)
    eventually(lambda: client._outbox.board.told, "the daemon has said what is switched on")
    assert (client.stats()["waiting"], daemon.rows) == (1, [])
    assert client.flush(10)


def test_designations_are_switched_each_for_itself(make: Any, daemon: FakeDaemon) -> None:
    daemon.settings(only=["default/m/inputs", "default/m/labels"])
    client = make()
    bound = {name: client.collector(name, ["a", "b"]) for name in ("inputs", "predictions", "labels")}

    def collect() -> Sequence[str]:
        daemon.rows.clear()
        for _ in range(2):  # the second goes the short way
            context = bound["inputs"].collect(ROW)
            for name in ("predictions", "labels"):
                bound[name].collect(ROW, context=context)
        assert client.flush(10)
        return sorted(set(designations(daemon)))

    assert collect() == ["inputs", "labels"]
    assert client.stats()["dropped"] == {"switched_off": 2}
    assert client.stats()["collecting"] is True
    assert collect() == ["inputs", "labels"]
    assert client.stats()["dropped"] == {"switched_off": 2}
    daemon.settings(collect=False, on=["*/*/predictions"])
    eventually(lambda: not bound["inputs"].collecting, "the client hears of it")
    assert collect() == ["predictions"]


def test_sampling_is_switched_per_designation_and_back(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    inputs, labels = client.collector("inputs"), client.collector("labels")
    for _ in range(3):
        inputs.collect(ROW)
    assert client.flush(10)
    daemon.settings(services=off(collect=True, inputs=0.25))
    eventually(lambda: inputs._sampler is not None, "the client hears of it")
    contexts = [inputs.collect(ROW) for _ in range(400)]
    for context in contexts:
        labels.collect(ROW, context=context)
    assert client.flush(10)
    taken = [context for context in contexts if sampling.place(context._id) < sampling.WHOLE // 4]
    assert 0 < len(taken) < 400
    assert client.stats()["sampled_out"] == 400 - len(taken)
    landed = [row for row in daemon.rows if row.sampling == 0.25]
    assert len(landed) == len(taken)
    assert designations(daemon).count("labels") == 400
    daemon.settings()
    eventually(lambda: inputs._sampler is None, "the client hears of it")
    for _ in range(3):
        inputs.collect(ROW)
    assert client.flush(10)
    assert [row.sampling for row in daemon.rows[-3:]] == [None] * 3


def test_a_fraction_that_ends_during_a_call_does_not_make_the_next_ones_sampled(make: Any, daemon: FakeDaemon) -> None:
    """Their page would have fewer fractions than requests."""
    daemon.settings(services=off(collect=True, inputs=0.999999))
    client = make()
    inputs = client.collector("inputs", ["a", "b"])
    outbox = client._outbox
    inputs.collect(ROW)
    assert client.flush(10)
    put = outbox.put_block

    def switched_meanwhile(*args: Any) -> Any:
        outbox.board.obey(Switches())
        return put(*args)

    outbox.put_block = switched_meanwhile
    inputs.collect(ROW)
    outbox.put_block = put
    for _ in range(5):
        inputs.collect(ROW)
    assert client.flush(10)
    assert [row.sampling for row in daemon.rows] == [None] + [0.999999] + [None] * 5


def test_a_collector_that_is_made_during_a_switch_hears_of_it(make: Any) -> None:
    client = make()
    outbox = client._outbox
    switch = threading.Thread(target=outbox.board.obey, args=(Switches(False),))

    class During(Switches):
        def collects(self, stream: Stream, host: bool | None) -> bool:
            found = super().collects(stream, host)
            if switch.ident is None:
                switch.start()
                switch.join(0.1)
            return found

    outbox.board.obey(During())
    bound = client.collector("inputs")
    switch.join(10)
    assert not bound.collecting
    assert not bound._on


def test_a_call_that_is_under_way_while_all_is_sampled_out_is_sampled_as_before(make: Any) -> None:
    client = make()
    bound = client.collector("inputs")
    for fraction in (0.5, 0.0):
        client._outbox.board.obey(Switches(services={"": Said(True, {"inputs": fraction})}))
    assert not bound.collecting
    assert bound._sampler.fraction == 0.5


def test_a_second_service_that_runs_for_long_loses_nothing_when_it_is_switched_off(
    make: Any, daemon: FakeDaemon
) -> None:
    first, second = make(webservice="a"), make(webservice="b", linger=3600.0)
    first.collect(ROW)
    assert first.flush(10)
    second.collect(ROW)
    eventually(lambda: second._outbox.board.told, "the daemon has answered for it")
    daemon.settings(services=off("b"))
    eventually(lambda: not second.stats()["collecting"], "the client hears of it")
    assert second.flush(10)
    assert (second.stats()["dropped"], len(daemon.rows)) == ({}, 2)


def test_the_smaller_fraction_counts(make: Any, daemon: FakeDaemon) -> None:
    daemon.settings(services=off(collect=True, inputs=0.5))
    client = make(sampling=0.125)
    client.collect(ROW)
    client.flush(10)
    assert client.collector("inputs")._sampler.fraction == 0.125
    daemon.settings(services=off(collect=True, inputs=2.0**-10))
    eventually(lambda: client.collector("inputs")._sampler.fraction == 2.0**-10, "the client hears of it")
    daemon.settings(services=off(collect=True, inputs=0.0))
    eventually(lambda: not client.collector("inputs").collecting, "the client hears of it")
    before = client.stats()
    client.collect(ROW)
    assert client.stats() == before


def test_a_host_that_wants_it_collects_where_the_default_is_off(make: Any, daemon: FakeDaemon) -> None:
    daemon.settings(collect=False)
    wants, never = make(enabled=True), make(enabled=False, version="2")
    for client in (wants, never):
        client.collect(ROW)
    assert wants.flush(10)
    daemon.settings(services=off(collect=True))
    eventually(lambda: wants.stats()["collecting"], "the client hears of it")
    assert not never.stats()["collecting"]
    daemon.settings(services=off())
    eventually(lambda: not wants.stats()["collecting"], "the client hears of it")
    assert len(daemon.rows) == 1


def test_a_forked_child_asks_for_itself(daemon: FakeDaemon, tmp_path: Path) -> None:
    """Its parent may have been switched off, and it would never connect to hear that it may collect again."""
    switching = threading.Thread(target=lambda: daemon.wait(lambda: daemon.rows) and daemon.settings(services=off()))
    switching.start()
    done = hosts.run(Path(sys.executable), "forked.py", daemon.endpoint, "switches", source=True, cwd=tmp_path)
    switching.join()
    assert done.returncode == 0, done.stderr
    assert len(daemon.rows) == 1


def test_more_services_than_a_daemon_takes_are_not_told(make: Any, daemon: FakeDaemon) -> None:
    client = make(webservice="first")
    client.collect(ROW)
    assert client.flush(10)
    more = [Client("m", webservice=f"s{n}", endpoint=daemon.endpoint) for n in range(MAX_FOLLOWED + 5)]
    eventually(lambda: daemon.follows and len(daemon.follows[-1]) == MAX_FOLLOWED, "as many as are taken")
    for one in more:
        one.close(0)
