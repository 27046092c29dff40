"""The log of a service, and rows as they arrive, of a real daemon that is killed and comes again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from collectord_client.azureml import Webservice

from collectord._pb import collector_pb2 as pb
from collectord.model import HOUR_NS, StreamKind
from tests import landed_events
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.e2e.wire import WireClient
from tests.sent_events import batch_of, schema_of


class Speaker(WireClient):
    """Sends events."""

    def say(self, sent: Sequence[Mapping[str, Any]], kind: StreamKind = StreamKind.TRACE, **more: Any) -> None:
        schema = schema_of(kind)
        if schema.raw not in self._schemas:
            self.declare(schema.raw)
        self.sent += 1
        made = batch_of(schema, sent, self.sent, **more)
        self._unacknowledged[self.sent] = made
        self.raw(pb.ClientMessage(batch=made).SerializeToString())
        self.wait_acknowledged()


class Watcher:
    """A command that goes on until Ctrl-C."""

    def __init__(self, daemon: Daemon, *words: str) -> None:
        self.out, self.err = daemon.folder / f"{words[0]}.out", daemon.folder / f"{words[0]}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "collectord", *words, "--spool", str(daemon.spool)], stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, env=daemon.env | {"COLLECTORD_STORE": str(daemon.settings["store"])},
            )  # fmt: skip

    def until(self, text: str) -> None:
        eventually(
            lambda: text in self.out.read_text() + self.err.read_text(), f"{text!r} is shown; {self.err.read_text()}"
        )

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0
        assert "Traceback" not in self.err.read_text()


@contextmanager
def watching(*made: Watcher) -> Iterator[None]:
    try:
        yield
    finally:
        for one in made:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait(30)


def test_a_log_is_whole_and_live_through_a_kill(
    make_daemon: MakeDaemon, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = make_daemon(flush_interval=3600, store=folder / "store", env={"COLLECTORD_FLUSH_INTERVALL": "1"}).start()
    now, both = time.time_ns(), str(uuid.uuid4())
    before = now - HOUR_NS
    landed_events.land(
        folder / "store",
        landed_events.folder(before) + "far.jsonl",
        [landed_events.item("landed before", before), b"broken\n"],
    )
    follower, tail = Watcher(daemon, "logs", "svc", "--follow"), Watcher(daemon, "tail", "svc/*/traces")
    with watching(follower, tail), Speaker(daemon.endpoint) as client:
        follower.until("landed before")
        tail.until("as they arrive")
        client.say(
            [
                {"message": "first \x1b[31m"},
                {"message": "STDOUT", "customDimensions": '{"Contents": {"input": 1}}'},
            ],
            ids=[both, str(uuid.uuid4())],
        )
        client.say([{"type": "ValueError", "message": "bad", "details": "at score.py"}], StreamKind.EXCEPTION)
        client.say(
            [{"name": "POST /score", "success": ok, "resultCode": "500"} for ok in (False, True)], StreamKind.REQUEST
        )
        client.say([{"message": "of 1970"}], times=[1])
        assert client.rejected
        follower.until("POST /score failed: 500")
        tail.until("first")
        daemon.kill9()
        follower.until("waiting for it")
        tail.until("waiting for it")
        daemon.start()
        follower.until("the daemon answers again")
        eventually(lambda: tail.err.read_text().count("as they arrive") == 2, "the tail is there again")
        client.connect()
        client.say([{"message": "after the kill"}])
        # As if it had landed meanwhile, and another node's.
        landed_events.land(
            folder / "store", landed_events.folder(time.time_ns()) + "near.jsonl",
            [landed_events.item("first \x1b[31m", now, id_=both), landed_events.item("of another node", time.time_ns())],
        )  # fmt: skip
        follower.until("after the kill")
        follower.until("of another node")
        tail.until("after the kill")
        follower.end()
        tail.end()
    wanted = [
        "landed before", "first \\x1b[31m", '{"input":1}', "ValueError: bad", "POST /score failed: 500",
        "rows are rejected", "reason=time_out_of_window", "after the kill", "of another node",
    ]  # fmt: skip
    monkeypatch.setenv("COLLECTORD_SPOOL", str(daemon.spool))
    monkeypatch.setenv("COLLECTORD_STORE", str(folder / "store"))
    for text in (Webservice(None, "svc").get_logs(), follower.out.read_text()):
        assert {words: text.count(words) for words in wanted} == dict.fromkeys(wanted, 1)
        assert text.count(" ready ") == text.count("is none name=COLLECTORD_FLUSH_INTERVALL") == 2
        assert text.replace("\n", "").isprintable()
    assert caplog.messages == ["1 landed lines are broken, and left out"]
    assert tail.out.read_text().count("after the kill") == tail.out.read_text().count("first \x1b[31m") == 1
    assert tail.out.read_text().count("$aml_dc_correlation_id") == 1
    assert daemon.terminate() == 0
    assert "stopped complete=true" in Webservice(None, "svc").get_logs(init=True).splitlines()[-1]
