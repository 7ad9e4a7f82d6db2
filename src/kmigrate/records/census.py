"""What a stretch of a log holds, told by the headers of its batches alone.  (pure)

Nothing is decompressed and no CRC is checked. What cannot be seen without that is taken as harmless: the records in a
compressed message of format v0 or v1 count as one an offset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

from kmigrate.records.batch import (
    CODEC_MASK,
    CONTROL,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    MAGIC,
    MAGIC_OFFSET,
    TRANSACTIONAL,
    Header,
    parse_header,
)
from kmigrate.records.compression import Codec
from kmigrate.records.message_set import entry_bytes

_OLD_HEADER_BYTES = 18  # up to and with the attributes


class Stretch(NamedTuple):
    """Offsets that were looked at, one after the other, and what a consumer of decided data sees of them.

    `stands_for` is how many offsets of the log they are the sample of; at least `offsets`.
    """

    offsets: int
    records: int
    size_bytes: int
    stands_for: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What was seen in some stretches of one partition; `+` puts two together."""

    stretches: tuple[Stretch, ...] = ()
    batches: int = 0
    control_batches: int = 0
    transactional_batches: int = 0
    aborted_batches: int = 0
    append_time_batches: int = 0
    holed_batches: int = 0
    formats: frozenset[int] = frozenset()
    codecs: frozenset[str] = frozenset()
    largest_batch_bytes: int = 0

    @property
    def offsets(self) -> int:
        """How many offsets were looked at."""
        return sum(stretch.offsets for stretch in self.stretches)

    @property
    def records(self) -> int:
        """How many of them hold a record that a consumer sees."""
        return sum(stretch.records for stretch in self.stretches)

    def __add__(self, other: Census) -> Census:
        merged = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, mine in merged.items():
            theirs = getattr(other, name)
            merged[name] = mine | theirs if isinstance(mine, frozenset) else mine + theirs
        merged["largest_batch_bytes"] = max(self.largest_batch_bytes, other.largest_batch_bytes)
        return Census(**merged)


def take_census(
    fetched: memoryview, at: int, end: int, is_aborted: Callable[[Header], bool] = lambda _header: False
) -> Census | None:
    """The census of fetched bytes from the wanted offset `at` on, below `end`; None if no batch begins in them.

    Its one stretch reaches to the end of the last batch of which the header is there, so also one that is cut counts.
    Offsets missing before a batch hold no record. `is_aborted` is asked for each batch of format v2, in order.
    """
    count = _Count(at, end)
    place = 0
    while (size := _entry(fetched, place, count, is_aborted)) is not None:
        place += size
    return count.census() if count.next > at else None


def census_of_nothing(at: int, end: int) -> Census:
    """The census of a stretch without a batch."""
    return Census(stretches=(Stretch(end - at, 0, 0, end - at),))


def _entry(fetched: memoryview, place: int, count: _Count, is_aborted: Callable[[Header], bool]) -> int | None:
    """Counts the batch at this place and tells its size; None if none begins here that can be counted."""
    if place + _OLD_HEADER_BYTES > len(fetched):
        return None
    magic = fetched[place + MAGIC_OFFSET]
    if magic < MAGIC:
        return _old_entry(fetched[place:], magic, count)
    if place + HEADER_BYTES > len(fetched):
        return None
    header = parse_header(fetched, place)
    if magic > MAGIC or header.size < HEADER_BYTES or header.base_offset >= count.end:
        return None
    count.batch(header, aborted=is_aborted(header))
    return header.size


def _old_entry(entry: memoryview, magic: int, count: _Count) -> int | None:
    offset = int.from_bytes(entry[:8], "big", signed=True)
    try:
        size = entry_bytes(entry, 0)
    except ValueError:
        return None
    if offset >= count.end:
        return None
    count.old_message(offset, size, magic, attributes=entry[MAGIC_OFFSET + 1])
    return size


class _Count:
    """The census of one stretch while it is taken; `next` is where the next batch should begin."""

    def __init__(self, at: int, end: int) -> None:
        self.at = self.next = at
        self.end = end
        self.batches = self.records = self.size_bytes = self.largest = 0
        self.control = self.transactional = self.aborted = self.append_time = self.holed = 0
        self.formats: set[int] = set()
        self.codecs: set[str] = set()

    def batch(self, header: Header, *, aborted: bool) -> None:
        control = bool(header.attributes & CONTROL)
        self.control += control
        self.aborted += aborted
        self.transactional += bool(header.attributes & TRANSACTIONAL) and not control
        self.holed += not control and header.record_count <= header.last_offset_delta
        visible = 0 if control or aborted else header.record_count
        self._add(header.base_offset, header.next_offset, visible, header.size, MAGIC, header.attributes)

    def old_message(self, offset: int, size: int, magic: int, attributes: int) -> None:
        base = self.next if attributes & CODEC_MASK else offset
        self._add(base, offset + 1, offset + 1 - base, size, magic, attributes)

    def _add(self, base: int, after: int, visible: int, size: int, magic: int, attributes: int) -> None:
        self.batches += 1
        self.records += max(0, min(visible, after - max(base, self.at)))
        self.next = max(self.next, after)
        self.size_bytes += size
        self.largest = max(self.largest, size)
        self.append_time += bool(attributes & LOG_APPEND_TIME)
        self.formats.add(magic)
        self.codecs.add(_codec_name(attributes & CODEC_MASK))

    def census(self) -> Census:
        offsets = min(self.next, self.end) - self.at
        return Census(
            stretches=(Stretch(offsets, min(self.records, offsets), self.size_bytes, offsets),),
            batches=self.batches,
            control_batches=self.control,
            transactional_batches=self.transactional,
            aborted_batches=self.aborted,
            append_time_batches=self.append_time,
            holed_batches=self.holed,
            formats=frozenset(self.formats),
            codecs=frozenset(self.codecs),
            largest_batch_bytes=self.largest,
        )


def _codec_name(code: int) -> str:
    return Codec(code).name.lower() if code in set(Codec) else f"codec {code}"
