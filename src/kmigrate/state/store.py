"""The store keeps a migration's memory in SQLite: facts, positions, holds, effects, the journal, the last status.

Rule: what is returned from is on the disk (WAL, synchronous=FULL), so a decision can be acted on afterwards. Every
entry of the journal is chained to the one before (`state/journal.py`), in the step that writes it.
Several threads of the one process that owns the folder may use a store; a lock makes them take turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from kmigrate.copy.orders import Remembered
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import RUN_BYTES, OffsetMap
from kmigrate.state.journal import (
    CHAINED,
    EFFECT_DONE,
    EFFECT_WITHDRAWN,
    EFFECTS_PLANNED,
    NOTHING,
    ChainState,
    EffectRow,
    Head,
    JournalRow,
    canonical,
    chained_detail,
    check_chain,
    end_detail,
    link,
    planned_detail,
    read_object,
)
from kmigrate.state.journal import EffectEntry as EffectEntry
from kmigrate.state.journal import JournalEntry as JournalEntry
from kmigrate.state.schema import JOURNAL_HEAD, NOT_CHAINED, damaged, prepare
from kmigrate.topics.intended import Intended, Origin

FILE_NAME = "state.db"
RUNS_A_PIECE = 512
"""Runs of an offset map that are kept, and written anew, together."""
_BUSY_SECONDS = 5.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class RunsFrom(NamedTuple):
    """The runs of an offset map as its `to_bytes` has them, from number `first` on, a multiple of RUNS_A_PIECE."""

    first: int
    runs: bytes


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
        store = cls(connection, path, is_new=is_new, wall_ms=wall_ms)
        store._begin_chain()
        return store

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
                "SELECT topic, partition, source_topic_id, target_topic_id, source_epoch, appended,"
                " even_ms, retention_ms FROM remembered"
            ).fetchall()
        return {
            TopicPartition(TopicName(topic), Partition(partition)): Remembered(
                TopicId(source_id), TopicId(target_id), LeaderEpoch(epoch), Offset(appended), even_ms, retention_ms
            )
            for topic, partition, source_id, target_id, epoch, appended, even_ms, retention_ms in rows
        }

    def remember(self, memories: Mapping[TopicPartition, Remembered]) -> None:
        """Remembers these partitions, all or none; others stay as they are."""
        if not memories:
            return
        with self._writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO remembered"
                " (topic, partition, source_topic_id, target_topic_id, source_epoch, appended, even_ms, retention_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*partition, *memory) for partition, memory in memories.items()],
            )

    def forget(self, topic: str) -> None:
        """Forgets every partition of a topic, with its class and its offset map; where it begins is kept."""
        with self._writing() as db:
            for table in ("remembered", "offset_class", "offset_runs"):
                db.execute(f"DELETE FROM {table} WHERE topic = ?", (topic,))

    def forget_all(self, topic: str) -> None:
        """Forgets a topic as if nothing of it had ever been copied; what is to become of its settings is kept."""
        with self._writing() as db:
            for table in ("remembered", "offset_class", "offset_runs", "beginning"):
                db.execute(f"DELETE FROM {table} WHERE topic = ?", (topic,))

    def offset_classes(self) -> dict[TopicPartition, OffsetClass]:
        """The class of every partition for which one was decided."""
        with self._reading() as db:
            rows = db.execute("SELECT topic, partition, class FROM offset_class").fetchall()
        return {_place(topic, partition): OffsetClass(name) for topic, partition, name in rows}

    def beginnings(self) -> dict[TopicPartition, Beginning]:
        """Where every partition begins that the source had when the migration began, or that was decided since."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT topic, partition, source_topic_id, start, filler, own_from FROM beginning"
            ).fetchall()
        return {
            _place(topic, partition): Beginning(
                TopicId(topic_id),
                None if start is None else Offset(start),
                None if filler is None else int(filler),
                None if own_from is None else Offset(own_from),
            )
            for topic, partition, topic_id, start, filler, own_from in rows
        }

    def record_beginnings(
        self, beginnings: Mapping[TopicPartition, Beginning], facts: Mapping[str, str] | None = None
    ) -> None:
        """Records these beginnings and facts, all or none; other beginnings stay as they are."""
        with self._writing() as db:
            _put_beginnings(db, beginnings)
            _put(db, facts or {})

    def decide_classes(
        self,
        classes: Mapping[TopicPartition, OffsetClass],
        runs: Mapping[TopicPartition, RunsFrom],
        beginnings: Mapping[TopicPartition, Beginning] | None = None,
    ) -> None:
        """Records these classes, what their offset maps hold from now on, and where they begin, all or none."""
        if not classes and not beginnings:
            return
        with self._writing() as db:
            _put_beginnings(db, beginnings or {})
            db.executemany(
                "INSERT OR REPLACE INTO offset_class VALUES (?, ?, ?)",
                [(*partition, each.value) for partition, each in classes.items()],
            )
            _put_runs(db, runs)

    def save_runs(self, runs: Mapping[TopicPartition, RunsFrom]) -> None:
        """Replaces the ends of these offset maps, all or none."""
        if not runs:
            return
        with self._writing() as db:
            _put_runs(db, runs)

    def offset_map(self, partition: TopicPartition) -> OffsetMap:
        """The offset map of a partition; an empty one if none is kept."""
        found = OffsetMap()
        with self._reading() as db:
            rows = db.execute(
                "SELECT runs FROM offset_runs WHERE topic = ? AND partition = ? ORDER BY first", tuple(partition)
            )
            for (kept,) in rows:
                found.extend(kept)
        return found

    def count_runs(self) -> dict[TopicPartition, int]:
        """How many runs the offset map of each partition has that has one."""
        with self._reading() as db:
            rows = db.execute("SELECT topic, partition, sum(length(runs)) FROM offset_runs GROUP BY topic, partition")
            return {_place(topic, partition): size // RUN_BYTES for topic, partition, size in rows}

    def offset_runs_near(self, partition: TopicPartition, offset: Offset, side: Side) -> OffsetMap:
        """Of an offset map the piece that holds this offset of the source or the target, and the run after it.

        It translates this offset as the whole map does. A handful of pieces is looked at, whatever the map's size.
        """
        found, field = OffsetMap(), 0 if side is Side.SOURCE else 1
        with self._reading() as db:

            def beginning(piece: int) -> Offset:
                return Offset(_first_run(db, partition, piece * RUNS_A_PIECE)[field])

            pieces = range(_count_pieces(db, partition))
            held = max(0, bisect_right(pieces, offset, key=beginning) - 1)
            found.extend(_read_runs(db, partition, held * RUNS_A_PIECE, 1))
        return found

    def offset_runs_from(self, partition: TopicPartition, first: int, pieces: int) -> OffsetMap:
        """So many pieces of a partition's offset map from run number `first` on, and the run after them.

        `first` is a multiple of RUNS_A_PIECE. Empty if the map has no such run.
        """
        found = OffsetMap()
        with self._reading() as db:
            found.extend(_read_runs(db, partition, first, pieces))
        return found

    def decide(self, kind: str, detail: Mapping[str, object], *, facts: Mapping[str, str] | None = None) -> int:
        """Appends to the journal and sets the facts that changed, both or none; returns the number."""
        with self._writing() as db:
            number = _append(db, self._wall_ms(), kind, detail)
            _put(db, facts or {})
        return number

    def journal(self, limit: int = 100) -> list[JournalEntry]:
        """The latest decisions, newest first."""
        with self._reading() as db:
            rows = _journal_rows(db, f"number DESC LIMIT {limit:d}")
        return [row.entry for row in rows]

    def told(self) -> tuple[list[JournalRow], list[EffectRow], Head | None]:
        """Journal and effects as the database has them, in their order, and the journal's head, as of one moment."""
        with self._reading() as db:
            db.execute("BEGIN")
            try:
                return _journal_rows(db, "number"), _effect_rows(db), _head(db)
            finally:
                db.execute("COMMIT")

    def verify_journal(self) -> ChainState:
        """Whether journal and effects are as they were written; where not, the first number that does not follow."""
        rows, effects, head = self.told()
        return check_chain(rows, head, effects)

    def _begin_chain(self) -> None:
        """Chains what was written before entries were chained, once."""
        with self._reading() as db:
            if _head_text(db) != NOT_CHAINED:
                return
        with self._writing() as db:
            rows, effects, last = _journal_rows(db, "number"), _effect_rows(db), NOTHING
            for row in rows:
                detail = canonical(read_object(row.detail))
                last = Head(row.number, link(last.hash, row.number, row.at_ms, row.kind, detail))
                db.execute("UPDATE journal SET detail = ?, hash = ? WHERE number = ?", (detail, last.hash, row.number))
            _put(db, {JOURNAL_HEAD: last.text})
            if rows or effects:
                _append(db, self._wall_ms(), CHAINED, chained_detail(len(rows), effects))

    def record_intended(self, intended: Mapping[TopicName, Intended]) -> None:
        """Records what these topics are to become when their hold ends, all or none; from now on they are held."""
        if not intended:
            return
        now_ms = self._wall_ms()
        with self._writing() as db:
            db.executemany(
                "INSERT INTO hold VALUES (?, ?, ?, ?)"
                " ON CONFLICT (topic) DO UPDATE SET origin = excluded.origin, settings = excluded.settings",
                [
                    (topic, each.origin.value, None if each.settings is None else _json(each.settings), now_ms)
                    for topic, each in intended.items()
                ],
            )

    def record_followed(
        self, kind: str, topic: TopicName, intended: Intended, payload: Mapping[str, object] | None
    ) -> EffectEntry | None:
        """Records what a held topic is to become now, and the effect that follows from it (if any), both or none."""
        now_ms = self._wall_ms()
        with self._writing() as db:
            settings = None if intended.settings is None else _json(intended.settings)
            db.execute("UPDATE hold SET settings = ? WHERE topic = ?", (settings, topic))
            if payload is None:
                return None
            return _plan_effects(db, kind, {topic: payload}, now_ms)[0]

    def intended(self) -> dict[TopicName, Intended]:
        """What the topics that are held are to become."""
        with self._reading() as db:
            rows = db.execute("SELECT topic, origin, settings FROM hold").fetchall()
        return {
            TopicName(topic): Intended(
                origin=Origin(origin), settings=None if settings is None else json.loads(settings)
            )
            for topic, origin, settings in rows
        }

    def held(self) -> tuple[str, ...]:
        """The topics whose hold has not ended."""
        with self._reading() as db:
            return tuple(topic for (topic,) in db.execute("SELECT topic FROM hold ORDER BY topic"))

    def plan_effect(self, kind: str, topic: TopicName, payload: Mapping[str, object]) -> EffectEntry:
        """Journals an effect that is decided."""
        return self.plan_effects(kind, {topic: payload})[0]

    def plan_effects(self, kind: str, payloads: Mapping[str, Mapping[str, object]]) -> list[EffectEntry]:
        """Journals effects that are decided together, by name, all or none."""
        now_ms = self._wall_ms()
        with self._writing() as db:
            return _plan_effects(db, kind, payloads, now_ms)

    def end_effect(self, effect: EffectEntry, *, ends_hold: bool = False) -> None:
        """Journals that an effect is done, and with it, in one step, that its topic is no longer held."""
        self.end_effects([effect], ends_hold=ends_hold)

    def end_effects(self, effects: Collection[EffectEntry], *, ends_hold: bool = False) -> None:
        """Journals that effects are done, and with it that their topics are no longer held, all in one step."""
        with self._writing() as db:
            self._end_effects(db, effects, EFFECT_DONE)
            if ends_hold:
                db.executemany("DELETE FROM hold WHERE topic = ?", [(effect.topic,) for effect in effects])

    def withdraw_effects(self, effects: Iterable[EffectEntry]) -> None:
        """Journals that effects which were refused are not to be carried out any more."""
        with self._writing() as db:
            self._end_effects(db, effects, EFFECT_WITHDRAWN)

    def _end_effects(self, db: sqlite3.Connection, effects: Iterable[EffectEntry], how: str) -> None:
        now_ms = self._wall_ms()
        for effect in effects:
            ended = db.execute(
                "UPDATE effects SET state = 'done', done_at_ms = ? WHERE id = ? AND state = 'planned'",
                (now_ms, effect.id),
            )
            if ended.rowcount:
                _append(db, now_ms, how, end_detail(effect.id, effect.kind, effect.topic))

    def effects(self) -> list[EffectEntry]:
        """Every effect, in the order of the decisions."""
        with self._reading() as db:
            rows = _effect_rows(db)
        return [replace(row.entry, payload=json.loads(row.payload)) for row in rows]

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
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For other modules of this room: the database, to read from."""
        with self._reading() as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """For other modules of this room: the database, for one step that is taken as a whole or not at all."""
        with self._writing() as db:
            yield db

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


def _journal_rows(db: sqlite3.Connection, order: str) -> list[JournalRow]:
    rows = db.execute(
        "SELECT number, CASE typeof(at_ms) WHEN 'integer' THEN at_ms END,"
        f" CAST(kind AS BLOB), CAST(detail AS BLOB), CAST(hash AS BLOB) FROM journal ORDER BY {order}"
    )
    return [
        JournalRow(number, at_ms, _text(kind), _text(detail), _text(found))
        for number, at_ms, kind, detail, found in rows
    ]


def _effect_rows(db: sqlite3.Connection) -> list[EffectRow]:
    rows = db.execute(
        "SELECT id, CAST(kind AS BLOB), CAST(topic AS BLOB), CAST(payload AS BLOB),"
        " CASE typeof(planned_at_ms) WHEN 'integer' THEN planned_at_ms END,"
        " CASE typeof(done_at_ms) WHEN 'integer' THEN done_at_ms WHEN 'null' THEN NULL ELSE -1 END"
        " FROM effects ORDER BY id"
    )
    return [
        EffectRow(number, _text(kind), _text(topic), _text(payload), planned, done)
        for number, kind, topic, payload, planned, done in rows
    ]


def _head_text(db: sqlite3.Connection) -> str | None:
    row = db.execute("SELECT CAST(value AS BLOB) FROM fact WHERE key = ?", (JOURNAL_HEAD,)).fetchone()
    return None if row is None else _text(row[0])


def _head(db: sqlite3.Connection) -> Head | None:
    return Head.parse(_head_text(db))


def _text(value: bytes | None) -> str:
    """A text whatever somebody made of its bytes: one that is none must not keep the others from being read."""
    return (value or b"").decode("utf-8", "backslashreplace")


def _append(db: sqlite3.Connection, at_ms: int, kind: str, detail: Mapping[str, object]) -> int:
    """Appends an entry and moves the head. Where the head is gone it follows nothing, and that shows for good."""
    head, text = _head(db), canonical(detail)
    cursor = db.execute("INSERT INTO journal (at_ms, kind, detail) VALUES (?, ?, ?)", (at_ms, kind, text))
    number = cursor.lastrowid or 0
    new = Head(number, link("" if head is None else head.hash, number, at_ms, kind, text))
    db.execute("UPDATE journal SET hash = ? WHERE number = ?", (new.hash, number))
    _put(db, {JOURNAL_HEAD: new.text})
    return number


def _plan_effects(
    db: sqlite3.Connection, kind: str, payloads: Mapping[str, Mapping[str, object]], now_ms: int
) -> list[EffectEntry]:
    """Writes effects and the entry that tells of them."""
    rows: list[EffectRow] = []
    for name, payload in payloads.items():
        text = _json(payload)
        cursor = db.execute(
            "INSERT INTO effects (kind, topic, payload, state, planned_at_ms) VALUES (?, ?, ?, 'planned', ?)",
            (kind, name, text, now_ms),
        )
        rows.append(EffectRow(cursor.lastrowid or 0, kind, name, text, now_ms, None))
    if rows:
        _append(db, now_ms, EFFECTS_PLANNED, planned_detail(kind, rows))
    return [
        EffectEntry(
            id=row.id,
            kind=kind,
            topic=TopicName(name),
            payload=payload,
            planned_at_ms=now_ms,
            done_at_ms=None,
        )
        for row, (name, payload) in zip(rows, payloads.items(), strict=True)
    ]


def _place(topic: str, partition: int) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(partition))


def _put_beginnings(db: sqlite3.Connection, beginnings: Mapping[TopicPartition, Beginning]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO beginning (topic, partition, source_topic_id, start, filler, own_from)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(*partition, *each) for partition, each in beginnings.items()],
    )


def _put_runs(db: sqlite3.Connection, runs: Mapping[TopicPartition, RunsFrom]) -> None:
    """Runs lie in pieces of RUNS_A_PIECE; those from the first that changes on are written anew."""
    for partition, (first, kept) in runs.items():
        db.execute("DELETE FROM offset_runs WHERE topic = ? AND partition = ? AND first >= ?", (*partition, first))
        size = RUNS_A_PIECE * RUN_BYTES
        db.executemany(
            "INSERT INTO offset_runs VALUES (?, ?, ?, ?)",
            [(*partition, first + at // RUN_BYTES, kept[at : at + size]) for at in range(0, len(kept), size)],
        )


def _count_pieces(db: sqlite3.Connection, partition: TopicPartition) -> int:
    (last,) = db.execute(
        "SELECT max(first) FROM offset_runs WHERE topic = ? AND partition = ?", tuple(partition)
    ).fetchone()
    return 0 if last is None else int(last) // RUNS_A_PIECE + 1


def _first_run(db: sqlite3.Connection, partition: TopicPartition, first: int) -> tuple[int, int]:
    (kept,) = db.execute(
        "SELECT substr(runs, 1, ?) FROM offset_runs WHERE topic = ? AND partition = ? AND first = ?",
        (RUN_BYTES, *partition, first),
    ).fetchone()
    source, target = struct.unpack(">qq", kept)
    return source, target


def _read_runs(db: sqlite3.Connection, partition: TopicPartition, first: int, pieces: int) -> bytes:
    """The runs of so many pieces, and the first of the next one."""
    end = first + pieces * RUNS_A_PIECE
    rows = db.execute(
        "SELECT CASE WHEN first < ? THEN runs ELSE substr(runs, 1, ?) END FROM offset_runs"
        " WHERE topic = ? AND partition = ? AND first BETWEEN ? AND ? ORDER BY first",
        (end, RUN_BYTES, *partition, first, end),
    )
    return b"".join(kept for (kept,) in rows)


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)


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
