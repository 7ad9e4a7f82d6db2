"""What workers tell the owner: values that travel up; only what changed since the last report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.copy.orders import UNKNOWN_TIME_MS, PipelineKey
from kmigrate.copy.spending import NOTHING_SPENT, Spent
from kmigrate.copy.states import PartitionState, Stop
from kmigrate.copy.tally import Latencies
from kmigrate.kafka_types import LeaderEpoch, Offset, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Entry


class PartitionProgress(NamedTuple):
    """Where one partition stands.

    `position` is how far the source is copied and `target_end` where that lies on the target, the end of its log as far
    as it is proven (-1: not known yet); only a class other than *identical* tells them apart. `source_end` is the last
    known min(high watermark, LSO) of the source (-1: not known yet). `records` and `bytes` count what this worker
    appended.
    `newest_ms` is the newest timestamp among the last appended batch (-1: none). `markers` counts the offsets of gaps,
    `reencoded` the records that were laid into new batches, `converted` those that came in format v0 or v1.
    `held_back` are the offsets between the source's last stable offset and its high watermark: an open transaction
    holds them. `reason` says why it waits. `entries` of the offset map are not saved yet, as far as the copier knows:
    the last ones of `entries_made` in this `life` of the partition's order. `even_ms` and `retention_ms` are those of
    `Remembered`. `limit_wish_bytes` is what the target topic's max.message.bytes should be raised to (0: as it is).
    """

    partition: TopicPartition
    state: PartitionState
    position: Offset
    source_start: Offset
    source_end: Offset
    source_epoch: LeaderEpoch
    records: int
    bytes: int
    newest_ms: int
    crc_errors: int
    reason: str
    stop: Stop | None
    markers: int = 0
    reencoded: int = 0
    converted: int = 0
    held_back: int = 0
    target_end: Offset = Offset(-1)
    offset_class: OffsetClass = OffsetClass.IDENTICAL
    life: int = 0
    entries: tuple[Entry, ...] = ()
    entries_made: int = 0
    even_ms: int = UNKNOWN_TIME_MS
    retention_ms: int | None = None
    limit_wish_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineProgress:
    """One pipeline's report.

    `orders` is the number of the Orders it has adopted; `released` lists partitions it gave up since the last report;
    `trouble` names clusters whose leaders should be looked up again. `spent` is where its time went since it began,
    `latencies` (of topics) are what came since the last report.
    """

    key: PipelineKey
    orders: int
    partitions: tuple[PartitionProgress, ...]
    released: tuple[TopicPartition, ...]
    source_trouble: str
    target_trouble: str
    spent: Spent = NOTHING_SPENT
    latencies: tuple[tuple[TopicName, Latencies], ...] = ()
