"""The ledger's tables, and what several of its changes write into them: `docs/formats/ledger.md`.

Every function here is a part of a transaction that its caller has begun (`database.py`).
"""

from __future__ import annotations

import sqlite3

from collectord.model import Cursor, Partition
from collectord.upload.records import columns_of
from collectord.upload.rollover import PartState

# `frames` is for 0.1.0 alone, which writes into it, and cannot do without after a downgrade.
SCHEMA = """
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

ADDED = """CREATE TABLE IF NOT EXISTS held (
    id BLOB PRIMARY KEY, stream_key TEXT NOT NULL, reason TEXT NOT NULL, rows INTEGER NOT NULL,
    entries INTEGER NOT NULL, again INTEGER NOT NULL, gone INTEGER NOT NULL) WITHOUT ROWID"""
"""What the first ledgers did not have."""

EXPORTS = """CREATE TABLE IF NOT EXISTS exports (
    name TEXT PRIMARY KEY, lsn INTEGER NOT NULL, row INTEGER NOT NULL, left_over BLOB NOT NULL, marks BLOB NOT NULL,
    delivered INTEGER NOT NULL, refused INTEGER NOT NULL, expired INTEGER NOT NULL, doubtful INTEGER NOT NULL) WITHOUT ROWID"""
"""Nor this."""


def advance(db: sqlite3.Connection, partition: Partition, after: Cursor, rows: int) -> None:
    """The cursor of a partition moves, and so many rows more have landed."""
    db.execute(
        "INSERT INTO cursors VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (schema_id, start_hour, boundary_minutes) DO UPDATE "
        "SET lsn = excluded.lsn, row = excluded.row, rows = rows + excluded.rows",
        (*columns_of(partition), after.lsn, after.row, rows),
    )


def learn(
    db: sqlite3.Connection, base: str, part: int, header: bytes | None, length: int, state: PartState, reason: str,
    now_ns: int,
) -> None:  # fmt: skip
    """What a part was found to be; how many appends it has seen stays."""
    db.execute(
        "INSERT INTO parts VALUES (?, ?, ?, ?, 0, ?, ?, ?) ON CONFLICT (base, part) DO UPDATE SET "
        "header = excluded.header, length = excluded.length, state = excluded.state, reason = excluded.reason, "
        "touched_ns = excluded.touched_ns",
        (base, part, header, length, state.value, reason, now_ns),
    )


def quarantine(db: sqlite3.Connection, stream_key: str, reason: str, rows: int) -> None:
    """So many rows more are in quarantine for this reason."""
    db.execute(
        "INSERT INTO quarantined VALUES (?, ?, ?) ON CONFLICT (stream_key, reason) DO UPDATE SET "
        "rows = rows + excluded.rows",
        (stream_key, reason, rows),
    )


def raise_floor(db: sqlite3.Connection) -> None:
    """Brings `lsn_floor` up to the highest position of the log that any table names."""
    db.execute(
        "UPDATE meta SET value = max(value, coalesce((SELECT max(lsn) FROM cursors), 0), "
        "coalesce((SELECT max(after_lsn) FROM intents), 0), coalesce((SELECT max(lsn) FROM exports), 0), (SELECT value FROM meta WHERE key = 'checkpoint')) "
        "WHERE key = 'lsn_floor'"
    )
