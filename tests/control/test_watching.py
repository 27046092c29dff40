"""What goes on for as long as somebody watches: `Logs` and `Tail`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.control import watching
from collectord.control.client import ControlClient
from collectord.control.service import ControlService
from collectord.errors import CallHuman, TryAgain
from collectord.ingest.arrivals import MAX_WATCHES, Arrivals
from collectord.logline import LogLine
from collectord.model import Buffer, ColumnType, Entry, EntryKind, Lsn, Partition, Schema, Stream, StreamKind
from tests.control.test_service import FakeDaemon
from tests.e2e.waiting import eventually
from tests.reference_batch import NOW, make_schema, simple
from tests.sent_events import batch_of, schema_of

T = TypeVar("T")
SCHEMA = make_schema(ColumnType.INT64)


TRACES = schema_of(StreamKind.TRACE)


def note(at: int, message: str) -> LogLine:
    return LogLine(at, 1, "collectord", "collectord@n", message)


def entry(sequence: int, schema: Schema = SCHEMA, rows: int = 1) -> Entry:
    payload = simple(schema, rows, sequence, NOW).SerializeToString()
    return Entry(EntryKind.BATCH, b"c" * 16, sequence, rows, payload, schema, Partition.of(schema.id, NOW, 1440))


def spoken_batch(sequence: int, *said: dict[str, Any], **more: Any) -> Entry:
    """A batch of traces."""
    payload = batch_of(TRACES, said, sequence, **more).SerializeToString()
    return Entry(EntryKind.BATCH, b"c" * 16, sequence, len(said), payload, TRACES, Partition.of(TRACES.id, NOW, 1440))


class Speaker(FakeDaemon):
    """Says what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Entry] = []
        """Oldest first."""
        self.own: list[LogLine] = []
        self.asked_for: list[tuple[object, ...]] = []
        self.given = 0

    def waiting_events(self, webservice: str, since_ns: int, after: Lsn) -> Iterator[tuple[Schema, Buffer]]:
        self.asked_for.append((webservice, since_ns, after))
        for one in reversed(self.waiting):
            if one.sequence >= after:
                assert one.schema is not None
                self.given += 1
                yield one.schema, one.payload

    def position(self) -> Lsn:
        return Lsn(max((one.sequence + 1 for one in self.waiting), default=0))

    def notes(self, webservice: str, after: int) -> tuple[list[LogLine], int]:
        return self.own[after:], len(self.own)

    def says(self, stream: Stream, webservice: str) -> bool:
        return webservice == "svc"

    def services(self) -> list[str]:
        return ["a", "svc"]

    def text(self, entry: Entry, form: str) -> tuple[bytes, bytes]:
        return form.encode(), f"{entry.sequence}\n".encode() * entry.rows


class Wired:
    """A daemon's admin socket in a thread of its own, for clients that block as the command line does."""

    def __init__(self, folder: Path, speaker: Speaker) -> None:
        self.socket = folder / "admin.sock"
        self.arrivals = Arrivals()
        self._speaker = speaker
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Wired:
        self._thread.start()
        self._server = self.do(self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> Any:
        server = watching.grpc.aio.server()
        server.add_generic_rpc_handlers((ControlService(self._speaker, self.arrivals).handler(),))
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        return server

    async def _stop(self) -> None:
        await self._server.stop(None)
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=10)

    def do(self, what: Callable[[], Any]) -> Any:
        """On the loop."""

        async def run() -> Any:
            done = what()
            return await done if asyncio.iscoroutine(done) or asyncio.isfuture(done) else done

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def offer(self, *entries: Entry) -> None:
        """Batches arrive."""
        self.do(lambda: [self.arrivals.offer(one) for one in entries] and None)


def told(answer: pb.LogsResponse) -> list[str]:
    return [LogLine.from_json(text).message for text in answer.messages]


def shown(answer: pb.LogsResponse) -> tuple[bytes, bytes]:
    return answer.schema, answer.payload


def test_messages_come_first_then_what_waits_the_newest_first(tmp_path: Path) -> None:
    speaker = Speaker()
    speaker.own = [note(1, "early"), note(5, "a\x1b"), note(9, "late")]
    speaker.waiting = [spoken_batch(n, {"message": str(n)}) for n in (1, 2, 3)]
    with Wired(tmp_path, speaker) as wired, ControlClient(wired.socket) as control:
        first, three, two, last = control.logs("svc", 5, 2)
        assert (told(first), list(first.services), first.position) == (["a\x1b", "late"], ["a", "svc"], 4)
        assert [shown(three), shown(two)] == [(TRACES.raw, one.payload) for one in speaker.waiting[:0:-1]]
        assert (last.caught_up, last.incomplete) == (True, False)
        assert speaker.asked_for == [("svc", 5, 2)]
        own, last = control.logs("svc", own_only=True)
        assert (told(own), last.caught_up, last.incomplete) == (["early", "a\x1b", "late"], True, False)


def test_who_has_enough_goes_and_no_more_is_read(tmp_path: Path) -> None:
    speaker = Speaker()
    speaker.waiting = [spoken_batch(n, {"message": "x" * 1_000_000}) for n in range(100)]
    with Wired(tmp_path, speaker) as wired, ControlClient(wired.socket) as control:
        answers = control.logs("svc")
        next(answers), next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert (list(control.logs("svc", own_only=True))[-1]).caught_up
        assert speaker.given < 50


def test_one_question_reads_so_much_and_says_that_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOGS_BYTES", 2 * watching.ENTRY_BYTES)
    speaker = Speaker()
    speaker.waiting = [spoken_batch(n, {"message": "m"}) for n in range(5)]
    with Wired(tmp_path, speaker) as wired, ControlClient(wired.socket) as control:
        answers = list(control.logs("svc"))
    assert len(answers) == 4
    assert answers[-1].incomplete


def test_a_batch_of_any_size_arrives(tmp_path: Path) -> None:
    speaker = Speaker()
    speaker.waiting = [spoken_batch(1, *({"message": "x" * (1 << 20)} for _ in range(4)))]
    with Wired(tmp_path, speaker) as wired, ControlClient(wired.socket) as control:
        assert sum(len(answer.payload) for answer in control.logs("svc")) > 4 << 20


def test_who_follows_hears_what_comes_until_he_goes(tmp_path: Path) -> None:
    speaker = Speaker()
    with Wired(tmp_path, speaker) as wired, ControlClient(wired.socket) as control:
        answers = control.logs("svc", follow=True)
        next(answers)
        assert next(answers).caught_up
        wired.offer(entry(1), entry(2))
        assert [next(answers).payload for _ in range(2)] == [entry(1).payload, entry(2).payload]
        speaker.own.append(note(3, "a switch"))
        assert told(next(answers)) == ["a switch"], "it is looked for, also while nothing arrives"
        assert wired.arrivals.watched
        answers.close()  # type: ignore[attr-defined]
        eventually(lambda: not wired.do(lambda: wired.arrivals.watched), "the watch has ended")


def test_rows_that_came_too_fast_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectord.ingest.arrivals.MAX_BYTES", 1)
    with Wired(tmp_path, Speaker()) as wired, ControlClient(wired.socket) as control:
        answers = control.logs("svc", follow=True)
        next(answers), next(answers)
        wired.offer(entry(1), entry(2, rows=300), entry(3, rows=12))
        assert next(answers).payload == entry(1).payload
        assert next(answers).missed == 312
        rows = control.tail("*/*/*", "csv")
        next(rows)
        wired.offer(entry(1), entry(2, rows=300), entry(3, rows=12))
        assert next(rows).text == b"1\n"
        assert next(rows).missed == 312


def test_rows_come_as_text_of_the_streams_that_are_wanted(tmp_path: Path) -> None:
    schema = make_schema(ColumnType.INT64)
    name = f"{schema.stream.webservice or 'default'}/*/*"
    with Wired(tmp_path, Speaker()) as wired, ControlClient(wired.socket) as control:
        rows, none = control.tail(name, "jsonl"), control.tail("nobody/*/*", "csv")
        assert next(rows) == pb.TailResponse() == next(none), "from now on it is watched"
        wired.offer(entry(1, rows=2))
        answer = next(rows)
        assert (answer.stream, answer.header, answer.text) == (schema.stream.key(), b"jsonl", b"1\n1\n")


def test_text_that_is_larger_than_a_message_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MESSAGE_BYTES", 3)
    with Wired(tmp_path, Speaker()) as wired, ControlClient(wired.socket) as control:
        rows = control.tail("*/*/*", "csv")
        next(rows)
        wired.offer(entry(1, rows=4))
        assert [next(rows).text for _ in range(3)] == [b"1\n1", b"\n1\n", b"1\n"]


@pytest.mark.parametrize(
    ("pattern", "form", "why"), [("a/b", "csv", "not webservice/model/designation"), ("*/*/*", "xml", "csv and jsonl")]
)
def test_what_makes_no_sense_is_refused_with_the_reason(tmp_path: Path, pattern: str, form: str, why: str) -> None:
    with (
        Wired(tmp_path, Speaker()) as wired,
        ControlClient(wired.socket) as control,
        pytest.raises(CallHuman, match=why),
    ):
        next(control.tail(pattern, form))


def test_not_more_than_so_many_watch(tmp_path: Path) -> None:
    with Wired(tmp_path, Speaker()) as wired, ControlClient(wired.socket) as control:
        watching_now = [control.tail("*/*/*", "csv") for _ in range(MAX_WATCHES)]
        assert [next(one) for one in watching_now] == [pb.TailResponse()] * MAX_WATCHES
        for ask in (control.tail("*/*/*", "csv"), control.logs("svc", follow=True)):
            with pytest.raises(TryAgain, match="already watch"):
                next(ask)
        assert list(control.logs("svc"))[-1].caught_up, "who only asks needs no place"
