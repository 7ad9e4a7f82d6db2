"""Reads what brokers tell of their disks, and of clocks: by topics with LogAppendTime, and by the controller."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, TopicName, TopicPartition
from kmigrate.preflight.bounds import by_leader
from kmigrate.preflight.clock import Stamp
from kmigrate.preflight.room import Disks
from kmigrate.wire import check_calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import ClusterMetadata

LOOKS_APART_SECONDS = 1.0
"""Between two looks, in which a record must arrive that tells the clock."""


def read_disks(client: ClusterClient, brokers: Iterable[BrokerId]) -> dict[BrokerId, Disks]:
    """The disks of those brokers that tell; a broker with several is as full as all of them together."""
    found: dict[BrokerId, Disks] = {}
    for broker in brokers:
        with contextlib.suppress(ClusterError):
            told = client.broker(broker, check_calls.describe_disks())
            dirs = [each for each in told.dirs if not each.error and each.total_bytes > 0 <= each.usable_bytes]
            if dirs and not told.error:
                found[broker] = Disks(
                    total_bytes=sum(each.total_bytes for each in dirs),
                    usable_bytes=sum(each.usable_bytes for each in dirs),
                )
    return found


def read_stamps(client: ClusterClient, metadata: ClusterMetadata, topics: Sequence[TopicName]) -> list[Stamp]:
    """What two looks at topics with LogAppendTime show; raises ClusterError if they cannot be looked at."""
    partitions = [TopicPartition(name, number) for name in topics for number in metadata.topics[name].partitions]
    led, _leaderless = by_leader(metadata, partitions)
    before_ms = _wall_ms()
    first = _newest(client, led)
    time.sleep(LOOKS_APART_SECONDS)
    second = _newest(client, led)
    after_ms = _wall_ms()
    return [
        Stamp(before_ms, after_ms, stamp_ms)
        for tp, (offset, stamp_ms) in second.items()
        if tp in first and offset > first[tp][0]
    ]


def read_controller_stamp(client: ClusterClient) -> Stamp | str:
    """What the active controller's clock shows, or why that is not told."""
    before_ms = _wall_ms()
    try:
        told = client.any(check_calls.controller_time())
    except ClusterError as error:
        return error.reason
    if told.error or told.at_ms is None:
        return f"DescribeQuorum: {error_name(told.error)}" if told.error else "its quorum tells no time"
    return Stamp(before_ms, _wall_ms(), told.at_ms)


def _newest(
    client: ClusterClient, led: Mapping[BrokerId, Sequence[TopicPartition]]
) -> dict[TopicPartition, tuple[Offset, int]]:
    newest: dict[TopicPartition, tuple[Offset, int]] = {}
    for leader, partitions in led.items():
        answer = client.broker(leader, check_calls.newest_timestamps(partitions))
        newest.update((tp, (each.offset, each.timestamp_ms)) for tp, each in answer.items() if not each.error)
    return newest


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
