"""Makes one batch of what the source shows: the records that consumers see, numbered anew.  (pure)

Left out are control batches, aborted records, and what a copy back wrote to the source: that came from the target.
Keys, values, headers and timestamps stay as they are; producer, sequence and transactional bit are not taken along.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from kmigrate.kafka_types import Offset, ProducerId
from kmigrate.records.batch import CODEC_MASK, CONTROL, CRC_START, Header, crc32c
from kmigrate.records.compression import Codec
from kmigrate.records.message_set import read_entry
from kmigrate.records.record import RawRecord, build_batch, read_records

MOST_BYTES = 256 << 10
"""What the bodies of a batch's records may be together; a single one may be larger."""
MOST_RECORDS = 2_000
BUDGET_BYTES = 256 << 20
"""What the records of one batch of the source may unpack to."""

Shown = tuple[Header | None, int, memoryview]
"""A batch where it lies: its header (None: one message of an old format), the offset behind it, its bytes."""


class Gathered(NamedTuple):
    """The records from one source offset on below `next`; there may be none. `codec` is the source's."""

    records: tuple[RawRecord, ...]
    next: Offset
    codec: Codec = Codec.NONE

    def build(self) -> bytearray:
        """They as one batch with base offset 0, of no producer; there must be some."""
        numbered = [record._replace(offset=number) for number, record in enumerate(self.records)]
        return build_batch(numbered, self.codec)


class Limits(NamedTuple):
    """What one batch may hold."""

    records: int = MOST_RECORDS
    bytes: int = MOST_BYTES


ALL_OF_IT = Limits()


def gather(
    shown: Iterable[Shown],
    is_aborted: Callable[[Header], bool],
    *,
    start: Offset,
    end: Offset | None,
    ignored: Collection[ProducerId] = (),
    limits: Limits = ALL_OF_IT,
) -> Gathered:
    """The records at `start` and behind it, below `end`, as far as one batch should hold them.

    `is_aborted` is asked for every batch, in order. Raises ValueError for records that cannot be read.
    """
    records: list[RawRecord] = []
    codec, size, at = Codec.NONE, 0, int(start)
    for header, behind, view in shown:
        hidden = header is not None and (
            is_aborted(header) or bool(header.attributes & CONTROL) or header.producer_id in ignored
        )
        if behind <= at:
            continue
        if end is not None and at >= end:
            break
        if hidden or (header is not None and not header.record_count):
            at = behind
            continue
        found = _read(header, view)
        for record in found:
            if record.offset < at:
                continue
            if end is not None and record.offset >= end:
                return Gathered(tuple(records), end, codec)
            if records and (len(records) >= limits.records or size + len(record.body) > limits.bytes):
                return Gathered(tuple(records), Offset(record.offset), codec)
            records.append(record)
            size += len(record.body)
            codec = codec or Codec(header.attributes & CODEC_MASK if header is not None else 0)
            at = record.offset + 1
        at = behind
    return Gathered(tuple(records), Offset(at if end is None else min(at, end)), codec)


def _read(header: Header | None, view: memoryview) -> list[RawRecord]:
    if header is None:
        return list(read_entry(view, BUDGET_BYTES).records)
    if crc32c(view[CRC_START:]) != header.crc:
        raise ValueError(f"the batch at offset {header.base_offset} does not have the CRC that its header says")
    return read_records(header, view, BUDGET_BYTES)
