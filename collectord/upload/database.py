"""The ledger's file: how it is opened, checked, begun, set aside, and changed in whole steps.

Threads: one connection and one lock; `transaction` may be entered from any thread, by one at a time.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collectord import files
from collectord.errors import FormatTooNew, SpoolFull, SpoolUnusable
from collectord.upload.tables import ADDED, EXPORTS, SCHEMA

FILE_NAME = "ledger.sqlite"
VERSION = 1
APPLICATION_ID = 0x636F6C6C
"""`coll`: tells our file from any other SQLite database."""

_COMPANIONS = ("-wal", "-shm")
"""What SQLite keeps beside the database."""


class LedgerDamaged(SpoolUnusable):
    """The file is no database, or its pages contradict each other: what it says cannot be trusted."""


class Database:
    """The file in `spool`, created (mode 0600) if it is absent; `log_spool_id` and what is raised: see `Ledger`."""

    def __init__(self, spool: Path, log_spool_id: bytes | None) -> None:
        self.path = spool / FILE_NAME
        self._lock = threading.Lock()
        fresh = not self.path.exists()
        if fresh:
            # What a lost database has left behind must not be taken for a part of the next one.
            for suffix in _COMPANIONS:
                self.path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)
        os.close(fd)
        # SQLite gives its -wal and -shm files the mode of the database.
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(log_spool_id)
            # Always: whoever has made the file may have been killed before this.
            files.sync_directory(spool)
            with self.transaction() as db:
                db.execute(ADDED)
                db.execute(EXPORTS)
        except sqlite3.DatabaseError as error:
            self._db.close()
            # SQLite has classes of their own for all but "malformed" and "not a database".
            kind = LedgerDamaged if type(error) is sqlite3.DatabaseError else SpoolUnusable
            todo = f"; make room on the disk of {spool}" if "full" in str(error) else ""
            raise kind(f"{self.path} cannot be read as a ledger: {error}{todo}") from error
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def exists(spool: Path) -> bool:
        """Whether a ledger stands in the spool; opening would make an empty one if not."""
        return (spool / FILE_NAME).exists()

    @staticmethod
    def peek(spool: Path, key: str) -> bytes | int | str | None:
        """A fact of the ledger's, whoever has it open; None if it is not there or cannot be read. Changes nothing."""
        path = spool / FILE_NAME
        # Unlike pathlib's it raises nothing where a directory above lets nobody through.
        if not os.path.exists(path):  # noqa: PTH110
            return None
        # Without a -wal file nobody has it open; SQLite would make one, which might be another user's than the daemon's.
        how = "mode=ro" if path.with_name(FILE_NAME + "-wal").exists() else "immutable=1"
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
            try:
                row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            finally:
                db.close()
        except sqlite3.DatabaseError:
            # What is wrong with a ledger is for its daemon to say.
            return None
        return row[0] if row else None

    @staticmethod
    def set_aside(spool: Path, stamp: str) -> Path:
        """Renames a damaged ledger, which nobody has open, to `ledger.sqlite.damaged-<stamp>`. Returns its path."""
        path = spool / FILE_NAME
        target = path.with_name(f"{FILE_NAME}.damaged-{stamp}")
        # The database first: without it, its companions say nothing; without them, it would be an older ledger.
        for suffix in ("", *_COMPANIONS):
            source = path.with_name(FILE_NAME + suffix)
            if source.exists():
                files.rename_durably(source, target.with_name(target.name + suffix))
        return target

    def close(self) -> None:
        """Closes the file; it is not used afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, or nothing; durable when left.

        Raises `SpoolFull` where the disk is full, `SpoolUnusable` for all else that SQLite refuses.
        """
        with self._lock, self._judged():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """What SQLite raises inside says what is to be done about it."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise SpoolFull(f"the ledger {self.path} has no room to grow; make room on its disk") from error
            raise SpoolUnusable(f"the ledger {self.path} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            raise SpoolUnusable(f"the ledger {self.path} cannot be used: {error}") from error

    def query(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of one SELECT; as of the last transaction that has ended. Raises as `transaction` does."""
        with self._lock, self._judged():
            return self._db.execute(statement, values).fetchall()

    # ------------------------------------------------------------------ opening

    def _prepare(self, log_spool_id: bytes | None) -> None:
        db = self._db
        db.execute("PRAGMA busy_timeout = 5000")
        ours = self._is_ours()
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if not ours:
            self._begin(log_spool_id)
            return
        wrong = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if wrong != "ok":
            raise LedgerDamaged(f"{self.path} contradicts itself: {wrong}")

    def _is_ours(self) -> bool:
        """True: a ledger stands in the file. False: nothing does. Raises for all else, which is left as it is."""
        db = self._db
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise FormatTooNew(f"{self.path} has format {version}; this version knows up to {VERSION}")
        ours: bool = version == VERSION and db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and (version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
            raise SpoolUnusable(f"{self.path} is a database, but not a ledger of collectord")
        return ours

    def _begin(self, log_spool_id: bytes | None) -> None:
        meta = {
            "writer_id": secrets.token_bytes(16), "spool_id": secrets.token_bytes(16),
            "sequence": 0, "lsn_floor": 0, "checkpoint": 0,
        }  # fmt: skip
        if log_spool_id is not None:
            meta |= {"spool_id": log_spool_id or meta["spool_id"], "rebuild_needed": 1}
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
