"""What applications note down: which record was acknowledged, which was processed, where, and when.  (pure)

Rule: a record is known by its producer, key and running number, wherever it lies: a copy of it is the same record.
Times are nanoseconds of the machine's steady clock, which all of its processes share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.kafka_types import Side


class Identity(NamedTuple):
    """One record of the service: a producer numbers its records in the order in which it sends them."""

    producer: str
    key: str
    number: int

    def to_value(self, at_ns: int) -> bytes:
        """What the record carries as its value."""
        return json.dumps({**self._asdict(), "at": at_ns}).encode()

    @classmethod
    def of_value(cls, value: bytes | None) -> Identity | None:
        """The record that a value belongs to; None if no application of the service wrote it."""
        try:
            told = json.loads(value or b"")
            return cls(str(told["producer"]), str(told["key"]), int(told["number"]))
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return f"record {self.number} of {self.producer} (key {self.key})"


class Place(NamedTuple):
    """Where a record lies; `offset` is None where an acknowledgement names none."""

    side: Side
    topic: str
    partition: int
    offset: int | None

    def __str__(self) -> str:
        at = "" if self.offset is None else f"@{self.offset}"
        return f"{self.topic}-{self.partition}{at} on the {self.side}"


class Acknowledged(NamedTuple):
    """A record that a cluster has acknowledged to its producer."""

    record: Identity
    place: Place
    at_ns: int


class Processed(NamedTuple):
    """A record that a member of a group has processed."""

    group: str
    member: str
    record: Identity
    place: Place
    at_ns: int


class Kind(NamedTuple):
    """The first line of a file of entries: who wrote it where. `group` is empty for what a producer wrote."""

    name: str
    side: Side
    group: str = ""

    def to_line(self) -> str:
        return json.dumps([self.name, self.side.value, self.group])

    @classmethod
    def of_line(cls, line: str) -> Kind:
        name, side, group = json.loads(line)
        return cls(name, Side(side), group)


@dataclass(slots=True)
class ServiceLedger:
    """Everything that was noted. `expected`: which topics' records each group is to get, at first or second hand."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    processed: list[Processed] = field(default_factory=list)
    expected: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def add(self, lines: Iterable[str]) -> None:
        """Takes in one file; a last line that was cut short does not count, nor does a file without its first line."""
        whole = (line for line in lines if line.endswith("\n"))
        first = next(whole, None)
        if first is None:
            return
        kind = Kind.of_line(first)
        for record, place, at_ns in _entries(kind.side, whole):
            if kind.group:
                self.processed.append(Processed(kind.group, kind.name, record, place, at_ns))
            else:
                self.acknowledged.append(Acknowledged(record, place, at_ns))


def entry_line(record: Identity, topic: str, partition: int, offset: int | None, at_ns: int) -> str:
    """One entry as a line, without its end."""
    return json.dumps([*record, topic, partition, offset, at_ns])


def _entries(side: Side, lines: Iterable[str]) -> Iterator[tuple[Identity, Place, int]]:
    for line in lines:
        producer, key, number, topic, partition, offset, at_ns = json.loads(line)
        yield Identity(producer, key, number), Place(side, topic, partition, offset), at_ns
