"""The store keeps a migration's memory in SQLite: facts, remembered positions, the journal, the last status.

Rule: what is returned from is on the disk (WAL, synchronous=FULL), so a decision can be acted on afterwards.
Several threads of the one process that owns the folder may use a store; a lock makes them take turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kmigrate.copy.orders import Remembered
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.state.schema import damaged, prepare

FILE_NAME = "state.db"
_BUSY_SECONDS = 5.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One decision: when it was made, of which kind, and what was decided."""

    number: int
    at_ms: int
    kind: str
    detail: Mapping[str, object]


class Store:
    """One migration's database, open; made by `Store.open`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, is_new: bool, wall_ms: Callable[[], int]) -> None:
        self.path = path
        self.is_new = is_new
        """Whether the database did not exist before it was opened."""
        self._connection = connection
        self._wall_ms = wall_ms
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: Path, *, wall_ms: Callable[[], int] = _wall_ms) -> Self:
        """Opens the database in the folder, and creates it if there is none.

        Raises KmigrateError if it is damaged, foreign or newer than this program.
        """
        path = folder / FILE_NAME
        is_new = not path.exists()
        connection: sqlite3.Connection | None = None
        with _translated(path):
            try:
                if is_new:
                    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
                connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                prepare(connection, path)
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
        return cls(connection, path, is_new=is_new, wall_ms=wall_ms)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds a database."""
        return (folder / FILE_NAME).exists()

    def get(self, key: str) -> str | None:
        """The value of a fact; None if there is none."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        """Sets a fact."""
        with self._writing() as db:
            _put(db, {key: value})

    def remembered(self) -> dict[TopicPartition, Remembered]:
        """What is remembered of every partition."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT topic, partition, source_topic_id, target_topic_id, source_epoch, appended FROM remembered"
            ).fetchall()
        return {
            TopicPartition(TopicName(topic), Partition(partition)): Remembered(
                TopicId(source_id), TopicId(target_id), LeaderEpoch(epoch), Offset(appended)
            )
            for topic, partition, source_id, target_id, epoch, appended in rows
        }

    def remember(self, memories: Mapping[TopicPartition, Remembered]) -> None:
        """Remembers these partitions, all or none; others stay as they are."""
        if not memories:
            return
        with self._writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?, ?)",
                [(*partition, *memory) for partition, memory in memories.items()],
            )

    def forget(self, topic: str) -> None:
        """Forgets every partition of a topic."""
        with self._writing() as db:
            db.execute("DELETE FROM remembered WHERE topic = ?", (topic,))

    def decide(self, kind: str, detail: Mapping[str, object], *, facts: Mapping[str, str] | None = None) -> int:
        """Appends to the journal and sets the facts that changed, both or none; returns the number."""
        with self._writing() as db:
            cursor = db.execute(
                "INSERT INTO journal (at_ms, kind, detail) VALUES (?, ?, ?)",
                (self._wall_ms(), kind, json.dumps(detail, ensure_ascii=False)),
            )
            _put(db, facts or {})
        return cursor.lastrowid or 0

    def journal(self, limit: int = 100) -> list[JournalEntry]:
        """The latest decisions, newest first."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT number, at_ms, kind, detail FROM journal ORDER BY number DESC LIMIT ?", (limit,)
            ).fetchall()
        return [
            JournalEntry(number=number, at_ms=at_ms, kind=kind, detail=json.loads(detail))
            for number, at_ms, kind, detail in rows
        ]

    def save_status(self, document: str) -> None:
        """Keeps the status document's JSON in place of the one before."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO status VALUES (1, ?)", (document,))

    def load_status(self) -> str | None:
        """The JSON of the last status document; None if there was none."""
        with self._reading() as db:
            row = db.execute("SELECT document FROM status").fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Closes the database; safe to call twice."""
        with self._lock, _translated(self.path):
            self._connection.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self.path):
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _put(db: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", list(facts.items()))


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turns what SQLite and the file system raise into errors that say what to do."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.ProgrammingError, OSError) as error:
        raise KmigrateError(
            f"cannot use {path}: {error}",
            hint="look at the folder's rights and its disk's free space, or choose another with --state",
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error
