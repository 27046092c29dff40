"""The daemon's books: what has landed, what is about to, and who has been heard. `docs/formats/ledger.md` describes them.

One SQLite file in the spool. Every change is one transaction, durable when the method returns: after a crash the
ledger is as it was after some prefix of the calls, the last call included if it returned.

Threads: one connection and one lock; all methods may be called from any thread. Raises `SpoolFull` where the disk is
full (nothing was changed), `SpoolUnusable` where the file cannot be read or written.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from collectord import files
from collectord.errors import FormatTooNew, SpoolFull, SpoolUnusable
from collectord.model import Cursor, Lsn, Partition
from collectord.upload.held import Held
from collectord.upload.records import ClientMark, DroppedRows, Intent, LandedFrame, Progress, StreamTotals
from collectord.upload.rollover import Part, PartState, Place

FILE_NAME = "ledger.sqlite"
VERSION = 1
APPLICATION_ID = 0x636F6C6C
"""`coll`: tells our file from any other SQLite database."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE parts (
    base TEXT, part INTEGER, header BLOB, length INTEGER NOT NULL, appends INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, touched_ns INTEGER NOT NULL, PRIMARY KEY (base, part)) WITHOUT ROWID;
CREATE TABLE intents (
    frame_id INTEGER PRIMARY KEY, base TEXT NOT NULL, part INTEGER NOT NULL, position INTEGER NOT NULL,
    header BLOB NOT NULL, header_length INTEGER NOT NULL, length INTEGER NOT NULL, checksum BLOB NOT NULL,
    rows INTEGER NOT NULL, stream_key TEXT NOT NULL, schema_id BLOB NOT NULL, start_hour INTEGER NOT NULL,
    boundary_minutes INTEGER NOT NULL, after_lsn INTEGER NOT NULL, after_row INTEGER NOT NULL,
    created_ns INTEGER NOT NULL);
CREATE TABLE cursors (
    schema_id BLOB, start_hour INTEGER, boundary_minutes INTEGER, lsn INTEGER NOT NULL, row INTEGER NOT NULL,
    rows INTEGER NOT NULL, PRIMARY KEY (schema_id, start_hour, boundary_minutes)) WITHOUT ROWID;
CREATE TABLE landed (stream_key TEXT PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, frames INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE quarantined (stream_key TEXT, reason TEXT, rows INTEGER NOT NULL, PRIMARY KEY (stream_key, reason))
    WITHOUT ROWID;
CREATE TABLE clients (id BLOB PRIMARY KEY, mark INTEGER NOT NULL, seen_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE dropped (
    client BLOB, stream_key TEXT, reason TEXT, rows INTEGER NOT NULL, PRIMARY KEY (client, stream_key, reason))
    WITHOUT ROWID;
CREATE TABLE counts (stream_key TEXT, name TEXT, rows INTEGER NOT NULL, PRIMARY KEY (stream_key, name)) WITHOUT ROWID;
CREATE TABLE frames (
    frame_id INTEGER PRIMARY KEY, base TEXT NOT NULL, part INTEGER NOT NULL, position INTEGER NOT NULL,
    length INTEGER NOT NULL, rows INTEGER NOT NULL, schema_id BLOB NOT NULL, start_hour INTEGER NOT NULL,
    boundary_minutes INTEGER NOT NULL, before_lsn INTEGER NOT NULL, before_row INTEGER NOT NULL,
    after_lsn INTEGER NOT NULL, after_row INTEGER NOT NULL, landed_ns INTEGER NOT NULL);
"""

_COMPANIONS = ("-wal", "-shm")
"""What SQLite keeps beside the database."""
_INTENT_COLUMNS = (
    "frame_id, base, part, position, header, header_length, length, checksum, rows, stream_key, "
    "schema_id, start_hour, boundary_minutes, after_lsn, after_row, created_ns"
)
_FRAME_COLUMNS = (
    "frame_id, base, part, position, length, rows, schema_id, start_hour, boundary_minutes, "
    "before_lsn, before_row, after_lsn, after_row, landed_ns"
)


class LedgerDamaged(SpoolUnusable):
    """The file is no database, or its pages contradict each other: what it says cannot be trusted."""


class Ledger:
    """The books of one spool. Opens the file in `spool`, creating it (mode 0600) if it is absent.

    `log_spool_id` is the id that a log beside it names, empty if its segments do not tell, None if there is no log. A
    ledger that has to be created beside a log was lost: it takes this id, and `rebuild_needed` until `rebuilt`.

    Raises `FormatTooNew` if a later version has written it, `LedgerDamaged` if it is damaged, `SpoolUnusable` if it is
    no ledger.
    """

    def __init__(self, spool: Path, log_spool_id: bytes | None = None) -> None:
        self.path = spool / FILE_NAME
        self._lock = threading.Lock()
        self._log_spool_id = log_spool_id
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
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._db.close()
            # SQLite has classes of their own for all but "malformed" and "not a database".
            kind = LedgerDamaged if type(error) is sqlite3.DatabaseError else SpoolUnusable
            raise kind(f"{self.path} cannot be read as a ledger: {error}") from error
        except BaseException:
            self._db.close()
            raise
        # Always: whoever has made the file may have been killed before this.
        files.sync_directory(spool)
        meta = self._meta()
        self.writer_id = bytes(meta["writer_id"])
        """16 random bytes: who writes the frames of this spool."""
        self.spool_id = bytes(meta["spool_id"])
        """16 random bytes: whose acknowledgements these are."""
        self._sequence = int(meta["sequence"])
        self.last_frame_id = self._sequence
        """The highest that had been staged when the ledger was opened."""
        self.held = Held(self._transaction, _advance)
        """What it says of the quarantine."""
        self.was_rebuilt = bool(meta.get("rebuilt", 0))
        """It was lost once: frames from before bear another writer."""
        self.rebuild_needed = bool(meta.get("rebuild_needed", 0))
        """It was lost: what has landed is not known, so nothing may be uploaded and no entry of the log be let go."""

    @staticmethod
    def exists(spool: Path) -> bool:
        """Whether a ledger stands in the spool; opening would make an empty one if not."""
        return (spool / FILE_NAME).exists()

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
        """Closes the file; the ledger is not used afterwards."""
        with self._lock:
            self._db.close()

    # ------------------------------------------------------------------ frames on their way

    def next_frame_id(self) -> int:
        """A number that no frame of this writer has had. It counts as used once an intent with it is staged."""
        with self._lock:
            self._sequence += 1
            return self._sequence

    def stage(self, intent: Intent) -> None:
        """Writes down a frame that is about to be appended."""
        partition = intent.partition
        with self._transaction() as db:
            db.execute(
                f"INSERT INTO intents ({_INTENT_COLUMNS}) VALUES ({', '.join('?' * 16)})",
                (
                    intent.frame_id, intent.base, intent.part, intent.position, intent.header, intent.header_length,
                    intent.length, intent.checksum, intent.rows, intent.stream_key, partition.schema_id,
                    partition.start_hour, partition.boundary_minutes, intent.after.lsn, intent.after.row,
                    intent.created_ns,
                ),
            )  # fmt: skip
            db.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'sequence'", (intent.frame_id,))

    def intents(self) -> list[Intent]:
        """The open intents, oldest first."""
        with self._transaction() as db:
            rows = db.execute(f"SELECT {_INTENT_COLUMNS} FROM intents ORDER BY frame_id").fetchall()
        return [_intent(row) for row in rows]

    def intent(self, frame_id: int) -> Intent:
        """The open intent of this number, as it stands now. Raises `ValueError` if there is none."""
        with self._transaction() as db:
            row = db.execute(f"SELECT {_INTENT_COLUMNS} FROM intents WHERE frame_id = ?", (frame_id,)).fetchone()
        if row is None:
            raise ValueError(f"frame {frame_id} is not on its way")
        return _intent(row)

    def move(self, intent: Intent, position: int, now_ns: int) -> Intent:
        """The same frame goes to another position of the same blob, whose header is its own (or which is empty)."""
        with self._transaction() as db:
            db.execute("UPDATE intents SET position = ? WHERE frame_id = ?", (position, intent.frame_id))
            if position:
                _learn(db, intent.base, intent.part, intent.header, position, PartState.OPEN, "", now_ns)
            else:
                # The blob is gone or empty: what was known about it says nothing about the next one of its name.
                db.execute("DELETE FROM parts WHERE base = ? AND part = ?", (intent.base, intent.part))
        return replace(intent, position=position)

    def reassign(self, intent: Intent, left: Part, place: Place, now_ns: int) -> Intent:
        """The same frame goes to another part; `left` says what the one it leaves was found to be."""
        with self._transaction() as db:
            _learn(db, left.base, left.part, left.header, left.length, left.state, left.reason, now_ns)
            db.execute(
                "UPDATE intents SET part = ?, position = ? WHERE frame_id = ?",
                (place.part, place.position, intent.frame_id),
            )
        return replace(intent, part=place.part, position=place.position)

    def confirm(self, intent: Intent, end: int, blocks: int | None, now_ns: int) -> None:
        """The frame is in its blob, which is now at least `end` bytes long: cursor, part, totals and intent in one step.

        `blocks`: appends that the blob has seen, where the store said so. Confirming twice changes nothing.
        """
        partition = intent.partition
        where = (partition.schema_id, partition.start_hour, partition.boundary_minutes)
        with self._transaction() as db:
            if db.execute("DELETE FROM intents WHERE frame_id = ?", (intent.frame_id,)).rowcount == 0:
                return
            before = db.execute(
                "SELECT lsn, row FROM cursors WHERE schema_id = ? AND start_hour = ? AND boundary_minutes = ?", where
            ).fetchone()
            _advance(db, partition, intent.after, intent.rows)
            db.execute(
                "INSERT INTO landed VALUES (?, ?, ?, 1) ON CONFLICT (stream_key) DO UPDATE SET "
                "rows = rows + excluded.rows, bytes = bytes + excluded.bytes, frames = frames + 1",
                (intent.stream_key, intent.rows, intent.size),
            )
            _learn(db, intent.base, intent.part, intent.header, end, PartState.OPEN, "", now_ns)
            db.execute(
                "UPDATE parts SET appends = coalesce(?, appends + 1) WHERE base = ? AND part = ?",
                (blocks, intent.base, intent.part),
            )
            db.execute(
                f"INSERT INTO frames ({_FRAME_COLUMNS}) VALUES ({', '.join('?' * 14)})",
                (
                    intent.frame_id, intent.base, intent.part, intent.position, intent.size, intent.rows, *where,
                    *(before or (0, 0)), intent.after.lsn, intent.after.row, now_ns,
                ),
            )  # fmt: skip

    def parts(self, base: str) -> list[Part]:
        """What is known about the parts of a day, in their order."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT part, header, length, appends, state, reason FROM parts WHERE base = ? ORDER BY part",
                (base,),
            ).fetchall()
        return [Part(base, row[0], row[1], row[2], row[3], PartState(row[4]), row[5]) for row in rows]

    # ------------------------------------------------------------------ how far it all is

    def cursors(self) -> dict[Partition, Progress]:
        """Per partition, how far it has landed (or was quarantined)."""
        with self._transaction() as db:
            rows = db.execute("SELECT schema_id, start_hour, boundary_minutes, lsn, row, rows FROM cursors").fetchall()
        return {Partition(*row[:3]): Progress(Cursor(Lsn(row[3]), row[4]), row[5]) for row in rows}

    def quarantine(self, stream_key: str, partition: Partition, rows: int, reason: str, after: Cursor) -> None:
        """Rows that will never land are counted, and the cursor passes them."""
        with self._transaction() as db:
            _advance(db, partition, after, 0)
            db.execute(
                "INSERT INTO quarantined VALUES (?, ?, ?) ON CONFLICT (stream_key, reason) DO UPDATE SET "
                "rows = rows + excluded.rows",
                (stream_key, reason, rows),
            )

    def rebuilt(
        self, cursors: Mapping[Partition, Progress], landed: Mapping[str, int], given_up: Mapping[str, int]
    ) -> None:
        """What was found out about a lost ledger's rows: cursors, and rows per stream key landed and given up.

        All of it or nothing; from then on it is a ledger like any other.
        """
        with self._transaction() as db:
            for partition, progress in cursors.items():
                _advance(db, partition, progress.cursor, progress.rows)
            db.executemany("INSERT OR REPLACE INTO landed VALUES (?, ?, 0, 0)", landed.items())
            db.executemany(
                "INSERT INTO quarantined VALUES (?, 'rebuild', ?) ON CONFLICT (stream_key, reason) DO UPDATE SET "
                "rows = rows + excluded.rows",
                given_up.items(),
            )
            db.execute("DELETE FROM meta WHERE key = 'rebuild_needed'")
            if landed:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('rebuilt', 1)")
        self.was_rebuilt |= bool(landed)
        self.rebuild_needed = False

    def remember(self, key: str, value: bytes | int | str) -> None:
        """Keeps a fact under a key of the caller's."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def recall(self, key: str) -> bytes | int | str | None:
        """What was last remembered under this key."""
        with self._transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def landed_totals(self) -> dict[str, StreamTotals]:
        """Per stream key, what has landed."""
        with self._transaction() as db:
            rows = db.execute("SELECT stream_key, rows, bytes, frames FROM landed").fetchall()
        return {key: StreamTotals(*rest) for key, *rest in rows}

    def quarantined_totals(self) -> dict[tuple[str, str], int]:
        """Per stream key and reason, the rows in quarantine."""
        with self._transaction() as db:
            rows = db.execute("SELECT stream_key, reason, rows FROM quarantined").fetchall()
        return {(key, reason): count for key, reason, count in rows}

    def forget_cursors(self, before: Lsn) -> int:
        """Drops the cursors before `before`, where the log has no more entries. Returns how many.

        The caller must not hold entries of such a partition. The floor of later positions stays.
        """
        with self._transaction() as db:
            _raise_floor(db)
            # Not above the floor, so that a log that is begun anew never has entries before it.
            db.execute(
                "INSERT INTO meta SELECT 'forgotten', min(?, value) FROM meta WHERE key = 'lsn_floor' "
                "ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                (before,),
            )
            return db.execute("DELETE FROM cursors WHERE lsn < ?", (before,)).rowcount

    def forgotten(self) -> Lsn:
        """What the log may still hold before this has landed, though no cursor says so any more."""
        return Lsn(int(self._meta().get("forgotten", 0)))

    def lsn_floor(self) -> Lsn:
        """The highest position of the log that the ledger names or has ever named; the next start begins above it."""
        with self._transaction() as db:
            _raise_floor(db)
            return Lsn(db.execute("SELECT value FROM meta WHERE key = 'lsn_floor'").fetchone()[0])

    # ------------------------------------------------------------------ what came in

    def checkpoint(
        self,
        lsn: Lsn,
        clients: Iterable[ClientMark],
        dropped: Iterable[DroppedRows] = (),
        counts: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        """What the log has said before `lsn`, so that its segments may go: marks, and cumulative counts.

        Marks never go back. `counts` is per stream key and name, such as `received`; counts and drops replace what is
        there.
        """
        with self._transaction() as db:
            db.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'checkpoint'", (lsn,))
            db.executemany(
                "INSERT INTO clients VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "mark = max(mark, excluded.mark), seen_ns = max(seen_ns, excluded.seen_ns)",
                ((client.client, client.mark, client.seen_ns) for client in clients),
            )
            db.executemany(
                "INSERT OR REPLACE INTO dropped VALUES (?, ?, ?, ?)",
                ((drop.client, drop.stream_key, drop.reason, drop.rows) for drop in dropped),
            )
            db.executemany(
                "INSERT OR REPLACE INTO counts VALUES (?, ?, ?)",
                ((key, name, rows) for (key, name), rows in (counts or {}).items()),
            )

    def clients(self) -> list[ClientMark]:
        """The marks of the last checkpoint."""
        with self._transaction() as db:
            return [ClientMark(*row) for row in db.execute("SELECT id, mark, seen_ns FROM clients").fetchall()]

    def dropped(self) -> list[DroppedRows]:
        """What clients have dropped themselves, as of the last checkpoint. Client id `b""` holds those long forgotten."""
        with self._transaction() as db:
            rows = db.execute("SELECT client, stream_key, reason, rows FROM dropped").fetchall()
        return [DroppedRows(*row) for row in rows]

    def counts(self) -> dict[tuple[str, str], int]:
        """The counts of the last checkpoint, per stream key and name."""
        with self._transaction() as db:
            rows = db.execute("SELECT stream_key, name, rows FROM counts").fetchall()
        return {(key, name): count for key, name, count in rows}

    def forget_clients(self, seen_before_ns: int) -> int:
        """Drops the marks of clients not heard since; what they dropped stays in the books. Returns how many."""
        with self._transaction() as db:
            gone = db.execute("SELECT id FROM clients WHERE seen_ns < ?", (seen_before_ns,)).fetchall()
            for (client,) in gone:
                db.execute(
                    "INSERT INTO dropped SELECT x'', stream_key, reason, rows FROM dropped WHERE client = ? "
                    "ON CONFLICT (client, stream_key, reason) DO UPDATE SET rows = rows + excluded.rows",
                    (client,),
                )
                db.execute("DELETE FROM dropped WHERE client = ?", (client,))
                db.execute("DELETE FROM clients WHERE id = ?", (client,))
            return len(gone)

    # ------------------------------------------------------------------ looking back

    def frames(self, partition: Partition) -> list[LandedFrame]:
        """The frames of a partition that are still remembered, oldest first."""
        where = (partition.schema_id, partition.start_hour, partition.boundary_minutes)
        with self._transaction() as db:
            rows = db.execute(
                f"SELECT {_FRAME_COLUMNS} FROM frames WHERE schema_id = ? AND start_hour = ? AND boundary_minutes = ? "
                "ORDER BY frame_id",
                where,
            ).fetchall()
        return [
            LandedFrame(
                frame_id=row[0], base=row[1], part=row[2], position=row[3], length=row[4], rows=row[5],
                partition=Partition(*row[6:9]), before=Cursor(Lsn(row[9]), row[10]),
                after=Cursor(Lsn(row[11]), row[12]), landed_ns=row[13],
            )
            for row in rows
        ]  # fmt: skip

    def prune(self, keep_frames: int, parts_before_ns: int) -> None:
        """Bounds the file: keeps the last `keep_frames` frames, forgets parts not touched since (they are found again)."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM frames WHERE frame_id <= "
                "(SELECT frame_id FROM frames ORDER BY frame_id DESC LIMIT 1 OFFSET ?)",
                (keep_frames,),
            )
            db.execute(
                "DELETE FROM parts WHERE base IN (SELECT base FROM parts GROUP BY base HAVING max(touched_ns) < ?) "
                "AND base NOT IN (SELECT base FROM intents)",
                (parts_before_ns,),
            )

    # ------------------------------------------------------------------ the file

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA busy_timeout = 5000")
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise FormatTooNew(f"{self.path} has format {version}; this version knows up to {VERSION}")
        ours = version == VERSION and db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not ours and (version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
            raise SpoolUnusable(f"{self.path} is a database, but not a ledger of collectord")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if ours:
            wrong = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if wrong != "ok":
                raise LedgerDamaged(f"{self.path} contradicts itself: {wrong}")
            return
        meta = {
            "writer_id": secrets.token_bytes(16), "spool_id": secrets.token_bytes(16),
            "sequence": 0, "lsn_floor": 0, "checkpoint": 0,
        }  # fmt: skip
        if self._log_spool_id is not None:
            meta |= {"spool_id": self._log_spool_id or meta["spool_id"], "rebuild_needed": 1}
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")

    def _meta(self) -> dict[str, bytes | int]:
        with self._transaction() as db:
            return dict(db.execute("SELECT key, value FROM meta").fetchall())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, or nothing; durable when left."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                if "full" in str(error):
                    raise SpoolFull(f"the ledger {self.path} has no room to grow") from error
                raise SpoolUnusable(f"the ledger {self.path} cannot be used: {error}") from error
            except sqlite3.DatabaseError as error:
                raise SpoolUnusable(f"the ledger {self.path} cannot be used: {error}") from error


def _intent(row: Sequence[Any]) -> Intent:
    return Intent(
        frame_id=row[0], base=row[1], part=row[2], position=row[3], header=row[4], header_length=row[5],
        length=row[6], checksum=row[7], rows=row[8], stream_key=row[9], partition=Partition(row[10], row[11], row[12]),
        after=Cursor(Lsn(row[13]), row[14]), created_ns=row[15],
    )  # fmt: skip


def _advance(db: sqlite3.Connection, partition: Partition, after: Cursor, rows: int) -> None:
    db.execute(
        "INSERT INTO cursors VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (schema_id, start_hour, boundary_minutes) DO UPDATE "
        "SET lsn = excluded.lsn, row = excluded.row, rows = rows + excluded.rows",
        (partition.schema_id, partition.start_hour, partition.boundary_minutes, after.lsn, after.row, rows),
    )


def _learn(
    db: sqlite3.Connection, base: str, part: int, header: bytes | None, length: int, state: PartState, reason: str,
    now_ns: int,
) -> None:  # fmt: skip
    db.execute(
        "INSERT INTO parts VALUES (?, ?, ?, ?, 0, ?, ?, ?) ON CONFLICT (base, part) DO UPDATE SET "
        "header = excluded.header, length = excluded.length, state = excluded.state, reason = excluded.reason, "
        "touched_ns = excluded.touched_ns",
        (base, part, header, length, state.value, reason, now_ns),
    )


def _raise_floor(db: sqlite3.Connection) -> None:
    db.execute(
        "UPDATE meta SET value = max(value, coalesce((SELECT max(lsn) FROM cursors), 0), "
        "coalesce((SELECT max(after_lsn) FROM intents), 0), (SELECT value FROM meta WHERE key = 'checkpoint')) "
        "WHERE key = 'lsn_floor'"
    )
