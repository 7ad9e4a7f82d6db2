"""The first difference between two stretches of records, found by halving, and what the records look like.  (pure)

Records are compared by offset, timestamp and *body*: key, value and headers as they lie in a batch of format v2. A
shape tells of a record what can be shown to anybody: sizes, never contents.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

from kmigrate.records.record import RawRecord, read_varint


class DifferenceKind(enum.StrEnum):
    """How two logs differ at an offset."""

    DIFFERS = "differs"
    """Both have a record there, and not the same."""
    MISSING = "missing"
    """Only the source has a record there."""
    EXTRA = "extra"
    """Only the target has a record there."""
    REPEATED = "repeated"
    """The target has the record once more, further on; only where records are compared in order."""
    OUT_OF_ORDER = "out-of-order"
    """Both have the record, not in the same place among the others; only where records are compared in order."""
    DAMAGED_SOURCE = "damaged-source"
    """No consumer could read what the source has there."""
    DAMAGED_TARGET = "damaged-target"
    """No consumer could read what the target has there."""


WORDS: dict[DifferenceKind, str] = {
    DifferenceKind.DIFFERS: "the records are not the same",
    DifferenceKind.MISSING: "the target has no such record",
    DifferenceKind.EXTRA: "the source has no such record",
    DifferenceKind.REPEATED: "the target has this record again",
    DifferenceKind.OUT_OF_ORDER: "the target has this record in another place",
    DifferenceKind.DAMAGED_SOURCE: "the source's batch cannot be read",
    DifferenceKind.DAMAGED_TARGET: "the target's batch cannot be read",
}
"""What each kind means, as it is told."""


class Difference(NamedTuple):
    """The first offset of the source at which the logs differ, and what is there on both sides."""

    kind: DifferenceKind
    offset: int
    source: RawRecord | None = None
    target: RawRecord | None = None
    note: str = ""


def first_unequal(one: Sequence[RawRecord], other: Sequence[RawRecord]) -> int | None:
    """The first place at which two stretches are not the same; None if they are."""
    if one == other:
        return None
    low, high = 0, min(len(one), len(other))  # the same below low; perhaps at high
    while low < high:
        middle = (low + high) // 2
        if one[low : middle + 1] == other[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def difference_at(source: RawRecord | None, target: RawRecord | None) -> Difference:
    """What differs where the two logs go on with these records, of which at least one is there; None is the end."""
    if source is None or (target is not None and target.offset < source.offset):
        assert target is not None, "one of the two has a record"
        return Difference(DifferenceKind.EXTRA, target.offset, None, target)
    if target is None or source.offset < target.offset:
        return Difference(DifferenceKind.MISSING, source.offset, source, None)
    return Difference(DifferenceKind.DIFFERS, source.offset, source, target)


class Record(NamedTuple):
    """A body taken apart; None is null."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]


class Shape(NamedTuple):
    """What a record looks like: sizes in bytes, -1 for null."""

    timestamp_ms: int
    key_bytes: int
    value_bytes: int
    headers: int
    headers_bytes: int


def take_apart(record: RawRecord) -> Record:
    """Key, value and headers; raises ValueError if the body is none."""
    body = record.body
    try:
        key, at = _field(body, 0)
        value, at = _field(body, at)
        count, at = read_varint(body, at)
        headers = []
        for _ in range(count):
            name, at = _field(body, at)
            content, at = _field(body, at)
            headers.append((name or b"", content))
    except IndexError:
        raise ValueError("the record ends early") from None
    return Record(key, value, tuple(headers))


def key_and_tombstone(record: RawRecord) -> tuple[bytes | None, bool]:
    """The key, and whether the value is null."""
    key, at = _field(record.body, 0)
    return key, read_varint(record.body, at)[0] < 0


def shape_of(record: RawRecord) -> Shape | None:
    """The shape; None if the body cannot be taken apart."""
    try:
        key, value, headers = take_apart(record)
    except ValueError:
        return None
    weight = sum(len(name) + len(content or b"") for name, content in headers)
    return Shape(record.timestamp_ms, _size(key), _size(value), len(headers), weight)


def differing_fields(source: RawRecord, target: RawRecord) -> tuple[str, ...]:
    """Which of timestamp, key, value and headers are not the same."""
    try:
        one, other = take_apart(source), take_apart(target)
    except ValueError:
        return ("body",)
    fields = [("timestamp", source.timestamp_ms != target.timestamp_ms)]
    fields += [(name, getattr(one, name) != getattr(other, name)) for name in Record._fields]
    return tuple(name for name, differs in fields if differs)


def _field(body: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = read_varint(body, at)
    if size < 0:
        return None, at
    if at + size > len(body):
        raise ValueError(f"a field claims {size} bytes of {len(body) - at}")
    return body[at : at + size], at + size


def _size(content: bytes | None) -> int:
    return -1 if content is None else len(content)
