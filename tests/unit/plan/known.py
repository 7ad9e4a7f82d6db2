"""Facts for tests: say what matters, the rest is an ordinary partition."""

from __future__ import annotations

from dataclasses import replace

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.manifest import ClusterSettings, HostPort, Manifest, Offsets
from kmigrate.plan.facts import (
    Facts,
    PartitionFacts,
    Right,
    Sampling,
    TargetContent,
    TargetFacts,
    TopicFacts,
)
from kmigrate.records.census import Census, Stretch

COMPACTED = TopicFacts(cleanup_policy="compact", delete_retention_ms=86_400_000)
CLUSTER = ClusterSettings(bootstrap=(HostPort("localhost", 9092),))


def place(topic: str = "t", partition: int = 0) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(partition))


def seen(offsets: int, records: int | None = None, *, stands_for: int | None = None, **batches: int) -> Census:
    """One stretch; dense unless told otherwise."""
    stretch = Stretch(offsets, offsets if records is None else records, offsets * 100, stands_for or offsets)
    return Census(stretches=(stretch,), batches=1, formats=frozenset({2}), codecs=frozenset({"none"}), **batches)


def partition(
    topic: str = "t",
    number: int = 0,
    *,
    start: int = 0,
    end: int = 1000,
    target: TargetContent = TargetContent.ABSENT,
    target_end: int = 0,
    may_delete: Right = Right.GRANTED,
    gaps: int = 0,
    census: Census | None = None,
    size_bytes: int | None = None,
    last_stable: int | None = None,
    unseen: str = "",
) -> PartitionFacts:
    """A partition whose backlog was sampled whole, with so many gaps; `census` says otherwise."""
    facts = PartitionFacts(
        partition=place(topic, number),
        target=TargetFacts(content=target, end=Offset(target_end), may_delete=may_delete),
        start=Offset(start),
        end=Offset(end),
        high_watermark=Offset(end),
        last_stable=Offset(end if last_stable is None else last_stable),
        size_bytes=size_bytes,
        census=census,
        unseen=unseen,
    )
    if census is not None or not facts.backlog:
        return facts
    return replace(facts, census=seen(facts.backlog, facts.backlog - gaps))


def facts(
    *partitions: PartitionFacts,
    may_write_markers: Right = Right.GRANTED,
    topics: dict[str, TopicFacts] | None = None,
    sampling: Sampling | None = None,
) -> Facts:
    return Facts(
        source_cluster_id="S",
        target_cluster_id="T",
        target_brokers=2,
        may_write_markers=may_write_markers,
        topics={TopicName(name): each for name, each in (topics or {}).items()},
        partitions=partitions,
        left_out={TopicName("__consumer_offsets"): "an internal topic"},
        sampling=sampling or Sampling(places=8),
    )


def manifest(offsets: Offsets | None = None) -> Manifest:
    return Manifest(name="m", source=CLUSTER, target=CLUSTER, offsets=offsets or Offsets())
