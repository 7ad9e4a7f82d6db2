"""The mirror of a state: one record for each row that cannot be read back from a cluster, and a head.  (pure)

The key of a row's record names its table and its primary key, the value is the row, and no value says that there is no
such row any more. So whatever is read later of a key takes the place of what was read before. The head comes last in
every batch: whose state it is, and up to which term of the lease everything is in it.

::

    ["head"]                        {"version": 1, "schema": 7, "name": "orders", "source": …, "target": …, "state": …,
                                     "term": 4, "writer": 4, "number": 17, "at": 1700000000000}
    ["hold","orders"]               {"topic":"orders","origin":"source","settings":"{}","since_ms":1}
    ["offset_runs","orders",0,512]  {"topic":"orders","partition":0,"first":512,"runs":null} ⏎ runs ⏎ bytes

Rule: who writes is fenced by the broker, not by the reader. The number of a writer rises with the lease's term, and
becomes producer id and epoch; a partition takes no batch of an older epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple, TypeAlias

from kmigrate.copy.identity import mirror_producer_id
from kmigrate.kafka_types import ProducerId

VERSION = 1
EPOCHS = 1 << 15

LOCAL_FACTS = frozenset({"lease.member", "mirror.term"})
"""Facts about this folder or process: elsewhere they would be wrong."""
DERIVED_TABLES = frozenset({"remembered", "status", "group_list"})
"""Tables whose content comes from the clusters again. Every other table is mirrored."""
RUNS_TABLE = "offset_runs"

Value: TypeAlias = str | int | float | bytes | None
Key: TypeAlias = tuple[str | int, ...]
Row: TypeAlias = Mapping[str, Value]

HEAD_KEY = b'["head"]'


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Whose state a mirror holds; `state` is an id that a state folder is given once, and that a recovered one keeps.

    Everything that an owner of the lease's `term` acted on is in the mirror; with term 0 it is not complete yet.
    """

    schema: int
    name: str
    source: str
    target: str
    state: str
    term: int = 0
    writer: int = 0
    number: int = 0
    at: int = 0
    version: int = VERSION

    def to_bytes(self) -> bytes:
        return _dump(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> Head | None:
        """The head; None for what is none. Of one that a newer version wrote only the version is certain."""
        try:
            said = json.loads(value)
            version = int(said["version"])
            if version > VERSION:
                return cls(schema=0, name="", source="", target="", state="", version=version)
            return cls(**said)
        except (ValueError, TypeError, KeyError):
            return None

    def as_of(self, *, term: int, writer: int, at_ms: int) -> Head:
        """The next head."""
        return replace(self, term=term, writer=writer, number=self.number + 1, at=at_ms)

    def objection(self, wanted: Head) -> str:
        """Why this mirror is not that of a migration, or cannot be understood; empty if it is and can."""
        if self.version > VERSION or self.schema > wanted.schema:
            return "was written by a newer kmigrate"
        if self.name != wanted.name:
            return f"holds the state of the migration {self.name}"
        for side, mine, theirs in (
            ("source", wanted.source, self.source),
            ("target", wanted.target, self.target),
        ):
            if mine != theirs:
                return f"holds the state of a migration with another {side} cluster, {theirs}"
        return ""


class Producer(NamedTuple):
    """Who writes into a mirror."""

    producer_id: ProducerId
    epoch: int


def producer_of(data_id: ProducerId, writer: int) -> Producer:
    """The producer id and epoch of the writer with this number; those of a later writer fence it."""
    return Producer(mirror_producer_id(data_id, writer // EPOCHS), writer % EPOCHS)


def next_writer(term: int, last: int) -> int:
    """The number of a new writer: the lease's term, unless a group that was made anew counts from 1 again."""
    return max(term, last + 1)


def is_stale(head: Head, committed_terms: Mapping[object, int] | None) -> bool:
    """Whether somebody copied under a later term than everything in the mirror is of. None: nothing was committed."""
    newest = max(committed_terms.values(), default=0) if committed_terms else 0
    return head.term == 0 or newest > head.term


def serialize_key(table: str, key: Key) -> bytes:
    """The key of a row's record."""
    return _dump([table, *key]).encode()


def parse_key(key: bytes) -> tuple[str, Key]:
    """(table, primary key); raises ValueError for what is no key of ours."""
    table, *rest = json.loads(key)
    return str(table), tuple(rest)


def serialize_row(row: Row) -> bytes:
    """The value of a row's record: JSON, and on lines of their own the name and the bytes of its column of bytes."""
    blobs = [value for value in row.values() if isinstance(value, bytes)]
    if len(blobs) > 1:
        raise ValueError("a row with two columns of bytes")
    text = _dump({name: None if isinstance(value, bytes) else value for name, value in row.items()}).encode()
    if not blobs:
        return text
    (name,) = (name for name, value in row.items() if isinstance(value, bytes))
    return text + b"\n" + name.encode() + b"\n" + blobs[0]


def parse_row(value: bytes) -> dict[str, Value]:
    """The row; raises ValueError for what is none."""
    text, _, rest = value.partition(b"\n")
    row = json.loads(text)
    if not isinstance(row, dict):
        raise ValueError("a row is a JSON object")
    if rest:
        name, _, blob = rest.partition(b"\n")
        row[name.decode()] = blob
    return row


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
