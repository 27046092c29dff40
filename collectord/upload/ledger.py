"""The daemon's books: what has landed, what is about to, and who has been heard. `docs/formats/ledger.md` describes them.

One SQLite file in the spool. Every change is one transaction, durable when the method returns: after a crash the
ledger is as it was after some prefix of the calls, the last call included if it returned.

Threads: all methods may be called from any. Raises `SpoolFull` where the disk is full (nothing was changed),
`SpoolUnusable` where the file cannot be read or written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from collectord.model import Cursor, Lsn, Partition
from collectord.upload import tables
from collectord.upload.database import Database
from collectord.upload.exported import Exported
from collectord.upload.held import Held, HeldItem, hold
from collectord.upload.records import ClientMark, DroppedRows, Intent, Progress, StreamTotals
from collectord.upload.rollover import Part, PartState, Place

PARKED = "parked"
"""Key of the bases of the parked files."""


def parked_bases(noted: bytes | int | str | None) -> frozenset[Lsn]:
    """What stands under `PARKED`; nothing if nothing does."""
    return frozenset(Lsn(int(base)) for base in str(noted or "").split())


def peek_parked(spool: Path) -> frozenset[Lsn]:
    """The bases of the parked files that the ledger of a spool has noted, whoever has it open. Empty where it cannot be read."""
    return parked_bases(Database.peek(spool, PARKED))


def peek_spool_id(spool: Path) -> bytes | None:
    """The spool's id as its ledger has it, whoever has it open. None where it cannot be read."""
    found = Database.peek(spool, "spool_id")
    return found if isinstance(found, bytes) else None


def peek_needed_from(spool: Path) -> Lsn | None:
    """`Ledger.needed_from` of a spool, whoever has it open. None where it cannot be read, too."""
    checkpoint = Database.peek(spool, "checkpoint")
    begun_anew = Database.peek(spool, "rebuild_needed") or Database.peek(spool, "rebuilt")
    return None if checkpoint is None else _needed_from(int(checkpoint), bool(begun_anew))


def _needed_from(checkpoint: int, begun_anew: bool) -> Lsn | None:
    return None if begun_anew and not checkpoint else Lsn(checkpoint)


class Ledger:
    """The books of one spool. Opens the file in `spool`, creating it (mode 0600) if it is absent.

    `log_spool_id` is the id that a log beside it names, empty if its segments do not tell, None if there is no log. A
    ledger that has to be created beside a log was lost: it takes this id, and `rebuild_needed` until `rebuilt`.

    Raises `FormatTooNew` if a later version has written it, `LedgerDamaged` if it is damaged, `SpoolUnusable` if it is
    no ledger.
    """

    def __init__(self, spool: Path, log_spool_id: bytes | None = None) -> None:
        self._database = Database(spool, log_spool_id)
        self.path = self._database.path
        self._lock = threading.Lock()
        """Guards the number of the next frame."""
        with self._database.transaction() as db:
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        self.writer_id = bytes(meta["writer_id"])
        """16 random bytes: who writes the frames of this spool."""
        self.spool_id = bytes(meta["spool_id"])
        """16 random bytes: whose acknowledgements these are."""
        self._sequence = int(meta["sequence"])
        self.held = Held(self._database)
        """What it says of the quarantine."""
        self.exported = Exported(self._database)
        """What it says of the exporters."""
        self.was_rebuilt = bool(meta.get("rebuilt", 0))
        """It was lost once: frames from before bear another writer."""
        self.rebuild_needed = bool(meta.get("rebuild_needed", 0))
        """It was lost: what has landed is not known, so nothing may be uploaded and no entry of the log be let go."""

    def close(self) -> None:
        """Closes the file; the ledger is not used afterwards."""
        self._database.close()

    # ------------------------------------------------------------------ frames on their way

    def next_frame_id(self) -> int:
        """A number that no frame of this writer has had. It counts as used once an intent with it is staged."""
        with self._lock:
            self._sequence += 1
            return self._sequence

    def stage(self, intent: Intent) -> None:
        """Writes down a frame that is about to be appended."""
        with self._database.transaction() as db:
            db.execute(f"INSERT INTO intents ({Intent.COLUMNS}) VALUES ({', '.join('?' * 16)})", intent.row())
            db.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'sequence'", (intent.frame_id,))

    def intents(self) -> list[Intent]:
        """The open intents, oldest first."""
        with self._database.transaction() as db:
            rows = db.execute(f"SELECT {Intent.COLUMNS} FROM intents ORDER BY frame_id").fetchall()
        return [Intent.of_row(row) for row in rows]

    def intent(self, frame_id: int) -> Intent:
        """The open intent of this number, as it stands now. Raises `ValueError` if there is none."""
        rows = self._database.query(f"SELECT {Intent.COLUMNS} FROM intents WHERE frame_id = ?", (frame_id,))
        if not rows:
            raise ValueError(f"frame {frame_id} is not on its way")
        return Intent.of_row(rows[0])

    def move(self, intent: Intent, position: int, now_ns: int) -> Intent:
        """The same frame goes to another position of the same blob, whose header is its own (or which is empty)."""
        with self._database.transaction() as db:
            db.execute("UPDATE intents SET position = ? WHERE frame_id = ?", (position, intent.frame_id))
            if position:
                tables.learn(db, intent.base, intent.part, intent.header, position, PartState.OPEN, "", now_ns)
            else:
                # The blob is gone or empty: what was known about it says nothing about the next one of its name.
                db.execute("DELETE FROM parts WHERE base = ? AND part = ?", (intent.base, intent.part))
        return replace(intent, position=position)

    def reassign(self, intent: Intent, left: Part, place: Place, now_ns: int) -> Intent:
        """The same frame goes to another part; `left` says what the one it leaves was found to be."""
        with self._database.transaction() as db:
            tables.learn(db, left.base, left.part, left.header, left.length, left.state, left.reason, now_ns)
            db.execute(
                "UPDATE intents SET part = ?, position = ? WHERE frame_id = ?",
                (place.part, place.position, intent.frame_id),
            )
        return replace(intent, part=place.part, position=place.position)

    def confirm(self, intent: Intent, end: int, blocks: int | None, now_ns: int) -> None:
        """The frame is in its blob, which is now at least `end` bytes long: cursor, part, totals and intent in one step.

        `blocks`: appends that the blob has seen, where the store said so. Confirming twice changes nothing.
        """
        with self._database.transaction() as db:
            if db.execute("DELETE FROM intents WHERE frame_id = ?", (intent.frame_id,)).rowcount == 0:
                return
            tables.advance(db, intent.partition, intent.after, intent.rows)
            db.execute(
                "INSERT INTO landed VALUES (?, ?, ?, 1) ON CONFLICT (stream_key) DO UPDATE SET "
                "rows = rows + excluded.rows, bytes = bytes + excluded.bytes, frames = frames + 1",
                (intent.stream_key, intent.rows, intent.size),
            )
            tables.learn(db, intent.base, intent.part, intent.header, end, PartState.OPEN, "", now_ns)
            db.execute(
                "UPDATE parts SET appends = coalesce(?, appends + 1) WHERE base = ? AND part = ?",
                (blocks, intent.base, intent.part),
            )

    def parts(self, base: str) -> list[Part]:
        """What is known about the parts of a day, in their order."""
        rows = self._database.query(
            "SELECT part, header, length, appends, state, reason FROM parts WHERE base = ? ORDER BY part", (base,)
        )
        return [Part(base, row[0], row[1], row[2], row[3], PartState(row[4]), row[5]) for row in rows]

    # ------------------------------------------------------------------ how far it all is

    def cursors(self) -> dict[Partition, Progress]:
        """Per partition, how far it has landed (or was quarantined)."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT schema_id, start_hour, boundary_minutes, lsn, row, rows FROM cursors").fetchall()
        return {Partition(*row[:3]): Progress(Cursor(Lsn(row[3]), row[4]), row[5]) for row in rows}

    def quarantine(self, stream_key: str, partition: Partition, rows: int, reason: str, after: Cursor) -> None:
        """Rows that will never land are counted, and the cursor passes them."""
        with self._database.transaction() as db:
            tables.advance(db, partition, after, 0)
            tables.quarantine(db, stream_key, reason, rows)

    def rebuilt(
        self,
        cursors: Mapping[Partition, Progress],
        landed: Mapping[str, int],
        given_up: Mapping[str, int],
        held: Iterable[HeldItem] = (),
        torn: Iterable[Part] = (),
        now_ns: int = 0,
    ) -> None:
        """What was found out about a lost ledger's rows: cursors, rows per stream key landed and given up, the items of
        the quarantine whose rows the cursors pass, and parts to be left alone.

        All of it or nothing; from then on it is a ledger like any other.
        """
        with self._database.transaction() as db:
            for partition, progress in cursors.items():
                tables.advance(db, partition, progress.cursor, progress.rows)
            db.executemany("INSERT OR REPLACE INTO landed VALUES (?, ?, 0, 0)", landed.items())
            for stream_key, rows in given_up.items():
                tables.quarantine(db, stream_key, "rebuild", rows)
            for item in held:
                hold(db, item)
            for part in torn:
                tables.learn(db, part.base, part.part, part.header, part.length, part.state, part.reason, now_ns)
            db.execute("DELETE FROM meta WHERE key = 'rebuild_needed'")
            if landed:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('rebuilt', 1)")
        self.was_rebuilt |= bool(landed)
        self.rebuild_needed = False

    def remember(self, key: str, value: bytes | int | str) -> None:
        """Keeps a fact under a key of the caller's."""
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def recall(self, key: str) -> bytes | int | str | None:
        """What was last remembered under this key."""
        with self._database.transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def note_parked(self, bases: Iterable[Lsn]) -> None:
        """Which parked files there are. Noted before a segment goes because of one, and before one goes itself: a file that is
        noted and not there was taken away by somebody else."""
        self.remember(PARKED, " ".join(map(str, sorted(bases))))

    def parked(self) -> frozenset[Lsn]:
        """The bases of these files."""
        return parked_bases(self.recall(PARKED))

    def landed_totals(self) -> dict[str, StreamTotals]:
        """Per stream key, what has landed."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT stream_key, rows, bytes, frames FROM landed").fetchall()
        return {key: StreamTotals(*rest) for key, *rest in rows}

    def quarantined_totals(self) -> dict[tuple[str, str], int]:
        """Per stream key and reason, the rows in quarantine."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT stream_key, reason, rows FROM quarantined").fetchall()
        return {(key, reason): count for key, reason, count in rows}

    def forget_cursors(self, before: Lsn) -> int:
        """Drops the cursors before `before`, where the log has no more entries. Returns how many.

        The caller must not hold entries of such a partition. The floor of later positions stays.
        """
        with self._database.transaction() as db:
            tables.raise_floor(db)
            # Not above the floor, so that a log that is begun anew never has entries before it.
            db.execute(
                "INSERT INTO meta SELECT 'forgotten', min(?, value) FROM meta WHERE key = 'lsn_floor' "
                "ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                (before,),
            )
            return db.execute("DELETE FROM cursors WHERE lsn < ?", (before,)).rowcount

    def forgotten(self) -> Lsn:
        """What the log may still hold before this has landed, though no cursor says so any more."""
        return Lsn(int(self.recall("forgotten") or 0))

    def lsn_floor(self) -> Lsn:
        """The highest position of the log that the ledger names or has ever named; the next start begins above it."""
        with self._database.transaction() as db:
            tables.raise_floor(db)
            return Lsn(db.execute("SELECT value FROM meta WHERE key = 'lsn_floor'").fetchone()[0])

    def needed_from(self) -> Lsn | None:
        """Before it nothing of the log is needed any more; from there on segments have to be there. None: a ledger that was begun
        anew, because the one before it was lost, has not said it yet."""
        return _needed_from(int(self.recall("checkpoint") or 0), self.rebuild_needed or self.was_rebuilt)

    # ------------------------------------------------------------------ what came in

    def checkpoint(
        self,
        lsn: Lsn,
        clients: Iterable[ClientMark],
        dropped: Iterable[DroppedRows] = (),
        counts: Mapping[tuple[str, str], int] | None = None,
        gone: Iterable[bytes] = (),
    ) -> None:
        """What the log has said before `lsn`, so that its segments may go: marks, and cumulative counts.

        Marks never go back. `counts` is per stream key and name, such as `received`; counts and drops replace what is
        there. `gone` are clients that never dropped anything and need not be remembered.
        """
        with self._database.transaction() as db:
            db.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'checkpoint'", (lsn,))
            db.executemany(
                "INSERT INTO clients VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "mark = max(mark, excluded.mark), seen_ns = max(seen_ns, excluded.seen_ns)",
                ((client.client, client.mark, client.seen_ns) for client in clients),
            )
            db.executemany("DELETE FROM clients WHERE id = ?", ((client,) for client in gone))
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
        with self._database.transaction() as db:
            return [ClientMark(*row) for row in db.execute("SELECT id, mark, seen_ns FROM clients").fetchall()]

    def dropped(self) -> list[DroppedRows]:
        """What clients have dropped themselves, as of the last checkpoint. Client id `b""` holds those long forgotten."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT client, stream_key, reason, rows FROM dropped").fetchall()
        return [DroppedRows(*row) for row in rows]

    def counts(self) -> dict[tuple[str, str], int]:
        """The counts of the last checkpoint, per stream key and name."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT stream_key, name, rows FROM counts").fetchall()
        return {(key, name): count for key, name, count in rows}

    def forget_clients(self, seen_before_ns: int, connected: frozenset[bytes] = frozenset()) -> int:
        """Drops the marks of clients not heard since, but of those `connected`; what they dropped stays in the books. Returns how
        many."""
        with self._database.transaction() as db:
            silent = db.execute("SELECT id FROM clients WHERE seen_ns < ?", (seen_before_ns,)).fetchall()
            # Whoever is connected goes on with the running totals and the mark that are remembered of him.
            gone = [client for (client,) in silent if client not in connected]
            for client in gone:
                db.execute(
                    "INSERT INTO dropped SELECT x'', stream_key, reason, rows FROM dropped WHERE client = ? "
                    "ON CONFLICT (client, stream_key, reason) DO UPDATE SET rows = rows + excluded.rows",
                    (client,),
                )
                db.execute("DELETE FROM dropped WHERE client = ?", (client,))
                db.execute("DELETE FROM clients WHERE id = ?", (client,))
            return len(gone)

    # ------------------------------------------------------------------ forgetting

    def prune(self, parts_before_ns: int) -> None:
        """Bounds the file: forgets parts not touched since, which are found again, and what 0.1.0 wrote of landed frames."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM frames")
            db.execute(
                "DELETE FROM parts WHERE base IN (SELECT base FROM parts GROUP BY base HAVING max(touched_ns) < ?) "
                "AND base NOT IN (SELECT base FROM intents)",
                (parts_before_ns,),
            )
