"""What the target's brokers allow, against what comes: batch sizes, replicas in sync, number of brokers.  (pure)"""

from __future__ import annotations

from collections.abc import Mapping

from kmigrate.kafka_types import TopicName
from kmigrate.preflight.findings import Finding, found, name_some
from kmigrate.preflight.registry import FindingId
from kmigrate.words import count_of


def judge_batches(largest_bytes: Mapping[TopicName, int], request_bytes: int | None) -> list[Finding]:
    """Batches that no request can carry; `request_bytes` is the least limit of all brokers, None if not told."""
    if request_bytes is None:
        return []
    beyond: dict[int, list[TopicName]] = {}
    for name, size in largest_bytes.items():
        if size > request_bytes:
            beyond.setdefault(size, []).append(name)
    return [
        found(FindingId.BATCH_TOO_LARGE, bytes=size, topics=name_some(names), limit=request_bytes)
        for size, names in sorted(beyond.items())
    ]


def judge_min_insync(least: int, factors: Mapping[TopicName, int]) -> list[Finding]:
    """Topics with no replica to spare, or too few; a single replica that must be in sync is no surprise."""
    short: dict[int, list[TopicName]] = {}
    for name, factor in factors.items():
        if least > 1 and factor <= least:
            short.setdefault(factor, []).append(name)
    return [
        found(
            FindingId.MIN_INSYNC_TOO_HIGH,
            value=least,
            count=count_of(len(names), "topic"),
            factor=factor,
            topics=name_some(names),
        )
        for factor, names in sorted(short.items())
    ]


def judge_sizes(source_brokers: int, target_brokers: int) -> list[Finding]:
    """A target with fewer brokers than the source."""
    if target_brokers >= source_brokers:
        return []
    return [
        found(
            FindingId.TARGET_SMALLER,
            target=count_of(target_brokers, "broker"),
            source=count_of(source_brokers, "broker"),
        )
    ]
