"""Lays records into new batches where the source's own batch cannot go as it is.  (pure)

A batch with holes, with LogAppendTime, one that begins below the wanted offset, one too large for the target, and
message sets of old formats: their records are taken out, cut into stretches without a hole, and put into batches of
format v2 with the same codec. Where they are numbered anew, in class *mapped*, a stretch goes on across holes. Their
bodies are never looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from kmigrate.records.batch import CODEC_MASK, MAGIC_OFFSET, Header
from kmigrate.records.compression import Codec
from kmigrate.records.message_set import entry_bytes, read_entry
from kmigrate.records.record import RawRecord, build_batch, read_records, stretches

INFLATED_BYTES = 256 << 20
"""What the records of one batch may inflate to."""
CONVERTED_BYTES = 512 << 10
"""Messages of old formats are gathered into batches of about this size."""
CONVERTED_RECORDS = 10_000
_OLDEST_BYTES = MAGIC_OFFSET + 1


class Stretch(NamedTuple):
    """New bytes for the records from `base` on up to `next`.

    They follow each other without a hole; else `holes` are the offsets that are missing between them: from, up to.
    """

    base: int
    next: int
    records: int
    newest_ms: int
    oldest_ms: int
    data: bytearray | memoryview
    holes: tuple[tuple[int, int], ...] = ()


class Converted(NamedTuple):
    """What a run of old messages became: it reaches up to `end` in the buffer and to `next_offset` in the log."""

    end: int
    next_offset: int
    stretches: list[Stretch]

    def is_dense(self, wanted: int) -> bool:
        """Whether every offset from `wanted` on has its record."""
        for stretch in self.stretches:
            if stretch.base != wanted or stretch.holes:
                return False
            wanted = stretch.next
        return wanted == self.next_offset


def recast_batch(batch: memoryview, header: Header, wanted: int, most: int, *, across_holes: bool) -> list[Stretch]:
    """The records from `wanted` on, at most `most` in a batch; raises ValueError for records that are damaged.

    `across_holes`: where offsets are missing the same batch goes on, for its records will be numbered anew.
    """
    records = read_records(header, batch, INFLATED_BYTES)
    return list(_lay_out(records, wanted, Codec(header.attributes & CODEC_MASK), most, across_holes=across_holes))


def convert_messages(
    buffer: memoryview, at: int, end: int, wanted: int, most: int, *, across_holes: bool
) -> Converted | None:
    """The messages of formats v0 and v1 that lie at `at`, as far as one batch should hold; None if not one is whole.

    Raises ValueError for a message that is damaged. `across_holes` as for `recast_batch`.
    """
    records: list[RawRecord] = []
    start, codec, next_offset = at, Codec.NONE, wanted
    while (
        at + _OLDEST_BYTES <= end
        and buffer[at + MAGIC_OFFSET] < 2
        and at - start < CONVERTED_BYTES
        and len(records) < CONVERTED_RECORDS
        and at + (size := entry_bytes(buffer, at)) <= end
    ):
        entry = read_entry(buffer[at : at + size], INFLATED_BYTES)
        if records and entry.records[0].offset <= records[-1].offset:
            raise ValueError(f"a message at offset {entry.records[0].offset} behind one at {records[-1].offset}")
        records += entry.records
        codec, next_offset = entry.codec or codec, entry.next_offset
        at += size
    if at == start:
        return None
    if next_offset <= wanted:
        raise ValueError(f"messages up to offset {next_offset - 1} came instead")
    laid_out = _lay_out(records, wanted, codec, most, across_holes=across_holes)
    return Converted(at, next_offset, list(laid_out))


def _lay_out(
    records: Sequence[RawRecord], wanted: int, codec: Codec, most: int, *, across_holes: bool
) -> Iterator[Stretch]:
    dense = list(stretches(records, wanted))
    if across_holes:
        dense = [[record for each in dense for record in each]] if dense else []
    for each in dense:
        for first in range(0, len(each), most):
            yield _build(each[first : first + most], codec)


def _build(records: Sequence[RawRecord], codec: Codec) -> Stretch:
    base, after = records[0].offset, records[-1].offset + 1
    newest_ms = max(record.timestamp_ms for record in records)
    oldest_ms = min(record.timestamp_ms for record in records)
    holes: tuple[tuple[int, int], ...] = ()
    if after - base != len(records):
        holes = tuple(
            (one.offset + 1, next_one.offset)
            for one, next_one in pairwise(records)
            if next_one.offset != one.offset + 1
        )
        records = [record._replace(offset=number) for number, record in enumerate(records)]
    return Stretch(base, after, len(records), newest_ms, oldest_ms, build_batch(records, codec), holes)
