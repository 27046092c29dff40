"""A tenant does his worst, and another sees nothing of it: what he has is his, is not delayed, and finds room."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from collectord.books import StreamBooks
from collectord.settings import Settings
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

RED, BLUE = "red-0123456789abcdef", "blue-0123456789abcdef"
TENANTS = f"""
[tenants.red]
token = "{RED}"
streams = ["red*/*/*"]
[tenants.blue]
token = "{BLUE}"
streams = ["blue/*/*"]
"""
SHARE = Settings.model_fields["tenant_share"].default
COLUMNS = [f"c{at}" for at in range(100)]


def daemon_of_two(make_daemon: MakeDaemon, **settings: object) -> Daemon:
    daemon = make_daemon(spool_budget="256MiB", segment_bytes="16MiB", flush_interval=3600, **settings)
    tenants = daemon.folder / "tenants.toml"
    tenants.write_text(TENANTS)
    daemon.settings["tenants"] = tenants
    return daemon


@contextmanager
def client(daemon: Daemon, token: str, *webservices: str) -> Iterator[wire.WireClient]:
    made = wire.WireClient(daemon.endpoint)
    made.token = token
    made.webservices = list(webservices)
    with made:
        yield made


def of(daemon: Daemon, webservice: str) -> list[StreamBooks]:
    return [book for key, book in daemon.books().items() if f"/{webservice}/" in key]


def test_a_flood_of_streams_neither_takes_all_places_nor_delays_the_others_rows(make_daemon: MakeDaemon) -> None:
    """He opens partitions until no more are his; the other opens one, behind all of his, and it lands while his wait."""
    most = 150
    daemon = daemon_of_two(make_daemon, max_streams=most, uploads=1).start()
    with client(daemon, RED, "red") as red, client(daemon, BLUE, "blue") as blue:
        mine = wire.schema("m", webservice="blue")
        blue.declare(mine)
        for number in range(most):
            his = wire.schema("m", f"d{number}", webservice=f"red{number % 7}")
            red.declare(his)
            red.send(his, [number], time.time_ns())
        red.wait_acknowledged()
        assert set(red.rejected.values()) == {"too_many_streams"}
        assert most - len(red.rejected) == int(most * SHARE)
        assert daemon.metrics()["collectord_open_partitions"] == int(most * SHARE)
        blue.send(mine, range(10), time.time_ns())
        blue.wait_acknowledged()
        assert not blue.rejected
        with daemon.control() as control:
            eventually(lambda: daemon.metrics()["collectord_open_partitions"] == int(most * SHARE) + 1, "all is read")
            assert not control.flush(0.01).complete
            eventually(lambda: of(daemon, "blue")[0].landed == 10, "the other's rows have landed", step=0.002)
            waiting = sum(book.in_log for number in range(7) for book in of(daemon, f"red{number}"))
            assert waiting > most // 4, "his wait, for there is one worker"
        daemon.flush()
    assert sum(book.landed for number in range(7) for book in of(daemon, f"red{number}")) == int(most * SHARE)


def test_names_without_end_do_not_fill_the_books(make_daemon: MakeDaemon) -> None:
    """What stands in every segment's header is bounded, and the other finds a place for a stream of his own in it."""
    daemon = daemon_of_two(make_daemon).start()
    most = (16 << 20) // 4 * SHARE + 4096
    refused: set[str] = set()
    for client_number in range(4):
        with client(daemon, RED) as red:
            for number in range(900):
                # A slash is three characters in the books.
                his = wire.schema(f"{client_number}-{number}{'/' * 240}", "/" * 250, webservice=f"red{'/' * 240}")
                red.declare(his)
            red.send(his, [1], time.time_ns())
            red.wait_acknowledged()
            refused |= set(red.rejected.values())
        assert daemon.metrics()["collectord_stream_name_bytes"] <= most
        if refused:
            break
    assert refused == {"too_many_streams"}
    with client(daemon, BLUE) as blue:
        mine = wire.schema("m", webservice="blue")
        blue.declare(mine)
        blue.send(mine, range(10), time.time_ns())
        blue.wait_acknowledged()
        assert not blue.rejected
    daemon.flush()
    assert of(daemon, "blue")[0].landed == 10


def test_a_flood_while_the_store_is_down_leaves_the_other_room_in_the_spool(make_daemon: MakeDaemon) -> None:
    """He has his share and then no credit; the other's rows are acknowledged; when the store is back all of both lands once."""
    daemon = daemon_of_two(make_daemon, flush_bytes="64KiB", durability="os").start()
    # Where the directory of all streams would be.
    in_the_way = daemon.folder / "store" / "default"
    in_the_way.write_text("a file")
    with client(daemon, RED, "red") as red, client(daemon, BLUE, "blue") as blue:
        his, mine = wire.schema("m", columns=COLUMNS, webservice="red"), wire.schema("m", webservice="blue")
        red.declare(his)
        blue.declare(mine)
        made = wire.batch(0, his, range(4000), time.time_ns(), columns=100)
        while "share" not in red.credit_reason:
            eventually(lambda: red.credit > 0 or "share" in red.credit_reason, "he has credit, or his share")
            red.post(type(made).FromString(made.SerializeToString()))
            assert red.sent < 200, "his share has no end"
            eventually(lambda: red.acknowledged >= red.sent - 2 or "share" in red.credit_reason, "he is taken from")
        assert red.credit_reason == "the share of the tenant red in the spool is used up"
        log = daemon.status()["log"]
        assert log["bytes"] < log["budget_bytes"]
        assert daemon.metrics()['collectord_credit_waits_total{cause="share"}'] >= 1
        for start in range(0, 200, 10):
            blue.send(mine, range(start, start + 10), time.time_ns())
            blue.wait_acknowledged()
        assert red.acknowledged < red.sent, "and he still waits"
        assert blue.credit > 0
        in_the_way.unlink()
        daemon.flush()
        eventually(lambda: red.resumes, "he is asked to go on")
        assert red.resumes == [red.acknowledged + 1]
        red.resend()
        red.wait_acknowledged(timeout=60)
        daemon.flush()
        assert not red.rejected
        assert not blue.rejected
        assert [book.landed for book in of(daemon, "red")] == [red.sent * 4000]
    found = landed.rows(landed.directory(daemon.folder / "store"), "/blue/")
    assert Counter(int(row["n"]) for row in found) == Counter(range(200))


def test_a_tenant_sees_nothing_of_another(make_daemon: MakeDaemon) -> None:
    """Neither what is switched on for him, nor the status, the books or the logs: these are not on this socket."""
    daemon = daemon_of_two(make_daemon, collect_default=False, collect_on="blue/m/*,red/m/*").start()
    with client(daemon, RED, "blue", "red") as red:
        assert red.welcome is not None
        assert list(red.welcome.settings.on) == ["red/m/*"]
        with grpc.insecure_channel(daemon.endpoint) as channel:
            for method in ("Status", "Ledger", "GetLogs", "Flush", "SetService"):
                call = channel.unary_unary(f"/collectord.v1.Control/{method}")
                try:
                    call(b"", timeout=10)
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
                else:
                    raise AssertionError(f"{method} was answered")
