"""Logs of two sides made of the same records, each cut in its own way, and an independent reading of both.

What a partition holds is a list of slots, one for each offset of the source: a record, or None where no consumer sees
one. Each side lays them out as its writer, broker and cleaner might have. Written and read with the simulation's
batches, which know nothing of the product.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.records.batch import parse_header
from kmigrate.verify.pieces import Piece
from kmigrate.verify.places import Places
from tests.simulation.batches import (
    CONTROL,
    TRANSACTIONAL,
    Record,
    StoredRecord,
    appended,
    compress,
    decode,
    make_batch,
    make_marker,
    make_message,
    record_bytes,
    seal,
    with_append_time,
)

Slots = Sequence[Record | None]


class Laid(NamedTuple):
    """A batch, or a message, where it lies; `hidden` as a reader of decided data is told."""

    base: int
    next: int
    data: bytes
    hidden: bool = False


def pieces(laid: Sequence[Laid]) -> Iterator[Piece]:
    """What a reader brings of them."""
    for each in laid:
        header = parse_header(each.data, 0) if each.data[16] == 2 else None
        yield Piece(each.base, each.next, header, memoryview(each.data), each.hidden)


def seen(laid: Sequence[Laid]) -> dict[int, StoredRecord]:
    """What consumers see of them, by offset, read without the product's code."""
    return {record.offset: record for each in laid if not each.hidden for record in decode(each.data)}


@dataclass
class Writer:
    """Lays slots out in batches, at random."""

    chance: random.Random

    def lay_out(self, slots: Slots, first: int, *, fills_holes: bool = False) -> list[Laid]:
        """All slots from this offset on. `fills_holes`: a marker stands wherever there is no record."""
        laid: list[Laid] = []
        at = 0
        while at < len(slots):
            length = min(self.chance.choice((1, 1, 2, 3, 7, 20)), len(slots) - at)
            some = slots[at : at + length]
            if None in some and (fills_holes or self.chance.random() < 0.5):
                length = some.index(None) or 1
                some = some[:length]
            records = {delta: each for delta, each in enumerate(some) if each is not None}
            if records:
                laid += self._batch(records, length, first + at)
            elif fills_holes or self.chance.random() < 0.7:
                laid += self._hidden(length, first + at)
            at += length
        return laid

    def _batch(self, records: dict[int, Record], length: int, base: int) -> list[Laid]:
        codec, epoch = self.chance.choice((0, 0, 0, 1, 2, 3, 4)), self.chance.randrange(5)
        dense = len(records) == length
        times = {each.timestamp_ms for each in records.values()}
        old = dense and not any(each.headers for each in records.values())
        if old and self.chance.random() < 0.15:
            return self._messages(records, base, codec)
        first_ms = min(times) - self.chance.randrange(3)
        body = b"".join(record_bytes(each, delta, each.timestamp_ms - first_ms) for delta, each in records.items())
        if dense and self.chance.random() < 0.5:
            data = make_batch(list(records.values()), codec=codec, producer_id=self.chance.randrange(-1, 9))
            if len(times) == 1 and self.chance.random() < 0.3:
                other_times = [each._replace(timestamp_ms=each.timestamp_ms + 5) for each in records.values()]
                data = with_append_time(make_batch(other_times, codec=codec), times.pop())
        else:
            data = seal(
                compress(codec, body),
                attributes=codec | self.chance.choice((0, TRANSACTIONAL)),
                last_offset_delta=length - 1,
                base_timestamp_ms=first_ms,
                max_timestamp_ms=max(times),
                producer_id=7,
                producer_epoch=1,
                base_sequence=self.chance.randrange(99),
                record_count=len(records),
            )
        return [Laid(base, base + length, appended(data, base, epoch))]

    def _messages(self, records: dict[int, Record], base: int, codec: int) -> list[Laid]:
        """Messages of format v1; zstd came later."""
        stored = [StoredRecord(base + delta, *each) for delta, each in records.items()]
        if codec in (1, 2):
            return [Laid(base, base + len(stored), make_message(stored, magic=1, codec=codec))]
        return [Laid(each.offset, each.offset + 1, make_message([each], magic=1)) for each in stored]

    def _hidden(self, length: int, base: int) -> Iterator[Laid]:
        """Markers, aborted data, or a batch that the cleaner emptied."""
        kind = self.chance.randrange(3)
        if kind == 0:
            for offset in range(base, base + length):
                data = make_marker(3, 0, committed=False, coordinator_epoch=0, timestamp_ms=5)
                yield Laid(offset, offset + 1, appended(data, offset, 0), hidden=True)
            return
        if kind == 1:
            gone = [Record(9, b"aborted", b"aborted")] * length
            data = make_batch(gone, attributes=TRANSACTIONAL, producer_id=4)
            yield Laid(base, base + length, appended(data, base, 0), hidden=True)
            return
        data = seal(b"", last_offset_delta=length - 1, record_count=0, attributes=self.chance.choice((0, CONTROL)))
        yield Laid(base, base + length, appended(data, base, 0))


class Partition(NamedTuple):
    """Both sides of a partition, and how their offsets belong together."""

    source: list[Laid]
    target: list[Laid]
    places: Places
    start: int
    end: int


def make_partition(
    chance: random.Random, slots: Slots, on_target: Slots, first: int, offset_class: OffsetClass
) -> Partition:
    """`slots` from offset `first` on on the source; `on_target` are as many, and lie where the class puts them.

    Some batches of the target are the source's own bytes.
    """
    runs, offset = OffsetMap(), 0
    end = Offset(first + len(slots))
    source = Writer(chance).lay_out(slots, first)
    if offset_class is OffsetClass.IDENTICAL:
        target = Writer(chance).lay_out(on_target, first, fills_holes=True)
        places = Places(offset_class, runs, Ends(end, end))
    elif offset_class is OffsetClass.SHIFTED:
        target = Writer(chance).lay_out(on_target, 0, fills_holes=True)
        runs.add(Run(Offset(first), Offset(0)))
        places = Places(offset_class, runs, Ends(end, Offset(len(slots))))
    else:
        kept = []
        for number, (slot, copy) in enumerate(zip(slots, on_target, strict=True)):
            if slot is not None:
                runs.add(Run(Offset(first + number), Offset(offset)))
                kept.append(copy)
                offset += 1
        target = Writer(chance).lay_out(kept, 0, fills_holes=True)
        places = Places(offset_class, runs, Ends(end, Offset(offset)))
    return Partition(source, _with_own_bytes(source, target, places, chance), places, first, end)


def _with_own_bytes(source: list[Laid], target: list[Laid], places: Places, chance: random.Random) -> list[Laid]:
    """Where both sides begin and end a batch with the same records, the target may have the source's bytes."""
    by_place = {(each.base, each.next): each for each in source if each.data[16] == 2 and not each.hidden}
    found = []
    for each in target:
        difference = places.difference_over(each.base, each.next)
        twin = by_place.get((each.base + difference, each.next + difference)) if difference is not None else None
        if twin is not None and not each.hidden and each.data[16] == 2 and chance.random() < 0.7:
            mine, theirs = decode(twin.data), decode(each.data)
            shifted = [record._replace(offset=record.offset - (difference or 0)) for record in mine]
            if shifted == theirs:
                each = each._replace(data=appended(twin.data, each.base, 3))
        found.append(each)
    return found


def first_difference(partition: Partition) -> int | None:
    """The first offset of the source at which consumers of both sides do not see the same, read independently."""
    mine = seen(partition.source)
    theirs = {}
    for offset, record in seen(partition.target).items():
        place = partition.places.source_of(offset)
        assert place is not None
        theirs[place] = record._replace(offset=place)
    unequal = [offset for offset in mine.keys() | theirs.keys() if mine.get(offset) != theirs.get(offset)]
    return min(unequal, default=None)
