"""The links behind the daemon: does the clock agree with the store's, does the store answer, does it take an append."""

from __future__ import annotations

import email.utils
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from collectord.doctor.link import Link, to_be_made
from collectord.errors import CollectordError, ConfigError
from collectord.exporters import open_exporters
from collectord.machine import of_clock
from collectord.settings import Settings
from collectord.switchboard import read
from collectord.upload.documents import DocumentStore
from collectord.upload.location import Location
from collectord.upload.store import (
    CONTROL_PREFIX,
    AlreadyExists,
    Appended,
    BlobStore,
    Blocked,
    Created,
    NoContainer,
    NotAppendable,
    Unknown,
    WrongPosition,
)

ANSWER_SECONDS = 10.0


def clock(settings: Settings, store: BlobStore, now: Callable[[], float]) -> Link:
    """Whether this machine's clock agrees with the store's, or else with that of the spool's file system."""
    address = store.addresses("x").get("https")
    if address is None:
        path = settings.spool.resolve()
        try:
            with tempfile.TemporaryFile(dir=path if path.is_dir() else None) as fresh:
                theirs, whose = os.fstat(fresh.fileno()).st_mtime, "the file system's"
        except OSError as error:
            return Link("clock", None, f"no file can be made to compare with: {error.strerror}")
    else:
        import requests

        parts = urlsplit(address)
        try:
            with requests.Session() as session:
                url = f"{parts.scheme}://{parts.netloc}/"
                answer = session.head(url, timeout=ANSWER_SECONDS, allow_redirects=False)
            theirs = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
            whose = f"{parts.hostname}'s"
        except (requests.RequestException, OSError, KeyError, ValueError) as error:
            # An OSError of its own: REQUESTS_CA_BUNDLE names no file. Its text may name a proxy with its password.
            return Link("clock", None, f"{parts.netloc} says no time: {type(error).__name__}")
    off = now() - theirs
    complaint = of_clock(off, whose)
    if complaint is not None:
        return Link("clock", False, complaint.what, complaint.todo)
    return Link("clock", True, f"within {max(1.0, abs(off)):.0f} s of {whose}")


def store_links(settings: Settings, store: BlobStore, writer: str) -> Iterator[Link]:
    """Whether the store answers, has a container, and takes an append: proved with a control blob, never among data."""
    place = store.describe()
    blob = f"{CONTROL_PREFIX}doctor/{writer or secrets.token_hex(16)}"
    directory = Location.parse(settings.store).directory
    length = store.length(blob)
    if isinstance(length, Blocked | Unknown):
        yield _refused(store, "store", place, length)
        yield Link("append", None, "not tried")
        return
    if directory is not None and not _may_be_there(directory):
        yield to_be_made("store", directory.resolve())
        yield Link("append", None, "nothing is there yet to append to")
        return
    yield Link("store", True, f"{place} answers")
    created = store.create(blob, "text/plain; charset=utf-8", {})
    if isinstance(created, NoContainer):
        made = store.create_container()
        if isinstance(made, Blocked | Unknown):
            yield _refused(store, "container", place, made)
            yield Link("append", None, "not tried")
            return
        yield Link("container", True, "it did not exist, and has been created")
        created = store.create(blob, "text/plain; charset=utf-8", {})
    elif isinstance(created, Created | AlreadyExists):
        yield Link("container", True, "it exists")
    if not isinstance(created, Created | AlreadyExists):
        yield _refused(store, "append", f"creating {blob}", created)
        return
    yield append(store, blob)


def _may_be_there(directory: Path) -> bool:
    """Also where something above it lets nobody through: the store says so."""
    try:
        return directory.exists()
    except OSError:
        return True


def append(store: BlobStore, blob: str) -> Link:
    """One conditional append, read back."""
    line = f"collectord doctor {secrets.token_hex(8)}\n".encode()
    for _ in range(3):  # somebody else's doctor may be faster
        at = store.length(blob)
        if at is None or isinstance(at, Blocked | Unknown):
            return _refused(store, "append", f"the length of {blob}", at)
        outcome = store.append(blob, line, at)
        if not isinstance(outcome, WrongPosition):
            break
    if not isinstance(outcome, Appended):
        return _refused(store, "append", f"appending to {blob}", outcome)
    back = store.read(blob, outcome.end - len(line), len(line))
    if back != line:
        failure = back if isinstance(back, Blocked | Unknown) else Unknown("other bytes came back")
        return _refused(store, "append", f"reading {blob} back", failure)
    return Link("append", True, f"{len(line)} bytes at {at} of {blob}, read back")


def _refused(store: BlobStore, name: str, what: str, outcome: object) -> Link:
    match outcome:
        case Blocked(reason, detail):
            rights = reason in ("forbidden", "credential") and "https" in store.addresses("x")
            todo = "see docs/operations.md, Rights on Azure" if rights else "mend that"
            return Link(name, False, f"{what}: {reason}: {detail}", todo)
        case Unknown(detail):
            return Link(name, False, f"{what}: no clear answer: {detail}", "is the store reachable from here?")
        case NotAppendable(reason):
            return Link(name, False, f"{what}: {reason}", "remove that blob; it is the doctor's own")
        case _:
            return Link(
                name, False, f"{what}: {type(outcome).__name__}", "try again; does somebody else change the store?"
            )


def switches(settings: Settings, store: DocumentStore) -> Link:
    """Whether anything is collected, as far as settings and switches decide it."""
    name = "switches"
    try:
        services = read(store).services if settings.switches_interval else {}
    except CollectordError as error:
        return Link(name, False, str(error), "mend it or remove it; until then the last good switches count")
    said = {
        on: sorted(service for service, one in services.items() if one.collect_model_data is on) for on in (True, False)
    }
    notes = [f"{word} for {', '.join(said[on])}" for on, word in ((True, "on"), (False, "off")) if said[on]]
    if settings.collect_default:
        return Link(name, True, "; ".join(["clients are told to collect", *notes]))
    if settings.collect_on or said[True]:
        return Link(name, True, "; ".join(["clients are told to collect some streams only", *notes]))
    todo = "set collect_default to true, or switch services on with `collectord service set`"
    return Link(name, False, "clients are told not to collect", todo)


def events(settings: Settings, status: Mapping[str, Any] | None) -> Iterator[Link]:
    """Whether the places that events go to answer, and what a running daemon says of its deliveries."""
    try:
        exporters = open_exporters(settings)
    except ConfigError as error:
        yield Link("events", False, str(error), "mend the setting")
        return
    told = {one["name"]: one for one in (status or {}).get("exports", ())}
    for exporter in exporters:
        name = f"{exporter.name} at {exporter.describe()}"
        try:
            problem = exporter.probe()
        finally:
            exporter.close()
        daemons = told.get(exporter.name, {})
        if problem:
            yield Link("events", False, f"{name}: {problem}", 'docs/telemetry.md, "Delivery"')
        elif daemons.get("trouble"):
            yield Link("events", False, f"{name} answers, and the daemon says: {daemons['trouble']}", "see its log")
        elif lost := daemons.get("refused", 0) + daemons.get("expired", 0):
            # Some day: the count outlives restarts, and single events are refused for what they hold.
            yield Link("events", True, f"{name} answers; {lost:,} events were given up so far, see the daemon's log")
        else:
            yield Link("events", True, f"{name} answers")
