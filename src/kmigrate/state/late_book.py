"""The late book keeps what of late records was decided, and where each batch lies on the target, in the store.

Rule: what returned is on the disk. A batch is here before it is sent; a decision that was given up is replaced by the
next one, which has its number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmigrate.kafka_types import Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.late.values import NOTHING, Batch, Handover, Kept
from kmigrate.state.store import Store

_OF_PARTITION = "source_topic_id, target_topic_id, source_from, target_from, until"
_COLUMNS = "number, sequence, source_from, source_next, records, target_base"


class LateBook:
    """The late records of one migration, in its store. Many threads may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> dict[TopicPartition, Kept]:
        """Every partition of which records are, or were, late."""
        with self._store.reading() as db:
            rows = db.execute(f"SELECT topic, partition, {_OF_PARTITION} FROM late_partition").fetchall()
            found: dict[TopicPartition, Kept] = {}
            for topic, number, *row in rows:
                tp = TopicPartition(TopicName(topic), Partition(number))
                batches = [
                    _batch(row)
                    for row in db.execute(
                        f"SELECT {_COLUMNS} FROM late_batch WHERE topic = ? AND partition = ?"
                        " ORDER BY number DESC LIMIT 2",
                        tuple(tp),
                    )
                ]
                (landed,) = db.execute(
                    "SELECT total(records) FROM late_batch WHERE topic = ? AND partition = ?"
                    " AND target_base IS NOT NULL",
                    tuple(tp),
                ).fetchone()
                found[tp] = Kept(
                    _handover(row),
                    next((each for each in batches if each.target_base is not None), None),
                    next((each for each in batches if each.target_base is None), None),
                    int(landed),
                )
        return found

    def open(self, handovers: Mapping[TopicPartition, Handover]) -> dict[TopicPartition, Handover]:
        """Records of these partitions are late from there on; returns how that is kept.

        A partition that is here already keeps where the target's log ended; no record is wanted that comes before
        those that were.
        """
        with self._store.writing() as db:
            kept = dict(handovers)
            for tp, before in _handovers(db, handovers).items():
                new = handovers[tp]
                first = Offset(max(before.source_from, new.source_from))
                kept[tp] = before._replace(source_from=first, until=new.until)
            _keep(db, kept)
        return kept

    def give_up(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Handover]:
        """Nothing more of these partitions is wanted; returns how that is kept of those that are here."""
        with self._store.writing() as db:
            kept = {tp: each._replace(until=NOTHING) for tp, each in _handovers(db, partitions).items()}
            _keep(db, kept)
        return kept

    def save(self, batches: Iterable[tuple[TopicPartition, Batch]]) -> None:
        """Keeps these decisions, and where batches lie, all or none."""
        rows = [(*tp, *batch) for tp, batch in batches]
        if not rows:
            return
        with self._store.writing() as db:
            db.executemany(
                f"INSERT INTO late_batch (topic, partition, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (topic, partition, number) DO UPDATE SET sequence = excluded.sequence,"
                " source_from = excluded.source_from, source_next = excluded.source_next,"
                " records = excluded.records, target_base = excluded.target_base",
                rows,
            )

    def uncompared(self, partition: TopicPartition, most: int) -> list[Batch]:
        """The first batches that lie on the target and were not compared yet."""
        with self._store.reading() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM late_batch WHERE topic = ? AND partition = ? AND compared = 0"
                " AND target_base IS NOT NULL ORDER BY number LIMIT ?",
                (*partition, most),
            ).fetchall()
        return [_batch(row) for row in rows]

    def mark_compared(self, partition: TopicPartition, batches: Iterable[Batch]) -> None:
        """These were compared, and are the same on both sides."""
        with self._store.writing() as db:
            db.executemany(
                "UPDATE late_batch SET compared = 1 WHERE topic = ? AND partition = ? AND number = ?",
                [(*partition, batch.number) for batch in batches],
            )

    def counts(self) -> dict[TopicPartition, int]:
        """Of each partition how many late records lie on the target."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT topic, partition, sum(records) FROM late_batch WHERE target_base IS NOT NULL"
                " GROUP BY topic, partition ORDER BY topic, partition"
            ).fetchall()
        return {TopicPartition(TopicName(topic), Partition(number)): int(records) for topic, number, records in rows}


def _handovers(db: sqlite3.Connection, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Handover]:
    """How partitions are kept that are here already."""
    found: dict[TopicPartition, Handover] = {}
    for tp in partitions:
        row = db.execute(
            f"SELECT {_OF_PARTITION} FROM late_partition WHERE topic = ? AND partition = ?", tuple(tp)
        ).fetchone()
        if row is not None:
            found[tp] = _handover(row)
    return found


def _keep(db: sqlite3.Connection, handovers: Mapping[TopicPartition, Handover]) -> None:
    db.executemany(
        f"INSERT OR REPLACE INTO late_partition (topic, partition, {_OF_PARTITION}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(*tp, *each) for tp, each in handovers.items()],
    )


def _handover(row: Sequence[Any]) -> Handover:
    source_id, target_id, source_from, target_from, until = row
    return Handover(
        TopicId(source_id),
        TopicId(target_id),
        Offset(source_from),
        Offset(target_from),
        None if until is None else Offset(until),
    )


def _batch(row: tuple[int, int, int, int, int, int | None]) -> Batch:
    number, sequence, source_from, source_next, records, base = row
    return Batch(
        number, sequence, Offset(source_from), Offset(source_next), records, None if base is None else Offset(base)
    )
