"""The log of a service, for whoever asks for it: the command line, and Azure ML's `Webservice`.

What a daemon on this machine has not landed yet, and its own messages; and what has landed of all nodes. The daemon is asked
first and the store is read afterwards, so that what lands in between is found twice and not never; an event has an id, by which
it is given once.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread

from collectord._pb import collector_pb2 as pb
from collectord.batch import find
from collectord.control.client import ControlClient, NoDaemon, listens
from collectord.destination import demand, open_store
from collectord.errors import CallHuman, CollectordError, TryAgain
from collectord.logline import SHOWN_BYTES, LogLine, harmless, line_of, text_of
from collectord.model import Schema
from collectord.notes import FILE, read
from collectord.pipeline.typeset import events_of
from collectord.reader.logs import Effort, Follower, Landed, newest, survey
from collectord.schema import parse_schema
from collectord.settings import Settings
from collectord.switchboard import read as read_switches
from collectord.upload.documents import DocumentStore

MOST_LINES = 100_000
REMEMBERED = 200_000
"""Ids of events that were given, while somebody follows."""
LOOK_SECONDS = 3.0
"""Between looks at what has landed, while somebody follows."""
SURVEY_LOOKS = 15
"""After so many of them it is looked for streams that have come."""
HEED_SECONDS = 0.2
"""Between looks whether somebody wants it to end."""
AGAIN_SECONDS = 1.0
"""Before a daemon that does not answer is asked again."""


class UnknownService(CallHuman):
    """Nothing is known of a service of that name."""


@dataclass(slots=True)
class ServiceLog:
    """What was found."""

    lines: list[LogLine]
    """Oldest first."""
    notices: list[str] = field(default_factory=list)
    """What a person has to know, such as where it could not be looked."""

    def text(self, most: int = SHOWN_BYTES) -> str:
        """The lines for people; a message has at most `most` characters."""
        return "".join(f"{text_of(line, most)}\n" for line in self.lines)


def read_log(
    settings: Settings, webservice: str, lines: int, since_ns: int = 0, severity: int = 0, *, own_only: bool = False
) -> ServiceLog:
    """The newest lines of a service; `own_only`: of those that the collector itself says.

    Raises:
        UnknownService: nothing is known of it; the message says which services are.
        CallHuman: the store refuses, or is not there, or neither a daemon nor a store can be found.
        TryAgain: nobody answered.
    """
    began = _begin(settings, webservice, min(lines, MOST_LINES), since_ns, severity, own_only=own_only)
    began.close()
    return began.log


def follow(
    settings: Settings, webservice: str, lines: int, since_ns: int = 0, severity: int = 0, stop: Event | None = None
) -> Iterator[LogLine | str]:
    """The same, and then what comes, without end, or until `stop`; a text is a notice. A daemon that goes is waited for. Raises
    as `read_log`, but that a service may be unknown yet, and the store may fail while it is followed."""
    stop = stop or Event()
    began = _begin(settings, webservice, min(lines, MOST_LINES), since_ns, severity, follows=True)
    given = _Given()
    # No SimpleQueue: interrupted by a signal whose handler is late, one of them waits without end (CPython 3.11).
    queue: Queue[LogLine | str] = Queue()
    asks = [partial(_follow_daemon, settings, webservice or "default", began.node, severity, queue, stop)]
    if began.store is not None:
        follower = Follower(began.store, webservice or "default", began.landed)
        asks.append(partial(_follow_store, began.store, follower, severity, queue, stop))
    for ask in asks:
        Thread(target=ask, name="collectord-follow", daemon=True).start()
    try:
        yield from began.log.notices
        yield from (line for line in began.log.lines if given.first(line))
        while not stop.is_set():
            try:
                one = queue.get(timeout=HEED_SECONDS)
            except Empty:
                continue
            if isinstance(one, str) or given.first(one):
                yield one
    finally:
        stop.set()


class _Given:
    """What was given, as far back as is remembered."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def first(self, line: LogLine) -> bool:
        key = _key(line)
        if key in self._ids:
            return False
        self._ids[key] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        return True


@dataclass(slots=True)
class _Node:
    """What this node has told."""

    lines: list[LogLine]
    position: int = 0
    """How far its log went then."""
    told_ns: int = 0
    """Time of its newest message."""


@dataclass(slots=True)
class _Began:
    """What was found, and where it goes on. The store, if one is named, is open."""

    log: ServiceLog
    node: _Node
    store: DocumentStore | None = None
    landed: Landed = field(default_factory=Landed)

    def close(self) -> None:
        if self.store is not None:
            self.store.close()


def _begin(
    settings: Settings, webservice: str, lines: int, since_ns: int, severity: int, *, follows: bool = False,
    own_only: bool = False,
) -> _Began:  # fmt: skip
    name = webservice or "default"
    log = ServiceLog([])
    known: set[str] = set()
    runs = listens(settings.admin_socket)
    if runs:
        try:
            node = _ask_node(settings, name, lines, since_ns, severity, own_only, log.notices, known)
        except CollectordError as error:
            if not _store_is_named(settings):
                raise
            node = _Node([])
            log.notices.append(f"{error}; what it has is not among this")
    else:
        node = _left(settings, name, 0, since_ns, severity)
        if node.told_ns:
            log.notices.append(f"no daemon answers at {settings.admin_socket}; its messages are those of its last run")
        elif "spool" in settings.model_fields_set:
            log.notices.append(f"no daemon answers at {settings.admin_socket}; what waits there is not among this")
    began = _Began(log, node)
    if _store_is_named(settings):
        began.store = open_store(settings)
    elif runs or node.told_ns:
        log.notices.append(
            "no store is named, so what has landed is not among this; set COLLECTORD_STORE, or give --store"
        )
    else:
        raise CallHuman(
            f"no daemon answers at {settings.admin_socket}, and no store is named; set COLLECTORD_STORE, or COLLECTORD_SPOOL "
            "where a daemon runs"
        )
    try:
        # The daemon was asked before: what lands meanwhile is found twice, not never.
        try:
            there = _read_store(began, name, 0 if own_only else lines, since_ns, severity, known)
        except CollectordError as error:
            # Then most of all somebody wants to know what the daemon says about it.
            if not node.lines:
                raise
            known.add(name)
            there = []
            log.notices.append(f"{error}; what has landed is not among this")
        if name not in known:
            # Where no daemon came up no service may be known, and what its start said is what is looked for.
            if not (follows or (node.told_ns and not runs)):
                if began.store is not None and not runs:
                    demand(began.store)
                raise UnknownService(_unknown(name, known))
            log.notices.append(_unknown(name, known))
    except BaseException:
        began.close()
        raise
    once = {_key(line): line for line in node.lines + there}
    log.lines = sorted(once.values(), key=lambda line: line.order)[max(0, len(once) - lines) :]
    return began


def _read_store(began: _Began, name: str, lines: int, since_ns: int, severity: int, known: set[str]) -> list[LogLine]:
    if began.store is None:
        return []
    began.landed = survey(began.store, name)
    known.update(began.landed.services)
    effort = Effort()
    found = newest(began.store, began.landed, lines, since_ns, severity, effort)
    began.log.notices += _said(effort)
    if name not in known:
        try:
            known.update(read_switches(began.store).services)
        except CollectordError as error:
            began.log.notices.append(str(error))
    return found


def _ask_node(
    settings: Settings, name: str, lines: int, since_ns: int, severity: int, own_only: bool, notices: list[str],
    known: set[str],
) -> _Node:  # fmt: skip
    """What the daemon has that runs on this node."""
    found: list[LogLine] = []
    with ControlClient(settings.admin_socket) as control:
        answers = control.logs(name, since_ns, own_only=own_only)
        first = next(answers)
        known.update(first.services)
        own = list(map(LogLine.from_json, first.messages))
        for answer in answers:
            found += _lines_of(answer, since_ns, severity)
            if answer.incomplete:
                notices.append("more waits on this node than its daemon reads; older lines may be missing")
            # What waits comes newest first, and a daemon that follows is asked anew.
            if answer.caught_up or len(found) >= lines:
                break
    told = max((line.time_ns for line in own), default=0)
    return _Node([line for line in own if line.severity >= severity] + found, first.position, told)


def _left(settings: Settings, name: str, told_ns: int, since_ns: int, severity: int) -> _Node:
    """What a daemon that does not run has left in its spool, of what was not told yet."""
    own = [note.line() for note in read(settings.spool / FILE) if note.concerns(name) and note.time_ns > told_ns]
    lines = [line for line in own if line.time_ns >= since_ns and line.severity >= severity]
    return _Node(lines, 0, max((line.time_ns for line in own), default=0))


def _key(line: LogLine) -> str:
    """By which a line is told once: an event by its id."""
    return line.id or f"{line.time_ns} {line.source} {line.message}"


def _lines_of(answer: pb.LogsResponse, since_ns: int, severity: int) -> list[LogLine]:
    """The lines of the batch that an answer holds, if it does."""
    if not answer.payload:
        return []
    text = events_of(_schema(answer.schema), answer.payload, find(answer.payload).rows)
    made = map(line_of, map(json.loads, text.splitlines()))
    return [line for line in made if line is not None and line.time_ns >= since_ns and line.severity >= severity]


@lru_cache(100)
def _schema(raw: bytes) -> Schema:
    return parse_schema(raw)


def _unknown(name: str, known: set[str]) -> str:
    text = f"nothing is known of a service {name!r}"
    if close := get_close_matches(name, known, 1):
        return f"{text}; did you mean {close[0]!r}?"
    names = [harmless(one) for one in sorted(known)]
    if not names:
        return f"{text}, nor of any other"
    return f"{text}; known are {', '.join(names[:20])}{f' and {len(names) - 20} more' if len(names) > 20 else ''}"


def _said(effort: Effort) -> list[str]:
    said = []
    if effort.broken:
        said.append(f"{effort.broken} landed lines are broken, and left out")
    if not effort.complete:
        said.append(f"only {effort.bytes_read >> 20} MiB of what has landed were read; older lines may be missing")
    return said


def _follow_daemon(
    settings: Settings, name: str, node: _Node, severity: int, queue: Queue[LogLine | str], stop: Event
) -> None:
    """Also a daemon that comes later, and one that comes again."""
    there = True
    position = node.position

    def tell(lines: Iterable[LogLine]) -> None:
        for line in lines:
            if line.severity >= severity:
                queue.put(line)

    while not stop.is_set():
        try:
            with ControlClient(settings.admin_socket) as control:
                for number, answer in enumerate(control.logs(name, after=position, follow=True)):
                    if not there:
                        queue.put("the daemon answers again")
                        there = True
                    messages = map(LogLine.from_json, answer.messages)
                    # The first ones are all that there are. What was given comes once, but what was too old to be wanted must
                    # not come now.
                    tell(line for line in messages if number or line.time_ns > node.told_ns)
                    tell(_lines_of(answer, 0, severity))
                    if answer.missed:
                        queue.put(f"… {answer.missed} rows not shown: they came too fast; they land")
                    position = max(position, answer.position)
                    if stop.is_set():
                        return
        except (NoDaemon, TryAgain) as error:
            if there and not stop.is_set():
                queue.put(f"{error}; waiting for it")
            there = False
            # Why it went, and why it does not come again.
            tell(_left(settings, name, node.told_ns, 0, severity).lines)
        except CollectordError as error:
            queue.put(str(error))
            return
        stop.wait(AGAIN_SECONDS)


def _follow_store(
    store: DocumentStore, follower: Follower, severity: int, queue: Queue[LogLine | str], stop: Event,
    now_ns: Callable[[], int] = time.time_ns,
) -> None:  # fmt: skip
    said = ""
    looks = 0
    with closing(store):
        while not stop.wait(LOOK_SECONDS):
            looks += 1
            try:
                if looks % SURVEY_LOOKS == 0 or looks == 1:
                    follower.survey()
                for line in follower.look(now_ns()):
                    if line.severity >= severity:
                        queue.put(line)
                problem = ""
            except CollectordError as error:
                problem = str(error)
            if problem and problem != said:
                queue.put(f"what lands cannot be read: {problem}")
            said = problem
            if follower.effort.broken:
                queue.put(f"{follower.effort.broken} landed lines are broken, and left out")
                follower.effort.broken = 0


def _store_is_named(settings: Settings) -> bool:
    # By default it is a directory below the present one.
    return "store" in settings.model_fields_set or Path(settings.store).is_dir()
