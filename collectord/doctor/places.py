"""The links on this machine: the daemon, its sockets, its spool and the disk below."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from collectord import __version__
from collectord.address import split_address
from collectord.certificates import Certificates, date_of
from collectord.control.client import ControlClient
from collectord.doctor.link import Link, to_be_made
from collectord.errors import CollectordError, ConfigError
from collectord.files import nearest
from collectord.ingest.mdc import PATH
from collectord.listeners import socket_path
from collectord.machine import of_memory, of_spool
from collectord.memory import Memory
from collectord.notation import mib
from collectord.settings import Settings
from collectord.spoolfiles import LOCK_FILE, LOG_DIRECTORY
from collectord.tenants import Tenants
from collectord.upload.database import FILE_NAME as LEDGER
from collectord.upload.ledger import peek_parked
from collectord.wal.inspect import list_segments
from collectord.wal.verify import look_at_parked

CONNECT_SECONDS = 10.0
NEARLY_FULL = 0.8
"""Share of the log's budget that is worth a word."""
_SQLITE = b"SQLite format 3\0"


def daemon(settings: Settings) -> tuple[Link, dict[str, Any] | None]:
    """Whether one answers on the admin socket; with its status."""
    try:
        with ControlClient(settings.admin_socket) as control:
            status = control.status()
    except CollectordError:
        held = lock_is_held(settings.spool.resolve() / LOCK_FILE)
        if held:
            what = f"a process holds the lock of {settings.spool}, but nobody answers at {settings.admin_socket}"
            return Link("daemon", False, what, "it may be starting, or hang: see its log"), None
        todo = "start it with `collectord serve`, or name its spool with --spool; what needs it is left out below"
        return Link("daemon", False, f"no daemon runs on {settings.spool}", todo), None
    what = f"version {status['version']} is {status['state']}, pid {status['pid']}"
    if status["version"] != __version__:
        what += f"; this is {__version__}"
    if status["state"] != "ready":
        return Link("daemon", False, what, "wait until it is ready, or see its log"), status
    if problem := status.get("settings", {}).get("problem"):  # an earlier version tells nothing of them
        what += f", but its file of settings is wrong, and those before stay: {problem}"
        return Link("daemon", False, what, "mend the file; it is read again"), status
    if set(status["listen"]) != set(settings.listen):
        what += f", and listens on {', '.join(status['listen'])}, which is not what these settings say"
        todo = "give the doctor the settings of that daemon; a second one needs a spool of its own"
        return Link("daemon", False, what, todo), status
    return Link("daemon", True, what), status


def listener(address: str, settings: Settings, alone: bool = False) -> Link:
    """Whether clients can reach an address that the settings name. `alone`: no daemon answers on their spool. Where there is no spool we
    may be in a pod, which makes no socket."""
    name = "socket"
    if not address.startswith("unix:"):
        host, port = split_address(address)
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            return Link(name, False, f"{address}: {error.strerror or error}", "start the daemon, or mend listen")
        return Link(name, True, f"{address} takes connections")
    path, ours = socket_path(address), settings.spool.resolve()
    if path.is_symlink():
        return Link(name, False, f"{path} is a symbolic link", "remove it, and see who writes its directory")
    try:
        folder = path.parent.stat()
        found = path.stat()
    except FileNotFoundError as error:
        missing = Path(error.filename)
        todo = "start the daemon, which makes it"
        if missing == path.parent:
            todo += "; in a pod, mount the directory"
        elif ours.is_dir() and not os.access(path.parent, os.W_OK | os.X_OK):
            owner, me = path.parent.stat().st_uid, os.geteuid()
            what = f"{path} does not exist, and user {me} cannot make it: {path.parent} belongs to user {owner}"
            return Link(name, False, what, f"where the daemon runs, chown {me} {path.parent}; {todo}")
        return Link(name, False, f"{missing} does not exist", todo)
    except OSError as error:
        return Link(name, False, f"{path}: {error.strerror}", "let this user through the directories above it")
    if not stat.S_ISSOCK(found.st_mode):
        return Link(name, False, f"{path} is not a socket", "move it away and start the daemon again")
    lock = path.with_name(path.name + ".lock")
    if alone and ours.is_dir() and lock_is_held(lock) and lock_is_held(ours / LOCK_FILE) is False:
        what = f"another daemon listens on {path}, with another spool than {settings.spool}"
        return Link(
            name, False, what, "name its spool with --spool; a second daemon on this node needs a socket of its own"
        )
    if lock_is_held(lock) is False:
        return Link(name, False, f"{path} is stale: nobody listens on it", "start the daemon; it replaces the socket")
    # A pod of another user, or of the group that the settings name.
    group = settings.socket_group is not None
    if not found.st_mode & (0o022 if group else 0o002):
        mode = stat.S_IMODE(found.st_mode)
        return Link(
            name, False, f"{path} has mode {mode:04o}: other users may not connect", "set socket_mode or socket_group"
        )
    if not folder.st_mode & (0o011 if group else 0o001):
        mode = stat.S_IMODE(folder.st_mode)
        return Link(name, False, f"{path.parent} has mode {mode:04o}: other users cannot pass", "chmod it to 0755")
    return Link(name, True, f"{path}, mode {stat.S_IMODE(found.st_mode):04o}")


def guards(settings: Settings) -> Iterator[Link]:
    """Whether the daemon's certificate and its tenants, as far as there are any, can be used now."""
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            found = Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        except ConfigError as error:
            yield Link("tls", False, str(error), "mend the files")
        else:
            if found.problem:
                yield Link("tls", False, found.problem, "renew it")
            else:
                yield Link("tls", True, f"{settings.tls_cert} is valid until {date_of(found.expires)}")
    if settings.tenants is not None:
        try:
            names = Tenants(settings.tenants).names
        except ConfigError as error:
            yield Link("tenants", False, str(error), "mend the file")
        else:
            yield Link("tenants", True, f"{settings.tenants} names {len(names)}")


def mdc(address: str, tls: bool = False) -> Link:
    """Whether the v2 SDK can reach the port that the settings name, and it is one of ours."""
    host, port = split_address(address)
    if tls:
        # What it has to show is in the link `tls`; and it may ask for a certificate that we have not.
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            return Link("mdc", False, f"{address}: {error.strerror or error}", "start the daemon, or mend mdc")
        return Link("mdc", True, f"{address} takes connections, over TLS")
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    try:
        # No payload: what answers that it takes nothing else is the door.
        connection.request("GET", PATH)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Link("mdc", False, f"{address}: {why}", "start the daemon, or mend mdc")
    finally:
        connection.close()
    if answer.status != 405 or answer.headers["Allow"] != "POST":
        what = f"{address} answers {answer.status} to GET {PATH}"
        return Link("mdc", False, what, "another program listens there; name another port")
    return Link("mdc", True, f"{address} takes payloads; set AZUREML_MDC_HOST={host} and AZUREML_MDC_PORT={port}")


def admin(address: str, tls: bool, alive: bool) -> Link:
    """Whether the HTTP side answers at the address that the settings name, where a daemon runs; else whether it is free."""
    name, taken = "admin", "another program, or a second daemon on this node, has the port: name another one"
    host, port = split_address(address)
    try:
        if tls:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
            status = 200
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
            with contextlib.closing(connection):
                connection.request("GET", "/livez")
                status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, http.client.HTTPException):
            return Link(name, False, f"{address} does not answer as a daemon does", taken)
        why = f"{address}: {error.strerror or error}"
        return Link(name, False, why, "start the daemon again, or mend admin") if alive else Link(name, None, why)
    if not alive:
        return Link(name, False, f"{address} is in use, and not by a daemon on this spool", taken)
    if status != 200:
        return Link(name, False, f"{address} answers {status} to GET /livez", taken)
    return Link(name, True, f"{address} answers")


def lock_is_held(path: Path) -> bool | None:
    """Whether a living process holds the lock in this file. None: it cannot be looked at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(fd)
    return False


def spool(settings: Settings) -> Link:
    """Whether the spool can be written, and by nobody else."""
    path = settings.spool.resolve()
    try:
        found = path.stat()
    except FileNotFoundError:
        return to_be_made("spool", path)
    except OSError as error:
        return Link(
            "spool", False, f"{path}: {error.strerror}", f"let user {os.geteuid()} through, or run as its owner"
        )
    if not stat.S_ISDIR(found.st_mode):
        return Link("spool", False, f"{path} is not a directory", "name a directory with --spool")
    mode, me = stat.S_IMODE(found.st_mode), os.geteuid()
    if me not in (0, found.st_uid):
        todo = f"run as user {found.st_uid}, or give it away with chown -R {me}"
        return Link("spool", False, f"{path} belongs to user {found.st_uid}, this is user {me}", todo)
    strangers = sorted({one.stat().st_uid for one in path.glob("ledger*")} - {found.st_uid})
    if strangers:
        what = f"{path} belongs to user {found.st_uid}, but what is in it to {', '.join(map(str, strangers))}"
        return Link("spool", False, what, f"chown -R {found.st_uid} {path}")
    if complaint := of_spool(path):
        return Link("spool", False, complaint.what, complaint.todo)
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        return Link(
            "spool", False, f"{path} cannot be written: {error.strerror}", "make it writable, or choose another"
        )
    return Link("spool", True, f"{path}, mode {mode:04o}, user {found.st_uid}")


def disk(settings: Settings, free: Callable[[Path], int], status: Mapping[str, Any] | None = None) -> Link:
    """Whether the disk holds what the budget allows the spool to become, and a running daemon is content with it."""
    for one in (status or {}).get("machine", ()):
        if one["about"] == "disk":
            return Link("disk", False, one["what"], one["todo"])
    path = settings.spool.resolve()
    used = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # retired meanwhile
                used += Path(folder, name).stat().st_blocks * 512
    left, needed = free(nearest(path)), max(0, settings.spool_budget - used)
    what = f"{mib(left)} free, the spool has {mib(used)} of {mib(settings.spool_budget)}"
    if left < needed:
        todo = f"make {mib(needed - left)} of room, or set spool_budget lower"
        return Link("disk", False, f"{what} and may grow beyond the disk", todo)
    return Link("disk", True, what)


def memory(settings: Settings, found: Memory, status: Mapping[str, Any] | None = None) -> Link:
    """Whether the daemon, where one runs, or else whoever is started as we are, may have the memory that it plans with."""
    if theirs := (status or {}).get("memory"):
        # Its limit may be another than ours, if we were started elsewhere; a daemon of an earlier version does not tell it.
        found = Memory(theirs["resident_bytes"], theirs.get("limit_bytes", found.limit), found.available)
    complaint = of_memory(found, settings.memory_budget)
    if complaint is not None:
        return Link("memory", False, complaint.what, complaint.todo)
    limit = "no limit" if found.limit is None else f"a limit of {mib(found.limit)}"
    return Link("memory", True, f"{limit}, a memory_budget of {mib(settings.memory_budget)}")


def log_and_ledger(settings: Settings, alive: bool) -> Link:
    """Whether log and ledger stand together, and every entry of the log can be read."""
    folder = settings.spool.resolve()
    log, ledger = folder / LOG_DIRECTORY, folder / LEDGER
    try:
        segments = list_segments(log) if log.is_dir() else []
        if alive and any(one.damages or one.problem for one in segments):
            # What is being written just then looks torn.
            segments = list_segments(log)
        parked, missing = look_at_parked(log, None, lambda: peek_parked(folder))
        head = ledger.read_bytes()[: len(_SQLITE)] if ledger.exists() else None
    except OSError as error:
        return Link("log", False, f"{error.filename}: {error.strerror}", "run as the owner of the spool")
    if head is None and log.is_dir() and any(log.iterdir()):
        todo = "start the daemon, which takes rows in and uploads nothing, then `collectord ledger rebuild`"
        return Link("log", False, f"{log} holds entries, but the ledger beside it is gone", todo)
    if head and head != _SQLITE:
        return Link(
            "log",
            False,
            f"{ledger} is no SQLite database",
            "start the daemon, which sets it aside, then `collectord ledger rebuild`",
        )
    bad = [one for one in segments if one.damages or one.problem]
    if bad:
        what = f"{len(bad)} of {len(segments)} segments are damaged, first {bad[0].path.name}"
        return Link("log", False, what, "replace the disk; `collectord wal ls` shows them")
    torn = [one for one in parked if not one.clean]
    if torn or missing:
        what = f"{len(torn)} of {len(parked)} parked files are damaged, {len(missing)} are gone"
        return Link(
            "log", False, what, "`collectord wal verify` shows them; the next start counts as lost what is not there"
        )
    rows = sum(one.rows for one in segments)
    return Link("log", True, f"{len(segments)} segments, {rows:,} rows, no damage" if segments else "empty")


def troubles(status: Mapping[str, Any] | None) -> Link:
    """What the daemon says about its uploads and its log."""
    if status is None:
        return Link("uploads", None, "only a running daemon knows")
    log = status["log"]
    full = log["bytes"] / max(1, log["budget_bytes"])
    blocked = [one for one in status["troubles"] if one["blocked"]]
    waiting = f"{status['waiting']['rows']:,} rows wait, the log is {full:.0%} full"
    if blocked:
        first = blocked[0]
        what = f"{len(blocked)} blobs are blocked; {first['blob']}: {first['detail']}"
        return Link("uploads", False, what, "mend that, then `collectord flush`; `collectord status` shows all")
    if held := status.get("held"):
        todo = "`collectord ledger rebuild`" if status.get("ledger_rebuild_needed") else 'docs/operations.md, "Claims"'
        return Link("uploads", False, f"nothing is uploaded: {held}", todo)
    if status.get("draining"):
        return Link(
            "uploads", False, f"the daemon drains and takes nothing new; {waiting}", "`collectord drain --cancel`"
        )
    if full > NEARLY_FULL:
        what = f"{waiting}, oldest {status['waiting']['oldest_seconds']:.0f} s"
        return Link("uploads", False, what, "mend the store, or raise uploads or spool_budget")
    refused, aside = status["parked"]["refused_partitions"], status["quarantine"]["rows"]
    if refused:
        return Link(
            "uploads", False, f"rows of {refused} blocked partitions are rejected", "mend what `troubles` names"
        )
    if aside:
        waiting += f"; {aside:,} rows are in quarantine: see `collectord quarantine ls`"
    retrying = len(status["troubles"])
    return Link("uploads", True, waiting + (f"; {retrying} blobs are tried again" if retrying else ""))
