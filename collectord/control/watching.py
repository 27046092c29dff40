"""`Logs` and `Tail` of `collectord.v1.Control`: what goes on for as long as somebody watches.

Threads: the event loop; batches become text on a thread of their own, so that those who watch wait for each other and the
ingest for nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import grpc.aio

from collectord._pb import collector_pb2 as pb
from collectord.ingest.arrivals import MAX_WATCHES, Arrivals, Watch
from collectord.logline import LogLine
from collectord.model import Buffer, Entry, Lsn, Schema, Stream
from collectord.patterns import StreamPatterns

LOGS_BYTES = 64 << 20
"""Of the log that is read for one question."""
MESSAGE_BYTES = 1 << 20
"""Of the text in one answer."""
ENTRY_BYTES = 1024
"""That each batch counts more than it has."""
LOOK_SECONDS = 0.5
"""Between looks at our own messages, while somebody follows."""
FORMS = ("csv", "jsonl")
ENOUGH = f"{MAX_WATCHES} already watch; end one of them"

Context = grpc.aio.ServicerContext[Any, Any]


class Lines(Protocol):
    """What services say; from any thread."""

    def notes(self, webservice: str, after: int) -> tuple[list[LogLine], int]:
        """The daemon's messages about a service behind a number, oldest first, and the number of the newest."""
        ...

    def waiting_events(self, webservice: str, since_ns: int, after: Lsn) -> Iterator[tuple[Schema, Buffer]]:
        """The batches of a service's log that wait, the newest first."""
        ...

    def position(self) -> Lsn:
        """How far the log is durable."""
        ...

    def says(self, stream: Stream, webservice: str) -> bool:
        """Whether a service's log is made of such a stream."""
        ...

    def services(self) -> list[str]:
        """The names of those that are known."""
        ...

    def text(self, entry: Entry, form: str) -> tuple[bytes, bytes]:
        """A batch as header and text."""
        ...


class Watching:
    """Answers as long as it is listened to."""

    def __init__(self, answers: Lines, arrivals: Arrivals) -> None:
        self._answers = answers
        self._arrivals = arrivals
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="collectord-watch")

    async def logs(self, request: pb.LogsRequest, context: Context) -> None:
        """Answers with what is there; then, if the request says so, with what comes, until nobody reads any more."""
        answers, run = self._answers, partial(asyncio.get_running_loop().run_in_executor, self._pool)
        name = request.webservice
        # It is watched before it is looked at: what comes between is told twice, not never.
        with self._watch(partial(answers.says, webservice=name), request.follow) as watch:
            if request.follow and watch is None:
                await context.abort(grpc.StatusCode.ABORTED, ENOUGH)
            position = answers.position()
            notes, number = await run(answers.notes, name, 0)
            said = [_text(note) for note in notes if note.time_ns >= request.since]
            services = await run(answers.services)
            await context.write(pb.LogsResponse(messages=said, services=services, position=position))
            left = 0 if request.own_only else LOGS_BYTES
            waiting = answers.waiting_events(name, request.since, Lsn(request.after))
            # Only as fast as they are read: who has enough goes.
            while left > 0 and (found := await run(next, waiting, None)) is not None:
                schema, payload = found
                left -= len(payload) + ENTRY_BYTES
                await context.write(pb.LogsResponse(schema=schema.raw, payload=bytes(payload)))
            await context.write(pb.LogsResponse(caught_up=True, incomplete=left <= 0 and not request.own_only))
            while watch is not None:
                await _wake(watch)
                entries, missed = watch.take()
                for entry in entries:
                    assert entry.schema is not None
                    await context.write(pb.LogsResponse(schema=entry.schema.raw, payload=bytes(entry.payload)))
                notes, number = await run(answers.notes, name, number)
                if notes or missed:
                    await context.write(pb.LogsResponse(messages=map(_text, notes), missed=missed))

    async def tail(self, request: pb.TailRequest, context: Context) -> None:
        """Answers with rows as they come, until nobody reads any more."""
        run = partial(asyncio.get_running_loop().run_in_executor, self._pool)
        try:
            patterns = StreamPatterns((request.pattern,))
            if request.format not in FORMS:
                raise ValueError(f"format is {request.format!r}; {' and '.join(FORMS)} are known")
        except ValueError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        with self._watch(patterns.__contains__) as watch:
            if watch is None:
                await context.abort(grpc.StatusCode.ABORTED, ENOUGH)
            await context.write(pb.TailResponse())
            while watch is not None:
                await watch.wake.wait()
                entries, missed = watch.take()
                for entry in entries:
                    assert entry.schema is not None
                    header, text = await run(self._answers.text, entry, request.format)
                    stream = entry.schema.stream.key()
                    for at in range(0, len(text), MESSAGE_BYTES):
                        await context.write(
                            pb.TailResponse(stream=stream, header=header, text=text[at : at + MESSAGE_BYTES])
                        )
                if missed:
                    await context.write(pb.TailResponse(missed=missed))

    def _watch(self, wanted: Callable[[Stream], bool], on: bool = True) -> AbstractContextManager[Watch | None]:
        return self._arrivals.watch(wanted) if on else nullcontext()


async def _wake(watch: Watch) -> None:
    """Until there is something, or a while has passed."""
    try:
        await asyncio.wait_for(watch.wake.wait(), LOOK_SECONDS)
    except asyncio.TimeoutError:
        return


def _text(note: LogLine) -> str:
    return json.dumps(note.as_json())
