"""What verifications found: one row for each partition and mode, the latest in place of the one before.

Rule: a row is one JSON text of its writer's; this room does not look into it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.state.store import Store


class VerificationRow(NamedTuple):
    """What one partition's verification in one mode found."""

    topic: str
    partition: int
    mode: str
    document: str


class VerificationBook:
    """The verifications of one migration, in its store. Many threads may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self, mode: str | None = None) -> list[VerificationRow]:
        """All that is kept, or of one mode, in the order of topic and partition."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT topic, partition, mode, document FROM verification WHERE ? IS NULL OR mode = ?"
                " ORDER BY topic, partition, mode",
                (mode, mode),
            ).fetchall()
        return [VerificationRow(*row) for row in rows]

    def save(self, rows: Iterable[VerificationRow]) -> None:
        """Keeps these, all or none; others stay as they are."""
        with self._store.writing() as db:
            db.executemany("INSERT OR REPLACE INTO verification VALUES (?, ?, ?, ?)", list(rows))
