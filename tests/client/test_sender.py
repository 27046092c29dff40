"""Everything collected arrives once, whatever the connection and the daemon do; credit is obeyed."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collectord_client import Client, CollectError, process
from collectord_client._pb import collector_pb2 as pb
from collectord_client.access import Access
from collectord_client.page import PAGE_BYTES
from collectord_client.telemetry.scribe import scribe
from collectord_client.wire import Schema, Stream, batch, dropped, hello

from tests.client.fakedaemon import HOUR, FakeDaemon


def numbers(daemon: FakeDaemon) -> list[int]:
    return [int(row.values[0]) for row in daemon.rows]


def sequences(daemon: FakeDaemon) -> dict[bytes, list[int]]:
    """The distinct sequence numbers of each client id, in the order of arrival."""
    found: dict[bytes, list[int]] = {}
    for row in daemon.rows:
        seen = found.setdefault(row.client, [])
        if not seen or seen[-1] != row.sequence:
            seen.append(row.sequence)
    return found


def send(client: Client, numbers: Any, size: int = 8) -> None:
    """One call per number, each a row of `size` float64."""
    bound = client.collector("inputs")
    row = np.zeros((1, size))
    for number in numbers:
        row[0, 0] = number
        bound.collect(row)


def test_batches_are_numbered_without_gaps_and_hold_several_rows(make: Any, daemon: FakeDaemon) -> None:
    client = make(page_bytes=4096)
    send(client, range(1000))
    assert client.flush(10)
    assert numbers(daemon) == list(range(1000))
    [seen] = sequences(daemon).values()
    assert seen == list(range(1, len(seen) + 1))
    assert 10 < len(seen) < 100
    stats = client.stats()
    assert (stats["acknowledged"], stats["waiting"], stats["outbox_bytes"]) == (1000, 0, 0)


def test_a_quiet_client_is_sent_after_the_linger_without_a_flush(make: Any, daemon: FakeDaemon) -> None:
    client = make(linger=0.1)
    send(client, [1])
    assert daemon.wait(lambda: len(daemon.rows) == 1, 5)
    send(client, [2])
    assert daemon.wait(lambda: len(daemon.rows) == 2, 5)


def test_clients_of_one_endpoint_share_one_connection(make: Any, daemon: FakeDaemon) -> None:
    one, two = make(model="a"), make(model="b")
    send(one, [1])
    send(two, [2])
    assert one.flush(10)
    assert two.flush(10)
    assert len(daemon.hellos) == 1
    one.close()
    send(two, [3])
    assert two.flush(10)
    assert numbers(daemon) == [1, 2, 3]
    assert one.stats()["acknowledged"] == 1


def test_credit_is_obeyed(make: Any, daemon: FakeDaemon) -> None:
    """Unacknowledged bytes stay within the credit."""
    daemon.credit, daemon.hold_acks = 10_000, True
    client = make(page_bytes=4096)
    send(client, range(1000))
    assert not client.flush(0.5)
    with daemon.lock:
        assert 0 < sum(daemon.sizes) <= 10_000 + 64 * len(daemon.sizes)
        assert len(daemon.sizes) == 2
    daemon.release()
    assert client.flush(10)
    assert numbers(daemon) == list(range(1000))


def test_one_message_may_always_be_under_way(make: Any, daemon: FakeDaemon) -> None:
    daemon.credit = 0
    client = make(page_bytes=4096)
    send(client, range(300))
    assert client.flush(10)
    assert numbers(daemon) == list(range(300))


def test_more_credit_is_used_at_once(make: Any, daemon: FakeDaemon) -> None:
    daemon.credit, daemon.hold_acks = 1, True
    client = make(page_bytes=4096)
    send(client, range(200))
    assert not client.flush(0.3)
    assert len(daemon.sizes) == 1
    daemon.say(pb.ServerMessage(credit=pb.Credit(bytes=1 << 20)))
    assert daemon.wait(lambda: len(daemon.rows) == 200, 5)
    daemon.release()
    assert client.flush(10)


def test_why_the_daemon_gives_no_credit_stands_in_the_stats_until_it_does(make: Any, daemon: FakeDaemon) -> None:
    daemon.credit, daemon.hold_acks = 1, True
    client = make(page_bytes=4096)
    send(client, range(10))
    assert daemon.wait(lambda: len(daemon.rows) == 10, 5)
    daemon.say(pb.ServerMessage(credit=pb.Credit(bytes=0, reason="the daemon is draining")))
    assert wait(lambda: client.stats()["last_error"] == "the daemon is draining")
    daemon.say(pb.ServerMessage(credit=pb.Credit(bytes=1 << 20)))
    assert wait(lambda: client.stats()["last_error"] == "")
    daemon.release()
    assert client.flush(10)


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_messages_stay_below_the_daemons_limit(make: Any, daemon: FakeDaemon, limit: int) -> None:
    daemon.max_message = limit
    client = make()
    table = np.arange(4000.0).reshape(1000, 4)
    context = client.collect(table)
    client.collect(
        [[i, "x" * (i % 7), None] for i in range(500)], "mixed", correlation_id=[f"k{i}" for i in range(500)]
    )
    client.collect(np.zeros(1000), "predictions", context=context, request_id="r")
    assert client.flush(10)
    got = {name: [r for r in daemon.rows if r.designation == name] for name in ("inputs", "mixed", "predictions")}
    assert [r.values for r in got["inputs"]] == [tuple(row) for row in table]
    assert [r.row for r in got["inputs"]] == list(range(1000)) == [r.row for r in got["predictions"]]
    assert (
        {r.correlation for r in got["inputs"]}
        == {str(context.correlation)}
        == {r.correlation for r in got["predictions"]}
    )
    assert [r.values for r in got["mixed"]] == [(i, "x" * (i % 7), None) for i in range(500)]
    assert [r.correlation for r in got["mixed"]] == [f"k{i}" for i in range(500)]
    assert [r.row for r in got["mixed"]] == list(range(500))
    assert {r.request for r in got["predictions"]} == {"r"}
    assert max(daemon.sizes) <= limit


def test_a_row_larger_than_the_daemons_limit_is_dropped_and_counted(make: Any, daemon: FakeDaemon) -> None:
    daemon.max_message = 10_000
    client = make()
    client.collect(["x" * 20_000])
    client.collect(["y"])
    assert client.flush(10)
    assert [row.values for row in daemon.rows] == [("y",)]
    assert client.stats()["dropped"] == {"row_too_large": 1}
    assert client.stats()["waiting"] == 0
    assert client.stats()["outbox_bytes"] == 0


def test_a_large_table_is_cut_and_arrives_whole(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    table = np.random.default_rng(3).random((50_000, 20))
    client.collect(table)
    assert client.flush(20)
    assert len(daemon.rows) == 50_000
    assert np.array_equal(np.array([row.values for row in daemon.rows]), table)
    assert [row.row for row in daemon.rows] == list(range(50_000))
    assert max(daemon.sizes) < 300_000


def test_a_batch_never_mixes_hours(make: Any, daemon: FakeDaemon) -> None:
    """The fake daemon checks each batch."""
    client = make()
    bound = client.collector("inputs")
    start = time.time_ns() // HOUR * HOUR
    for k in range(300):
        bound.collect(np.full((1, 2), float(k)), timestamp=start - (k % 3) * HOUR)
    context = bound.collect(np.full((1, 2), 300.0), timestamp=start - HOUR - 1)
    client.collect([0.5], "predictions", context=context)
    assert client.flush(10)
    assert sorted(numbers(daemon)) == [0, *range(301)]
    assert [row.time_ns for row in daemon.rows if row.designation == "predictions"] == [start - HOUR - 1]
    assert len(daemon.batches) <= 8


def test_resume_goes_back_and_nothing_is_lost_or_doubled(make: Any, daemon: FakeDaemon) -> None:
    daemon.resume_every = 5
    client = make(page_bytes=2048)
    send(client, range(2000))
    assert client.flush(20)
    assert numbers(daemon) == list(range(2000))
    assert daemon.resumes >= 5


def test_a_broken_stream_is_taken_up_where_it_ended(make: Any, daemon: FakeDaemon) -> None:
    """The daemon stored a batch and its ack was lost: it is not sent again, the mark says so."""
    daemon.break_every = 7
    client = make(page_bytes=2048)
    send(client, range(2000))
    assert client.flush(30)
    assert numbers(daemon) == list(range(2000))
    assert len({hello.client_id for hello in daemon.hellos}) == 1
    assert client.stats()["reconnects"] >= 3
    assert client.stats()["resent_elsewhere"] == 0


def test_a_daemon_that_comes_back_is_found(make: Any, daemon: FakeDaemon) -> None:
    """After a blink and after an outage: by the same client id, with what was collected meanwhile."""
    client = make()
    send(client, [1])
    assert client.flush(10)
    for outage in (0.0, 1.5):
        daemon.stop()
        send(client, [2])
        assert not client.flush(outage)
        daemon.start()
        assert client.flush(10)
    assert numbers(daemon) == [1, 2, 2]
    assert len(daemon.clients) == 1


def test_a_daemon_that_is_not_there_yet(make: Any, daemon: FakeDaemon) -> None:
    daemon.stop()
    client = make()
    send(client, range(10))
    assert not client.flush(0.3)
    stats = client.stats()
    assert not stats["connected"]
    assert "no socket" in stats["last_error"]
    daemon.start()
    assert client.flush(10)
    assert numbers(daemon) == list(range(10))


def test_another_log_gets_everything_unacknowledged_under_a_new_id(make: Any, daemon: FakeDaemon) -> None:
    """Across another spool id a resend is at-least-once, and counted."""
    client = make()
    send(client, range(10))
    assert client.flush(10)
    daemon.hold_acks = True
    send(client, range(10, 20))
    assert daemon.wait(lambda: len(daemon.rows) == 20)
    daemon.stop()
    daemon.forget(b"spool-two")
    daemon.hold_acks = False
    daemon.start()
    assert client.flush(10)
    send(client, range(20, 25))
    assert client.flush(10)
    assert Counter(numbers(daemon)) == Counter([*range(25), *range(10, 20)])
    first, second = dict.fromkeys(row.client for row in daemon.rows)
    assert next(row.sequence for row in daemon.rows if row.client == second) == 1
    assert client.stats()["resent_elsewhere"] == 10
    assert first != second


def test_a_log_that_forgot_its_mark_is_another_log(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    for k in range(3):
        send(client, [k])
        assert client.flush(10)
    daemon.forget(daemon.spool_id)
    daemon.break_streams()
    send(client, [3])
    assert client.flush(10)
    assert numbers(daemon) == [0, 1, 2, 3]
    assert len({row.client for row in daemon.rows}) == 2


def test_a_rejected_batch_is_counted_and_does_not_stop_the_stream(make: Any, daemon: FakeDaemon) -> None:
    daemon.reject = {"labels": "time_out_of_window"}
    client = make()
    for k in range(5):
        client.collect([float(k)], "inputs")
        client.collect([[1.0], [2.0]], "labels")
        assert client.flush(10)
    assert numbers(daemon) == list(range(5))
    stats = client.stats()
    assert stats["rejected"] == {"time_out_of_window": 10}
    assert (stats["acknowledged"], stats["waiting"]) == (5, 0)


def test_a_client_that_is_switched_off_stops_copying(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    bound = client.collector("inputs")
    bound.collect(np.ones((1, 2)))
    assert client.flush(10)
    daemon.settings(collect=False)
    assert wait(lambda: not client.stats()["collecting"])
    for _ in range(10):
        context = bound.collect(np.ones((1, 2)))
        client.collect(b"not even looked at", "predictions", context=context)
    assert client.stats()["collected"] == 1
    assert client.stats()["dropped"] == {}
    late = Client("m", "2", endpoint=daemon.endpoint)
    late.collect([1.0])
    assert wait(lambda: not late.stats()["collecting"])
    late.close(1)
    daemon.settings(collect=True)
    assert wait(lambda: client.stats()["collecting"])
    bound.collect(np.ones((1, 2)))
    assert client.flush(10)
    assert client.stats()["collected"] == 2


def test_what_clients_dropped_is_told_as_running_totals(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    for _ in range(3):
        client.collect(b"")
    client.collect(np.zeros((4, 2, 2)), "predictions")
    expected = {("inputs", "unsupported_media"): 3, ("predictions", "unsupported_media"): 4}
    assert daemon.wait(lambda: any(c.dropped == expected for c in daemon.clients.values()), 5)
    daemon.break_streams()
    client.collect(b"")
    expected["inputs", "unsupported_media"] = 4
    assert daemon.wait(lambda: any(c.dropped == expected for c in daemon.clients.values()), 5)


def test_what_was_dropped_during_an_outage_is_told_to_the_log_that_follows(make: Any, daemon: FakeDaemon) -> None:
    """What the earlier log was told stands in its books, and is not told again."""
    client = make()
    client.collect(b"")
    send(client, [1])
    assert client.flush(10)
    assert daemon.wait(lambda: any(c.dropped for c in daemon.clients.values()), 5)
    daemon.stop()
    for _ in range(2):
        client.collect(b"", "predictions")
    daemon.forget(b"spool-two")
    daemon.start()
    expected = {("predictions", "unsupported_media"): 2}
    assert daemon.wait(lambda: any(c.dropped == expected for c in daemon.clients.values()), 5)


def test_a_daemon_that_does_not_answer_is_left_and_the_stats_say_so(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectord_client.link.WELCOME_WITHIN", 0.2)
    answer = daemon._welcome
    monkeypatch.setattr(daemon, "_welcome", lambda client: pb.ServerMessage().SerializeToString())
    client = make()
    send(client, [1])
    assert wait(lambda: client.stats()["last_error"] == "the daemon did not answer")
    monkeypatch.setattr(daemon, "_welcome", answer)
    assert client.flush(10)
    assert client.stats()["last_error"] == ""


def test_an_interpreter_without_daemon_threads_collects_and_sends_at_its_end(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sub-interpreter with a GIL of its own refuses them when they are made, not when they are started."""

    class Thread(threading.Thread):
        def __init__(self, *given: Any, **named: Any) -> None:
            if str(named.get("name")).startswith("collectord-client"):
                raise RuntimeError("daemon threads are disabled in this (sub)interpreter")
            super().__init__(*given, **named)

    client = make(strict=True, telemetry=True)
    scribe.after_fork()
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", Thread)
        send(client, range(3))
        client.trace("told")
        assert client.stats()["last_error"] == "daemon threads are disabled in this (sub)interpreter"
        process.drain()
    scribe.after_fork()
    assert sorted(row.designation for row in daemon.rows) == ["inputs"] * 3 + ["traces"]


def test_at_the_end_the_rows_of_many_clients_travel_together(make: Any, daemon: FakeDaemon) -> None:
    """One after the other, each would wait for the daemon's disk, and the last ones find no time left."""
    clients = [make(linger=3600) for _ in range(5)]
    daemon.hold_acks = True
    for number, client in enumerate(clients):
        send(client, [number])
    thread = threading.Thread(target=process.settle)
    thread.start()
    assert daemon.wait(lambda: len(daemon.rows) == len(clients))
    daemon.release()
    thread.join()
    assert [client.stats()["waiting"] for client in clients] == [0] * len(clients)


def test_a_token_is_sent_and_a_refusal_is_not_the_end(make: Any, daemon: FakeDaemon) -> None:
    daemon.token = "secret"
    wrong, right = make(token="no"), make(token="secret")
    send(wrong, [1])
    send(right, [2])
    assert right.flush(10)
    assert not wrong.flush(0.5)
    assert numbers(daemon) == [2]


def test_over_tcp(make: Any) -> None:
    tcp = FakeDaemon("127.0.0.1:0")
    client = make(endpoint=tcp.endpoint)
    send(client, range(100))
    assert client.flush(10)
    assert numbers(tcp) == list(range(100))
    client.close()
    tcp.stop()
    assert not tcp.protocol_errors


def test_a_full_outbox_drops_the_newest_and_counts(make: Any, daemon: FakeDaemon) -> None:
    daemon.stop()
    client = make(outbox_bytes=64 << 10, page_bytes=4096)
    send(client, range(2000))
    stats = client.stats()
    assert stats["outbox_bytes"] <= 64 << 10
    assert stats["collected"] + stats["dropped"]["outbox_full"] == 2000
    kept = stats["collected"]
    a_page = 4096 // (64 + 28)
    pages, left = divmod(64 << 10, a_page * (64 + 28) + PAGE_BYTES)
    assert kept == pages * a_page + (left - PAGE_BYTES) // (64 + 28)
    daemon.start()
    assert client.flush(10)
    assert numbers(daemon) == list(range(kept))
    send(client, [2000])
    assert client.flush(10)
    totals = {("inputs", "outbox_full"): 2000 - kept}
    assert daemon.wait(lambda: any(c.dropped == totals for c in daemon.clients.values()), 5)


def test_a_call_is_dropped_as_a_whole(make: Any, daemon: FakeDaemon) -> None:
    client = make(outbox_bytes=64 << 10)
    client.collect(np.zeros((100_000, 10)))
    client.collect([["x" * 1000]] * 100)
    client.collect(np.zeros((10, 10)))
    assert client.flush(10)
    assert len(daemon.rows) == 10
    assert client.stats()["dropped"] == {"outbox_full": 100_100}


def test_a_blocking_outbox_waits_and_loses_nothing(make: Any, daemon: FakeDaemon) -> None:
    daemon.hold_acks = True
    client = make(outbox="block", outbox_bytes=64 << 10, page_bytes=4096, linger=60)
    thread = threading.Thread(target=send, args=(client, range(3000)))
    thread.start()
    assert wait(lambda: client.stats()["outbox_bytes"] > 60_000)
    thread.join(0.3)
    assert thread.is_alive()
    assert client.stats()["collected"] < 800
    daemon.release()
    thread.join(20)
    assert not thread.is_alive()
    client.collect(np.full((40_000, 8), -1.0))
    assert client.flush(10)
    assert numbers(daemon) == [*range(3000), *[-1] * 40_000]
    assert client.stats()["dropped"] == {}


def test_closing_sends_who_waits_for_room_away(make: Any, daemon: FakeDaemon) -> None:
    daemon.stop()
    client = make(outbox="block", outbox_bytes=64 << 10)
    thread = threading.Thread(target=send, args=(client, range(3000)))
    thread.start()
    assert wait(lambda: client.stats()["outbox_bytes"] > 60_000)
    assert not client.close(0.1)
    thread.join(5)
    assert not thread.is_alive()
    assert client.stats()["dropped"]["closed"] > 0


def test_after_close_rows_are_counted_as_dropped(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    send(client, [1])
    assert client.close()
    send(client, [2])
    client.collect(["x"])
    assert numbers(daemon) == [1]
    assert client.stats()["dropped"] == {"closed": 2}
    with pytest.raises(CollectError):
        strict = make(strict=True)
        strict.close()
        strict.collect([1])


def test_many_threads(make: Any, daemon: FakeDaemon) -> None:
    client = make(page_bytes=8192)
    bound = client.collector("inputs")

    def run(base: int) -> None:
        for k in range(500):
            context = bound.collect(np.array([[float(base + k), 0.0]]))
            client.collect([float(base + k)], "predictions", context=context)

    threads = [threading.Thread(target=run, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(20)
    pairs: dict[str, list[float]] = {}
    for row in daemon.rows:
        pairs.setdefault(row.correlation, []).append(row.values[0])
    assert len(pairs) == 4000
    assert all(len(pair) == 2 and pair[0] == pair[1] for pair in pairs.values())


def test_a_client_that_is_forgotten_still_delivers(make: Any, daemon: FakeDaemon) -> None:
    keeper = make()
    send(keeper, [0])
    for k in range(20):
        send(Client("m", str(k), endpoint=daemon.endpoint, linger=0.01), [k])
    assert daemon.wait(lambda: len(daemon.rows) == 21)
    sender = process.sender_for(daemon.endpoint, Access())
    send(keeper, [0])
    assert keeper.flush(5)
    assert wait(lambda: len(sender._session.outboxes) <= 2)


def test_the_messages_are_what_protobuf_would_write() -> None:
    stream = Stream("s", "r", "w", "web", "model", "", "inputs", "ü")
    schema = Schema(stream, ("a", "b"), (12, 13), False, 2, 0)
    parsed = pb.Schema.FromString(schema.raw)
    assert parsed.SerializeToString(deterministic=True) == schema.raw
    assert (parsed.stream.collection, parsed.stream.designation, parsed.layout) == ("ü", "inputs", 2)
    assert [(c.name, c.type) for c in parsed.columns] == [("a", 12), ("b", 13)]
    said = pb.ClientMessage.FromString(hello(b"i" * 16, 70_000, "0.1.0", "t")).hello
    assert (said.client_id, said.pid, said.sdk, said.version, said.token) == (
        b"i" * 16, 70_000, "collectord-client", "0.1.0", "t",
    )  # fmt: skip
    totals = pb.ClientMessage.FromString(dropped({(stream, "why"): 300})).dropped
    assert [(c.stream.model, c.reason, c.rows) for c in totals.counts] == [("model", "why", 300)]
    body = pb.Batch(schema_id=schema.id, rows=3, requests=pb.Requests(times=b"t" * 300), tensor=b"x" * 200)
    got = pb.ClientMessage.FromString(batch(1 << 40, body.SerializeToString())[0]).batch
    assert (got.sequence, got.rows, got.tensor, len(got.requests.times)) == (1 << 40, 3, b"x" * 200, 300)


def test_importing_is_light_and_a_missing_daemon_is_quiet(tmp_path: Path) -> None:
    """No gRPC, numpy, pandas, pyarrow or daemon code before there is a need; no output, and a quick end."""
    script = tmp_path / "quiet.py"
    script.write_text(
        "import sys, time\n"
        "import collectord_client\n"
        "client = collectord_client.Client('m')\n"
        "for _ in range(100): client.collect([1.0, 2.0])\n"
        "assert not client.flush(0.3)\n"
        "heavy = {'grpc', 'google.protobuf', 'numpy', 'pandas', 'pyarrow', 'collectord'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert client.stats()['waiting'] == 100, client.stats()\n"
    )
    client = str(Path(__file__).resolve().parents[2] / "clients" / "python")
    environment = {**os.environ, "PYTHONPATH": client, "PYTHONWARNINGS": "error"}
    environment.pop("COLLECTORD_ENDPOINT", None)
    began = time.monotonic()
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert time.monotonic() - began < 2.5


def wait(condition: Any, timeout: float = 10.0) -> bool:
    """Until `condition()` holds, asked again and again."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True


def test_the_fake_daemon_would_notice_a_broken_contract(tmp_path: Path) -> None:
    """A check that checks nothing is worth nothing."""
    import grpc

    fake = FakeDaemon(f"unix:{tmp_path}/d.sock")
    schema = Schema(Stream(model="m"), ("a",), (12,), True, 1, 0)
    mixed = pb.Batch(
        schema_id=schema.id, rows=2, tensor=bytes(16),
        requests=pb.Requests(times=struct.pack("<2q", 1, HOUR + 1), correlation_ids=bytes(32)),
    )  # fmt: skip
    from collectord_client.wire import declare

    messages = [hello(b"c" * 16, 1, "0", ""), declare(schema), batch(1, mixed.SerializeToString())[0]]
    with grpc.insecure_channel(fake.endpoint) as channel:
        list(channel.stream_stream("/collectord.v1.Collector/Collect", None, None)(iter(messages)))
    fake.stop()
    assert fake.protocol_errors
