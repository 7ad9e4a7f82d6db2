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
from kmigrate.wire.error_codes import ErrorCode


class Bounds(NamedTuple):
    """One partition's log: where it starts and truly ends, and how far consumers may read it.

    `at_time` is the first record at or after the time that was asked for (None: there is none, or no time was given).
    """

    start: Offset
    end: Offset
    high_watermark: Offset
    last_stable: Offset
    at_time: Offset | None = None


class Unseen(NamedTuple):
    """Why a partition could not be looked at; `for_good`: asking again does not help."""

    reason: str
    for_good: bool = False


TOGETHER = 1_000
"""Partitions that a leader is asked about at once: it searches its index for each time that is looked up."""
NO_LEADER = Unseen("it has no leader now")
NO_TIMES = Unseen(
    "its message format has no timestamps, so that no time can be looked up: spec.start must be earliest or latest",
    for_good=True,
)


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
    client: ClusterClient,
    metadata: ClusterMetadata,
    partitions: Iterable[TopicPartition],
    at_ms: int | None = None,
) -> dict[TopicPartition, Bounds | Unseen]:
    """The bounds of each partition, asked of its leader; with `at_ms` also which decided record is the first since."""
    led, leaderless = by_leader(metadata, partitions)
    found: dict[TopicPartition, Bounds | Unseen] = dict.fromkeys(leaderless, NO_LEADER)
    for leader, all_of_it in led.items():
        for first in range(0, len(all_of_it), TOGETHER):
            some = all_of_it[first : first + TOGETHER]
            try:
                found.update(_ask_leader(client, metadata, leader, some, at_ms))
            except ClusterError as error:
                found.update(dict.fromkeys(some, Unseen(str(error))))
    return found


def _ask_leader(
    client: ClusterClient,
    metadata: ClusterMetadata,
    leader: BrokerId,
    partitions: list[TopicPartition],
    at_ms: int | None,
) -> dict[TopicPartition, Bounds | Unseen]:
    """The high watermark is asked before the last stable offset, which may therefore lie above it.

    So one below means an open transaction, and never records that arrived between two questions. It is told as it is:
    there no transaction is cut in two. The log end is asked last: it is no lower than both. The time is asked after the
    last stable offset: where no record is found, none below that offset is so late.
    """
    starts = client.broker(leader, calls.list_offsets(partitions, calls.EARLIEST))
    watermarks = client.broker(leader, calls.list_offsets(partitions, calls.LATEST))
    stable = client.broker(leader, calls.list_offsets(partitions, calls.LATEST, calls.READ_COMMITTED))
    times = {} if at_ms is None else client.broker(leader, calls.list_offsets(partitions, at_ms, calls.READ_COMMITTED))
    epochs = {tp: each.leader_epoch for tp in partitions if (each := _described(metadata, tp)) is not None}
    ends = client.broker(leader, calls.offset_for_leader_epoch(epochs))
    found: dict[TopicPartition, Bounds | Unseen] = {}
    for tp in partitions:
        start, last_stable, high_watermark, end = starts.get(tp), stable.get(tp), watermarks.get(tp), ends.get(tp)
        if start is None or last_stable is None or high_watermark is None or end is None:
            found[tp] = Unseen("its leader did not answer for it")
        elif error := start.error or last_stable.error or high_watermark.error or end.error:
            found[tp] = Unseen(f"its log cannot be read: {error_name(error)}")
        elif at_ms is None:
            found[tp] = Bounds(start.offset, end.end_offset, high_watermark.offset, last_stable.offset)
        elif (at_time := times.get(tp)) is None:
            found[tp] = Unseen("its leader did not answer for it")
        elif at_time.error == ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT:
            found[tp] = NO_TIMES
        elif at_time.error:
            found[tp] = Unseen(f"its records cannot be looked up by time: {error_name(at_time.error)}")
        else:
            since = at_time.offset if at_time.offset >= 0 else None
            found[tp] = Bounds(start.offset, end.end_offset, high_watermark.offset, last_stable.offset, since)
    return found


def _described(metadata: ClusterMetadata, partition: TopicPartition) -> PartitionMetadata | None:
    topic = metadata.topics.get(partition.topic)
    return None if topic is None else topic.partitions.get(partition.partition)
