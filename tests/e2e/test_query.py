"""Questions to a real daemon's store and log together: every row is in the answer once, whatever lands meanwhile."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from click.testing import CliRunner

from collectord._pb import collector_pb2 as pb
from collectord.cli.main import main
from collectord.model import StreamKind
from collectord.query.question import Asked, Questions
from collectord.query.span import Span
from collectord.query.waiting import Log, Snapshot
from collectord.testing.azurite import Azurite
from collectord.upload.localdir import LocalDirectory
from tests.e2e import wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.query.asking import rows
from tests.sent_events import batch_of, schema_of

BATCH = 100
TABLE = "['default/m/inputs']"


class WatchedLog(Log):
    """Something happens between the look at the log and the look at the store."""

    between: Callable[[], object] = staticmethod(lambda: None)

    def take(self, chosen: Callable[[str], bool], span: Span) -> Snapshot:
        found = super().take(chosen, span)
        self.between()
        return found


def questions(daemon: Daemon, between: Callable[[], object] = lambda: None) -> Questions:
    log = WatchedLog((daemon.spool / "admin.sock").resolve(), 64 << 20)
    log.between = between
    return Questions(Asked(LocalDirectory(daemon.folder / "store"), str(daemon.status()["layout"]), ""), log)


def send(daemon: Daemon, numbers: Sequence[int], *columns: str, designation: str = "inputs") -> None:
    """Acknowledged when this returns."""
    raw = wire.schema("m", designation, columns or ("n",))
    with wire.WireClient(daemon.endpoint) as client:
        client.declare(raw)
        client.send(raw, numbers, time.time_ns(), len(columns) or 1)
        client.wait_acknowledged()


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_what_lands_between_the_look_at_the_log_and_at_the_store_counts_once(
    make_daemon: MakeDaemon, codec: str
) -> None:
    """All that waited lands then, and so do rows that came after; some have other columns, and so another part."""
    daemon = make_daemon(codec=codec, flush_interval=3600).start()
    send(daemon, range(300))
    send(daemon, range(300, 310), "n", "more")
    daemon.flush()
    send(daemon, range(310, 500))
    send(daemon, range(500, 520), "n", "more")

    def land() -> None:
        send(daemon, range(520, 600))
        daemon.flush()

    with questions(daemon, land) as asked:
        question = f"{TABLE} | summarize rows = count(), different = dcount(n), more = countif(isnotnull(more))"
        assert rows(asked.kql(question)) == [{"rows": 600, "different": 600, "more": 30}]
        assert asked.waiting == 210
    with questions(daemon) as asked:
        assert rows(asked.kql(question)) == [{"rows": 600, "different": 600, "more": 30}]
        assert asked.waiting == 0
    # The same rows once more, word for word: they are others.
    now = time.time_ns()
    raw = wire.schema("m", "twice")
    with wire.WireClient(daemon.endpoint) as client:
        client.declare(raw)
        for _ in range(2):
            client.send(raw, [1, 2], now)
        client.wait_acknowledged()
        with questions(daemon, daemon.flush) as asked:
            assert rows(asked.sql('SELECT count(*) AS n FROM "default/m/twice"')) == [{"n": 4}]
            assert asked.waiting == 4
        client.send(raw, [1, 2], now)
        client.wait_acknowledged()
        with questions(daemon, daemon.flush) as asked:
            assert rows(asked.kql("default_m_twice | count")) == [{"Count": 6}]
            assert asked.waiting == 2


def test_questions_while_rows_come_and_land(make_daemon: MakeDaemon) -> None:
    """An answer has every row that was acknowledged before it, and no row twice; the command line says the same."""
    daemon = make_daemon(flush_interval=0.2, flush_bytes=20_000).start()
    acknowledged = [0]
    stop = threading.Event()
    raw = wire.schema("m", "inputs")

    def keep_sending() -> None:
        with wire.WireClient(daemon.endpoint) as client:
            client.declare(raw)
            while not stop.is_set():
                client.send(raw, range(acknowledged[0], acknowledged[0] + BATCH), time.time_ns())
                client.wait_acknowledged()
                acknowledged[0] += BATCH

    sender = threading.Thread(target=keep_sending)
    sender.start()
    from_log = from_store = asks = 0
    try:
        while asks < 4 or not (from_log and from_store):
            least = acknowledged[0]
            with questions(daemon) as asked:
                if not asked.tables():
                    continue
                (found,) = rows(asked.kql(f"{TABLE} | summarize rows = count(), different = dcount(n), last = max(n)"))
                from_store += asked.effort.bytes
                from_log += asked.waiting
            assert found["rows"] == found["different"] == found["last"] + 1
            assert least <= found["rows"] <= acknowledged[0] + BATCH
            asks += 1
            assert asks < 100
    finally:
        stop.set()
        sender.join()
    send(daemon, range(acknowledged[0], acknowledged[0] + 5))
    done = daemon.cli("query", f"{TABLE} | summarize count(), dcount(n)")
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(text) for text in done.stdout.splitlines()] == [
        {"count_": acknowledged[0] + 5, "dcount_n": acknowledged[0] + 5}
    ]


def test_without_a_daemon_the_command_line_says_what_it_did_not_look_at(make_daemon: MakeDaemon) -> None:
    """And with the daemon of another store. A wrong question exits with 1, a daemon that is insisted on and absent with 2."""
    daemon = make_daemon(flush_interval=3600).start()
    send(daemon, range(10))
    daemon.flush()
    send(daemon, range(10, 15))
    question = "default_m_inputs | count"

    def ask(*words: str, kql: str = question) -> tuple[int, str, str]:
        settings = {"COLLECTORD_SPOOL": str(daemon.spool), "COLLECTORD_STORE": str(daemon.folder / "store")}
        done = CliRunner().invoke(main, ["query", kql, *words], env=settings)
        return done.exit_code, done.stdout, done.stderr

    assert ask() == (0, '{"Count": 15}\n', "")
    elsewhere = daemon.folder / "copy"
    shutil.copytree(daemon.folder / "store", elsewhere)
    status, told, said = ask("--store", str(elsewhere))
    assert (status, told) == (0, '{"Count": 10}\n')
    assert f"writes to directory {daemon.folder / 'store'}, so only what has landed in" in said
    daemon.kill9()
    status, told, said = ask()
    assert (status, told) == (0, '{"Count": 10}\n')
    assert said.startswith("collectord: no daemon answers at the spool, so only what has landed is searched")
    status, told, said = ask("--spool", str(daemon.spool))
    assert (status, told) == (2, "")
    assert "no daemon answers at" in said
    status, told, said = ask(kql="traces | wher x")
    assert (status, told) == (1, "")
    assert "line 1, column 10: the operator wher is not supported; did you mean where?" in said


def test_a_container_of_azure_is_asked_like_a_directory(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """Rows and events, landed and waiting."""
    account = {"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()}
    store = f"az://{new_container()}/some/prefix"
    daemon = make_daemon(env=account, store=store, flush_interval=3600).start()
    traces = schema_of(StreamKind.TRACE)

    def tell(first: int) -> None:
        with wire.WireClient(daemon.endpoint) as client:
            client.declare(traces.raw)
            client.sent += 1
            events = [{"message": f"m{n}", "customDimensions": json.dumps({"n": n})} for n in range(first, first + 5)]
            client.raw(pb.ClientMessage(batch=batch_of(traces, events, client.sent)).SerializeToString())
            client.wait_acknowledged()

    send(daemon, range(20))
    tell(0)
    daemon.flush()
    send(daemon, range(20, 30))
    tell(5)

    def ask(question: str) -> object:
        runner = CliRunner(env=account | {"COLLECTORD_STORE": store, "COLLECTORD_SPOOL": str(daemon.spool)})
        done = runner.invoke(main, ["query", question, "--format", "jsonl"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    for _ in range(2):
        assert ask(f"{TABLE} | summarize rows = count(), most = max(n)") == {"rows": 30, "most": 29}
        assert ask("traces | where toint(customDimensions.n) >= 3 | summarize rows = count()") == {"rows": 7}
        daemon.flush()
