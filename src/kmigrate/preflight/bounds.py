"""Where the logs of many partitions begin and end; a partition that cannot be asked is told as such."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, TopicPartition
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import ClusterMetadata, PartitionMetadata


class Bounds(NamedTuple):
    """One partition's log: where it starts and truly ends, and how far consumers may read it."""

    start: Offset
    end: Offset
    high_watermark: Offset
    last_stable: Offset


class Unseen(NamedTuple):
    """Why a partition could not be looked at."""

    reason: str


NO_LEADER = Unseen("it has no leader now")


def by_leader(
    metadata: ClusterMetadata, partitions: Iterable[TopicPartition]
) -> tuple[dict[BrokerId, list[TopicPartition]], list[TopicPartition]]:
    """The partitions of each leader, and those without one."""
    led: dict[BrokerId, list[TopicPartition]] = {}
    leaderless: list[TopicPartition] = []
    for partition in partitions:
        described = _described(metadata, partition)
        if described is None or described.leader not in metadata.brokers:
            leaderless.append(partition)
        else:
            led.setdefault(described.leader, []).append(partition)
    return led, leaderless


def read_bounds(
    client: ClusterClient, metadata: ClusterMetadata, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, Bounds | Unseen]:
    """The bounds of each partition, asked of its leader."""
    led, leaderless = by_leader(metadata, partitions)
    found: dict[TopicPartition, Bounds | Unseen] = dict.fromkeys(leaderless, NO_LEADER)
    for leader, some in led.items():
        try:
            found.update(_ask_leader(client, metadata, leader, some))
        except ClusterError as error:
            found.update(dict.fromkeys(some, Unseen(str(error))))
    return found


def _ask_leader(
    client: ClusterClient, metadata: ClusterMetadata, leader: BrokerId, partitions: list[TopicPartition]
) -> dict[TopicPartition, Bounds | Unseen]:
    """The ends are asked from the innermost to the outermost, so that they come in order while records arrive."""
    starts = client.broker(leader, calls.list_offsets(partitions, calls.EARLIEST))
    stable = client.broker(leader, calls.list_offsets(partitions, calls.LATEST, calls.READ_COMMITTED))
    watermarks = client.broker(leader, calls.list_offsets(partitions, calls.LATEST))
    epochs = {tp: each.leader_epoch for tp in partitions if (each := _described(metadata, tp)) is not None}
    ends = client.broker(leader, calls.offset_for_leader_epoch(epochs))
    found: dict[TopicPartition, Bounds | Unseen] = {}
    for tp in partitions:
        start, last_stable, high_watermark, end = starts.get(tp), stable.get(tp), watermarks.get(tp), ends.get(tp)
        if start is None or last_stable is None or high_watermark is None or end is None:
            found[tp] = Unseen("its leader did not answer for it")
        elif error := start.error or last_stable.error or high_watermark.error or end.error:
            found[tp] = Unseen(f"its log cannot be read: {error_name(error)}")
        else:
            found[tp] = Bounds(start.offset, end.end_offset, high_watermark.offset, last_stable.offset)
    return found


def _described(metadata: ClusterMetadata, partition: TopicPartition) -> PartitionMetadata | None:
    topic = metadata.topics.get(partition.topic)
    return None if topic is None else topic.partitions.get(partition.partition)
