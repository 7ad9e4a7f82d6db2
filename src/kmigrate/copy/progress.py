"""What workers tell the owner: values that travel up; only what changed since the last report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.states import PartitionState, Stop
from kmigrate.kafka_types import LeaderEpoch, Offset, TopicPartition


class PartitionProgress(NamedTuple):
    """Where one partition stands.

    `position` is the target's log end as far as it is proven (-1: not known yet); `source_end` the last known
    min(high watermark, LSO) of the source (-1: not known yet). `records` and `bytes` count what this worker appended.
    `newest_ms` is the newest timestamp among the last appended batch (-1: none). `reason` says why it waits.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineProgress:
    """One pipeline's report.

    `orders` is the number of the Orders it has adopted; `released` lists partitions it gave up since the last report;
    `trouble` names clusters whose leaders should be looked up again.
    """

    key: PipelineKey
    orders: int
    partitions: tuple[PartitionProgress, ...]
    released: tuple[TopicPartition, ...]
    source_trouble: str
    target_trouble: str
