"""What is kept of consumer groups: latches, what was committed last, resets with their undo, the last list.

Rule: one row a group, written as a whole; its commits are one JSON text, topic by topic, so that a round over thousands
of groups is one step of a few thousand rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmigrate.groups.decide import release
from kmigrate.groups.values import NO_RECORD, GroupRecord, Latch, Value, Written
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.state.store import Store

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetEntry:
    """A reset that was carried out, or was about to be; `payload` says what was there before and what came."""

    number: int
    group: str
    at_ms: int
    payload: Mapping[str, Any]
    undone_ms: int | None = None


class GroupBook:
    """The groups of one migration, in its store. Many threads may use it."""

    def __init__(self, store: Store, on_saved: Callable[[], object] = lambda: None) -> None:
        """`on_saved` is called after records were kept, and before anything is done about them."""
        self._store = store
        self._on_saved = on_saved

    def load(self) -> dict[str, GroupRecord]:
        """Every group of which something is kept."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT group_id, moved_reason, moved_ms, released, refreshed_ms, written FROM consumer_group"
            ).fetchall()
        return {group: _record(*row) for group, *row in rows}

    def save(self, records: Mapping[str, GroupRecord]) -> None:
        """Keeps these records, all or none; others stay as they are."""
        with self._store.writing() as db:
            _save(db, records)
        self._on_saved()

    def release(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Ends the latches of these groups, and journals it; returns those that were latched."""
        known = self.load()
        released = {group: release(known[group]) for group in groups if known.get(group, NO_RECORD).moved is not None}
        if released:
            with self._store.writing() as db:
                _save(db, released)
            self._store.decide("group-release", {"groups": sorted(released)})
        return tuple(released)

    def plan_reset(self, group: str, payload: Mapping[str, object], record: GroupRecord, at_ms: int) -> ResetEntry:
        """Keeps what a reset will do, with the record of the group from then on."""
        with self._store.writing() as db:
            cursor = db.execute(
                "INSERT INTO group_reset (group_id, at_ms, payload) VALUES (?, ?, ?)",
                (group, at_ms, json.dumps(payload, ensure_ascii=False)),
            )
            _save(db, {group: record})
        number = cursor.lastrowid or 0
        self._store.decide("group-reset", {"group": group, "number": number})
        return ResetEntry(number=number, group=group, at_ms=at_ms, payload=payload)

    def last_reset(self, group: str) -> ResetEntry | None:
        """The last reset of a group that was not undone."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT number, at_ms, payload FROM group_reset WHERE group_id = ? AND undone_ms IS NULL"
                " ORDER BY number DESC LIMIT 1",
                (group,),
            ).fetchone()
        return None if row is None else ResetEntry(number=row[0], group=group, at_ms=row[1], payload=json.loads(row[2]))

    def resets(self) -> list[ResetEntry]:
        """Every reset, in their order."""
        with self._store.reading() as db:
            rows = db.execute("SELECT number, group_id, at_ms, payload, undone_ms FROM group_reset ORDER BY number")
            return [
                ResetEntry(number=number, group=group, at_ms=at_ms, payload=json.loads(payload), undone_ms=undone_ms)
                for number, group, at_ms, payload, undone_ms in rows
            ]

    def end_reset(self, entry: ResetEntry, record: GroupRecord, at_ms: int) -> None:
        """A reset was undone; the group has this record from then on."""
        with self._store.writing() as db:
            db.execute("UPDATE group_reset SET undone_ms = ? WHERE number = ?", (at_ms, entry.number))
            _save(db, {entry.group: record})
        self._store.decide("group-reset-undone", {"group": entry.group, "number": entry.number})

    def save_list(self, document: str) -> None:
        """Keeps the JSON of the last list of groups."""
        with self._store.writing() as db:
            db.execute("INSERT OR REPLACE INTO group_list VALUES (1, ?)", (document,))

    def load_list(self) -> str | None:
        """The JSON of the last list; None if there was none."""
        with self._store.reading() as db:
            row = db.execute("SELECT document FROM group_list").fetchone()
        return None if row is None else str(row[0])


def _save(db: sqlite3.Connection, records: Mapping[str, GroupRecord]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO consumer_group"
        " (group_id, moved_reason, moved_ms, released, refreshed_ms, written) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                group,
                None if record.moved is None else record.moved.reason,
                None if record.moved is None else record.moved.at_ms,
                int(record.released),
                record.refreshed_ms,
                dump_written(record.written),
            )
            for group, record in records.items()
        ],
    )


def _record(reason: str | None, moved_ms: int | None, released: int, refreshed_ms: int, written: str) -> GroupRecord:
    return GroupRecord(
        moved=None if reason is None else Latch(reason=reason, at_ms=moved_ms or 0),
        released=bool(released),
        written=load_written(written),
        refreshed_ms=refreshed_ms,
    )


def dump_written(written: Mapping[TopicPartition, Written]) -> str:
    """{topic: [[partition, [offset, metadata, leader epoch], the same of before, or null], …]}."""
    topics: dict[str, list[object]] = {}
    for partition, each in written.items():
        topics.setdefault(partition[0], []).append((partition[1], each[0], each[1]))
    return _encode(topics)


def load_written(text: str) -> dict[TopicPartition, Written]:
    """What `dump_written` wrote."""
    return {
        TopicPartition(TopicName(topic), Partition(index)): Written(_value(now), None if old is None else _value(old))
        for topic, entries in json.loads(text).items()
        for index, now, old in entries
    }


def _value(saved: tuple[int, str, int]) -> Value:
    offset, metadata, epoch = saved
    return Value(Offset(offset), metadata, LeaderEpoch(epoch))
