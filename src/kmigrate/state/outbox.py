"""The outbox notes which rows changed since they were mirrored; a mirrored state is loaded back into a store.

Rule: a change is noted in the same transaction, by triggers, and lasts as long as the process: who starts compares the
whole store with the mirror, and notes what differs. So nothing of it lies on the disk, and a store costs what it did.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

from kmigrate.state.mirror import (
    DERIVED_TABLES,
    HEAD_KEY,
    LOCAL_FACTS,
    RUNS_TABLE,
    Key,
    Row,
    parse_key,
    parse_row,
    serialize_key,
    serialize_row,
)
from kmigrate.state.store import Store

DIGEST_BYTES = 16
_FACTS = "fact"


class Change(NamedTuple):
    """A row that is to be mirrored as it is now; without a value it is gone."""

    number: int
    key: bytes
    value: bytes | None


class Table(NamedTuple):
    """A table whose rows are mirrored."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


def digest(value: bytes) -> bytes:
    """What is kept of a value to compare it."""
    return blake2b(value, digest_size=DIGEST_BYTES).digest()


def mirrored_tables(db: sqlite3.Connection) -> list[Table]:
    """Every table that holds what cannot be read back."""
    names = [
        name
        for (name,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY name")
        if not name.startswith("sqlite_") and name not in DERIVED_TABLES
    ]
    return [_table(db, name) for name in names]


def _table(db: sqlite3.Connection, name: str) -> Table:
    columns = db.execute(f"PRAGMA main.table_info({name})").fetchall()
    keyed = sorted((place, column) for _, column, _, _, _, place in columns if place)
    return Table(name, tuple(column for _, column in keyed), tuple(column for _, column, *_ in columns))


class Outbox:
    """What of a store is still to be mirrored. Many threads may use it; one store has one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = 0
        with store.writing() as db:
            self._tables = {table.name: table for table in mirrored_tables(db)}
            db.execute(
                "CREATE TEMP TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, "
                "key TEXT NOT NULL, UNIQUE (tbl, key))"
            )
            for table in self._tables.values():
                for event, row in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
                    db.execute(_trigger(table, event, row))

    def mark(self) -> int:
        """The number of the last change so far."""
        with self._store.reading() as db:
            row = db.execute("SELECT max(number) FROM temp.outbox").fetchone()
            self._last = max(self._last, row[0] or 0)
            return self._last

    def take(self, most_bytes: int) -> list[Change]:
        """The oldest changes, of up to so many bytes, at least one; they stay until `forget`."""
        found: list[Change] = []
        size = 0
        with self._store.reading() as db:
            cursor = db.execute("SELECT number, tbl, key FROM temp.outbox ORDER BY number")
            for number, name, key_text in cursor:
                key = tuple(json.loads(key_text))
                change = Change(number, serialize_key(name, key), self._value(db, self._tables[name], key))
                size += len(change.key) + len(change.value or b"")
                if found and size > most_bytes:
                    break
                found.append(change)
        return found

    def forget(self, changes: Iterable[Change]) -> None:
        """These are mirrored; a row that changed again meanwhile is noted under another number."""
        with self._store.writing() as db:
            db.executemany("DELETE FROM temp.outbox WHERE number = ?", [(change.number,) for change in changes])

    def note_differences(self, mirrored: Mapping[bytes, bytes]) -> int:
        """Notes every row that is not in the mirror as it is here (key → digest of the value); returns how many."""
        with self._store.writing() as db:
            db.execute("DELETE FROM temp.outbox")
            here = set()
            differ: list[tuple[str, Key]] = []
            for name, key, row in self._rows(db):
                named = serialize_key(name, key)
                here.add(named)
                if mirrored.get(named) != digest(serialize_row(row)):
                    differ.append((name, key))
            differ += [parse_key(key) for key in mirrored if key not in here and key != HEAD_KEY]
            db.executemany(
                "INSERT OR REPLACE INTO temp.outbox (tbl, key) VALUES (?, ?)",
                [(name, json.dumps(key, ensure_ascii=False, separators=(",", ":"))) for name, key in differ],
            )
        return len(differ)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every row, as of one moment; the store waits meanwhile."""
        with self._store.reading() as db:
            for name, key, row in self._rows(db):
                yield serialize_key(name, key), serialize_row(row)

    def changed_tables(self) -> frozenset[str]:
        """The tables of which something is noted."""
        with self._store.reading() as db:
            return frozenset(name for (name,) in db.execute("SELECT DISTINCT tbl FROM temp.outbox"))

    def clear(self, mark: int) -> None:
        """All changes up to this one are kept elsewhere."""
        with self._store.writing() as db:
            db.execute("DELETE FROM temp.outbox WHERE number <= ?", (mark,))

    def load(self, mirrored: Mapping[bytes, bytes], keep: Callable[[str, Key], bool] = lambda table, key: True) -> int:
        """Puts a mirror's rows in the place of all that the store has, all or none; returns how many.

        Rows that `keep` does not want are left out. Raises ValueError for records that are no rows of this schema.
        """
        rows: dict[str, list[Row]] = {}
        for named, value in mirrored.items():
            if named == HEAD_KEY:
                continue
            name, key = parse_key(named)
            if name not in self._tables:
                raise ValueError(f"there is no table {name}")
            if keep(name, key) and not _is_local(name, key):
                rows.setdefault(name, []).append(parse_row(value))
        with self._store.writing() as db:
            for table in self._tables.values():
                if table.name == _FACTS:
                    db.executemany("DELETE FROM fact WHERE key = ?", _foreign_facts(db))
                else:
                    db.execute(f"DELETE FROM {table.name}")
                for row in rows.get(table.name, ()):
                    _insert(db, table, row)
        return sum(map(len, rows.values()))

    def _rows(self, db: sqlite3.Connection) -> Iterator[tuple[str, Key, Row]]:
        for table in self._tables.values():
            places = [table.columns.index(column) for column in table.key]
            for values in db.execute(f"SELECT {', '.join(table.columns)} FROM main.{table.name}"):
                key = tuple(values[place] for place in places)
                if not _is_local(table.name, key):
                    yield table.name, key, dict(zip(table.columns, values, strict=True))

    @staticmethod
    def _value(db: sqlite3.Connection, table: Table, key: Key) -> bytes | None:
        where = " AND ".join(f"{column} = ?" for column in table.key)
        values = db.execute(f"SELECT {', '.join(table.columns)} FROM main.{table.name} WHERE {where}", key).fetchone()
        return None if values is None else serialize_row(dict(zip(table.columns, values, strict=True)))


def _trigger(table: Table, event: str, row: str) -> str:
    key = ", ".join(f"{row}.{column}" for column in table.key)
    local = ", ".join(f"'{fact}'" for fact in sorted(LOCAL_FACTS))
    condition = f"WHEN {row}.key NOT IN ({local})" if table.name == _FACTS else ""
    return (
        f"CREATE TEMP TRIGGER outbox_{table.name}_{event}_{row} AFTER {event} ON main.{table.name} {condition} "
        f"BEGIN DELETE FROM outbox WHERE tbl = '{table.name}' AND key = json_array({key});"
        f" INSERT INTO outbox (tbl, key) VALUES ('{table.name}', json_array({key})); END"
    )


def _is_local(table: str, key: Key) -> bool:
    return table == _FACTS and key[0] in LOCAL_FACTS


def _foreign_facts(db: sqlite3.Connection) -> list[tuple[str]]:
    return [(key,) for (key,) in db.execute("SELECT key FROM fact").fetchall() if key not in LOCAL_FACTS]


def _insert(db: sqlite3.Connection, table: Table, row: Row) -> None:
    unknown = row.keys() - set(table.columns)
    if unknown:
        raise ValueError(f"the table {table.name} has no column {min(unknown)}")
    db.execute(
        f"INSERT INTO main.{table.name} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
    )


def is_run(table: str) -> bool:
    """Whether a table holds pieces of offset maps."""
    return table == RUNS_TABLE
