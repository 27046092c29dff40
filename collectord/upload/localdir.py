"""A directory as the container: every blob is a file, for anybody to read.

Appends happen under a lock, and each is written down in a small journal first, so that a daemon that dies in the
middle of one leaves nothing behind that another daemon would append to: whoever comes next either finds the bytes
complete, and makes them durable, or cuts them off (`journals.py`).

Threads and processes: any number may share the directory, on a file system where flock works.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import xxhash

from collectord import files
from collectord.errors import CallHuman, CollectordError, TryAgain
from collectord.logs import event
from collectord.model import BlobInfo
from collectord.upload.documents import MAX_DOCUMENT, Conflict, Document, GetOutcome, PutOutcome, Written, too_large
from collectord.upload.journal import Journal, UnderWay, read_at, write_at
from collectord.upload.journals import JOURNALS, Journals
from collectord.upload.mount import Mount
from collectord.upload.rewriting import (
    BlobState,
    LockOutcome,
    PutClosedOutcome,
    Removed,
    RemoveOutcome,
    Sealed,
    SealOutcome,
    StateOutcome,
)
from collectord.upload.store import (
    CONTROL_PREFIX,
    MAX_APPEND,
    Absent,
    AlreadyExists,
    Appended,
    AppendOutcome,
    Blocked,
    ContainerOutcome,
    Created,
    CreateOutcome,
    Failure,
    LengthOutcome,
    NoContainer,
    NotAppendable,
    ReadOutcome,
    Unknown,
    WrongPosition,
)
from collectord.upload.tree import PUBLIC_FILE, Tree

CLOSED_FILE = stat.S_ISVTX | 0o444
"""Of a blob that takes no appends. The sticky bit says so: no tool sets it on a file, and it means nothing there."""
DRAFTS = CONTROL_PREFIX + "drafts/"

_log = logging.getLogger("collectord.upload")
# What nobody but a person can change. All other errors of the system are taken as "unknown" and tried again.
_REFUSALS = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "too_large",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
    errno.EROFS: "read_only",
    errno.ENODEV: "not_mounted",
    errno.ENAMETOOLONG: "bad_name",
    errno.ENOTDIR: "bad_name",
    errno.ELOOP: "bad_name",
}


class LocalDirectory:
    """The store in the directory `root`, which `create_container` makes. Files are 0644, directories 0755."""

    lateness = 0.0
    """A call that has returned does nothing any more."""
    skew: float | None = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tree = Tree(root)
        self._journals = Journals(self._tree)
        self.mount = Mount(root)
        """Asked before every request: without it, what comes would go to the disk below."""

    def append(self, blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        path = self._tree.path(blob)
        if not 0 < len(data) <= MAX_APPEND:
            raise ValueError(f"an append has 1 to {MAX_APPEND} bytes, not {len(data)}")
        try:
            if not self._stands():
                return NoContainer()
            with self._journals.locked(blob) as journal:
                return self._append(path, blob, data, position, journal)
        except FileNotFoundError:
            # A link that leads nowhere takes the name like anything else that is not a file.
            return NotAppendable("wrong_type") if path.is_symlink() else Absent()
        except IsADirectoryError:
            return NotAppendable("wrong_type")
        except OSError as error:
            return NotAppendable("wrong_type") if error.errno == errno.ENXIO else self._failure(error)

    def create(self, blob: str, content_type: str, metadata: Mapping[str, str]) -> CreateOutcome:
        """A file has neither a content type nor metadata: its suffix says what it is."""
        path = self._tree.path(blob)
        try:
            if not self._stands():
                return NoContainer()
            # Their entries become durable with the first append.
            self._tree.make_directories(path.parent)
            fd = self._tree.make_file(path, os.O_WRONLY)
            os.fchmod(fd, PUBLIC_FILE)
            os.close(fd)
        except FileExistsError:
            return AlreadyExists()
        except OSError as error:
            return self._failure(error)
        return Created()

    def create_container(self) -> ContainerOutcome:
        try:
            if self._stands():
                return AlreadyExists()
            absent = [folder for folder in (self.root, *self.root.parents) if not folder.is_dir()]
            self._tree.make_directories(self.root)
            for made in absent:
                files.sync_entry(made)
        except OSError as error:
            return self._failure(error)
        event(_log, logging.INFO, "the container did not exist and was created", store=self.describe())
        return Created()

    def length(self, blob: str) -> LengthOutcome:
        path = self._tree.path(blob)
        try:
            self.mount.check()
            with self._journals.settled(blob) as limit:
                status = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._failure(error)
        if not stat.S_ISREG(status.st_mode):
            return None
        return status.st_size if limit is None else min(status.st_size, limit)

    def read(self, blob: str, offset: int, length: int) -> ReadOutcome:
        path = self._tree.path(blob)
        try:
            self.mount.check()
            with self._journals.settled(blob) as limit:
                end = offset + length if limit is None else min(offset + length, limit)
                return _read_range(path, offset, end - offset)
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            return self._failure(error)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        levels = prefix.split("/")[:-1]
        if any(level in ("", ".", "..") for level in levels):
            # No blob has such a name, and the path would lead out of the directory.
            return
        above = self.root.joinpath(*levels)
        try:
            self.mount.check()
            for folder, names, leaves in os.walk(above, onerror=_raise_unless_absent):
                names.sort()
                for leaf in sorted(leaves):
                    path = Path(folder, leaf)
                    name = path.relative_to(self.root).as_posix()
                    if name.startswith(prefix) and not name.startswith((JOURNALS + "/", DRAFTS)) and _is_text(name):
                        size = _size_of_file(path)
                        if size is not None:
                            yield BlobInfo(name, size, {})
        except OSError as error:
            raise self._unseen("listed", error) from error

    def is_there(self) -> bool:
        try:
            self.mount.check()
            return stat.S_ISDIR(self.root.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._unseen("looked at", error) from error

    def expire(self, blob: str, unchanged_since: float, only_look: bool = False) -> int | None:
        """Removes a blob that has not been appended to since then (seconds since 1970), durably. Returns its bytes; None: it
        has, or it is gone. No append gets lost: one that comes now finds it absent. `only_look`: it stays. Raises OSError."""
        path = self._tree.path(blob)
        with nullcontext() if only_look else self._journals.locked(blob):
            try:
                status = path.lstat()
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(status.st_mode) or status.st_mtime >= unchanged_since:
                return None
            if not only_look:
                files.remove_durably(path)
        return status.st_size

    def get_document(self, name: str) -> GetOutcome:
        try:
            self.mount.check()
            data = _read_range(self._tree.path(name), 0, MAX_DOCUMENT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._failure(error)
        if data is None:
            # Something is there, and it is not known what the document says.
            return Blocked("bad_name", f"{name} is no file")
        if len(data) > MAX_DOCUMENT:
            return too_large(name)
        return Document(data, xxhash.xxh3_128_hexdigest(data))

    def put_document(self, name: str, data: bytes, etag: str | None) -> PutOutcome:
        """The tag is a hash of the content; who may write is settled under the lock that guards appends of that name."""
        path = self._tree.path(name)
        try:
            if not self._stands():
                return NoContainer()
            with self._journals.locked(name):
                found = self.get_document(name)
                if isinstance(found, Blocked | Unknown):
                    return found
                if (found.etag if found else None) != etag:
                    return Conflict()
                self._tree.make_directories(path.parent)
                files.write_durably(path, data)
                path.chmod(PUBLIC_FILE)
                self._tree.sync_names(path)
        except OSError as error:
            return self._failure(error)
        return Written(xxhash.xxh3_128_hexdigest(data))

    def state(self, blob: str) -> StateOutcome:
        try:
            self.mount.check()
            with self._journals.settled(blob) as limit:
                found = self._tree.path(blob).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._failure(error)
        if not stat.S_ISREG(found.st_mode):
            return None
        length = found.st_size if limit is None else min(found.st_size, limit)
        return BlobState(length, _tag_of(found), not found.st_mode & stat.S_ISVTX)

    def seal(self, blob: str, etag: str) -> SealOutcome:
        path = self._tree.path(blob)
        try:
            self.mount.check()
            with self._journals.locked(blob):
                if _tag_of(path.stat()) != etag:
                    return Conflict()
                path.chmod(CLOSED_FILE)
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    files.sync_file(fd)
                finally:
                    os.close(fd)
        except FileNotFoundError:
            return Conflict()
        except OSError as error:
            return self._failure(error)
        return Sealed()

    def put_closed(self, blob: str, content: BinaryIO, size: int, content_type: str) -> PutClosedOutcome:
        """Written beside the data first; the name appears with all of it."""
        path = self._tree.path(blob)
        draft = self._tree.path(f"{DRAFTS}{secrets.token_hex(8)}")
        try:
            if not self._stands():
                return NoContainer()
            self._tree.make_directories(draft.parent)
            self._tree.make_directories(path.parent)
            with draft.open("xb") as file:
                shutil.copyfileobj(content, file, MAX_APPEND)
                file.flush()
                draft.chmod(CLOSED_FILE)
                files.sync_file(file.fileno())
            try:
                os.link(draft, path)
            finally:
                draft.unlink()
            self._tree.sync_names(path)
        except FileExistsError:
            return AlreadyExists()
        except OSError as error:
            return self._failure(error)
        return Created()

    def remove(self, blob: str, etag: str) -> RemoveOutcome:
        path = self._tree.path(blob)
        try:
            self.mount.check()
            with self._journals.locked(blob):
                if _tag_of(path.stat()) != etag:
                    return Conflict()
                files.remove_durably(path)
        except FileNotFoundError:
            return Removed()
        except OSError as error:
            return self._failure(error)
        return Removed()

    def lock(self, name: str) -> LockOutcome:
        """Its holder's death releases it at once. Whoever gets it removes the drafts of one who was killed."""
        path = self._tree.path(name)
        try:
            if self._stands():
                self._tree.make_directories(path.parent)
            # By itself first: made by `try_lock`, it would stay root's if root runs this.
            with suppress(FileExistsError):
                os.close(self._tree.make_file(path, os.O_RDWR, files.PRIVATE_FILE))
            fd = files.try_lock(path)
            if fd is None:
                return None
            for draft in self._tree.path(DRAFTS + "x").parent.glob("*"):
                draft.unlink()
        except OSError as error:
            return self._failure(error)
        return _FileLock(fd)

    def addresses(self, blob: str) -> dict[str, str]:
        return {"file": "file://" + quote(str(self._tree.path(blob).absolute()))}

    def describe(self) -> str:
        return f"directory {self.root}"

    def close(self) -> None:
        """Nothing is held open between calls."""

    # ------------------------------------------------------------------ appending

    def _append(
        self, path: Path, blob: str, data: bytes | memoryview, position: int, journal: Journal
    ) -> AppendOutcome:
        if path.stat().st_mode & stat.S_ISVTX:
            return NotAppendable("sealed")
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return NotAppendable("wrong_type")
            size = status.st_size
            if (
                position < size < position + len(data)
                and read_at(fd, position, size - position) == data[: size - position]
            ):
                # The beginning of this very append: an earlier attempt was torn before the journal was durable.
                os.ftruncate(fd, position)
            elif size != position:
                return WrongPosition(f"{size} bytes, not {position}")
            journal.note(UnderWay(blob, position, len(data), xxhash.xxh3_128_digest(data)))
            try:
                write_at(fd, data, position)
                files.sync_file(fd)
            except OSError:
                # After a failed sync nobody knows what is on the disk, while reading back would show our bytes from
                # memory. Without them the next attempt writes all of them once more.
                os.ftruncate(fd, position)
                raise
            if position == 0:
                self._tree.sync_names(path)
            journal.clear()
            # Nobody reads it back soon. From before this append, because pages may lie together in larger ones.
            files.forget_cached(fd, max(0, position - MAX_APPEND), position + len(data))
        finally:
            os.close(fd)
        return Appended(position + len(data))

    def _stands(self) -> bool:
        """Whether the directory is there. Raises OSError where its file system is not: what is there then is another one."""
        self.mount.check()
        return self.root.is_dir()

    def _unseen(self, done: str, error: OSError) -> CollectordError:
        if error.errno in _REFUSALS:
            return CallHuman(f"{self.describe()} cannot be {done}: {error}")
        return TryAgain(f"{self.describe()} could not be {done}: {error}")

    def _failure(self, error: OSError) -> Failure:
        detail = f"{self.describe()}: {error.strerror or type(error).__name__}"
        if error.errno in (errno.EACCES, errno.EPERM):
            detail += f": give it to user {os.geteuid()}, who runs the daemon, with chown -R"
        reason = _REFUSALS.get(error.errno or 0)
        return Blocked(reason, detail) if reason else Unknown(detail)


class _FileLock:
    """An flock, until it is closed."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @property
    def held(self) -> bool:
        return self._fd is not None

    def release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _tag_of(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _size_of_file(path: Path) -> int | None:
    """None: it is no file, or it has gone since it was listed."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _read_range(path: Path, offset: int, length: int) -> bytes | None:
    # A pipe would be waited for.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return read_at(fd, offset, length) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def _is_text(name: str) -> bool:
    """Whether a file's name can be a blob's: UTF-8. One that somebody else has put there must not keep us from the others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
