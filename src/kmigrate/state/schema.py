"""The database's tables, their version, and what a database that cannot be used is told as.

Rule: a version is never changed once released; a new one is one more step in `STEPS`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from kmigrate.errors import KmigrateError

APPLICATION_ID = 0x6B6D6967
"""Written into the file's head, so that another program's database is not taken for ours."""

JOURNAL_HEAD = "journal.head"
"""The fact that keeps number and hash of the journal's last entry."""
NOT_CHAINED = "not chained"
"""Its value from the step that gave entries a hash until the store chains them, once."""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE fact (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE remembered (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        source_topic_id TEXT NOT NULL,
        target_topic_id TEXT NOT NULL,
        source_epoch INTEGER NOT NULL,
        appended INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)
    ) WITHOUT ROWID;
    CREATE TABLE journal (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE TABLE status (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        document TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE hold (
        topic TEXT PRIMARY KEY,
        origin TEXT NOT NULL,
        settings TEXT,
        since_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE effects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('planned', 'done')),
        planned_at_ms INTEGER NOT NULL,
        done_at_ms INTEGER
    );
    """,
    """
    CREATE TABLE offset_class (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        class TEXT NOT NULL,
        PRIMARY KEY (topic, partition)
    ) WITHOUT ROWID;
    CREATE TABLE offset_runs (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        first INTEGER NOT NULL,
        runs BLOB NOT NULL,
        PRIMARY KEY (topic, partition, first)
    );
    """,
    """
    CREATE TABLE beginning (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        source_topic_id TEXT NOT NULL,
        start INTEGER,
        filler INTEGER,
        PRIMARY KEY (topic, partition)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE remembered ADD COLUMN even_ms INTEGER NOT NULL DEFAULT -1;
    ALTER TABLE remembered ADD COLUMN retention_ms INTEGER;
    """,
    """
    CREATE TABLE consumer_group (
        group_id TEXT PRIMARY KEY,
        moved_reason TEXT,
        moved_ms INTEGER,
        released INTEGER NOT NULL,
        refreshed_ms INTEGER NOT NULL,
        written TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE group_reset (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        group_id TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        payload TEXT NOT NULL,
        undone_ms INTEGER
    );
    CREATE TABLE group_list (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        document TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE verification (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        mode TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (topic, partition, mode)
    ) WITHOUT ROWID;
    """,
    f"""
    ALTER TABLE journal ADD COLUMN hash TEXT NOT NULL DEFAULT '';
    INSERT OR REPLACE INTO fact VALUES ('{JOURNAL_HEAD}', '{NOT_CHAINED}');
    """,
    """
    ALTER TABLE beginning ADD COLUMN own_from INTEGER;
    """,
    """
    CREATE TABLE late_partition (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        source_topic_id TEXT NOT NULL,
        target_topic_id TEXT NOT NULL,
        source_from INTEGER NOT NULL,
        target_from INTEGER NOT NULL,
        until INTEGER,
        PRIMARY KEY (topic, partition)
    ) WITHOUT ROWID;
    CREATE TABLE late_batch (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        number INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        source_from INTEGER NOT NULL,
        source_next INTEGER NOT NULL,
        records INTEGER NOT NULL,
        target_base INTEGER,
        compared INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (topic, partition, number)
    ) WITHOUT ROWID;
    """,
    "",  # effects may be withdrawn, and late records given up: what was there before would take that for damage
)
"""What leads from each version to the next one; their number is the version this program writes."""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Brings a database to this program's version; raises KmigrateError if it is newer, foreign, damaged."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version > len(STEPS):
        raise KmigrateError(
            f"{path} was written by a newer kmigrate (schema {version}, this one knows {len(STEPS)})",
            hint="run the newer kmigrate with this state folder",
        )
    if tables and owner != APPLICATION_ID:
        raise KmigrateError(f"{path} is the database of another program", hint="choose another folder with --state")
    finding: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise damaged(path, finding)
    for number, step in enumerate(STEPS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def damaged(path: Path, finding: str) -> KmigrateError:
    """The error for a file that SQLite cannot read."""
    return KmigrateError(
        f"{path} is damaged: {finding}",
        hint="restore it from a backup, or move it away with its -wal and -shm files and run again: "
        "the state is recovered from its mirror on the target; without one, positions are read from the target, and"
        " partitions that cannot be proven stop as STATE_LOST",
    )
