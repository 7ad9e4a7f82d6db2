"""Findings say what is wrong before the first write; what was adopted before is not blocked any more."""

from __future__ import annotations

import pytest

from kmigrate.errors import Blocked, Refused
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Partition,
    Side,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.manifest import ClusterSettings, HostPort, Manifest, Selection
from kmigrate.preflight.check import (
    Seen,
    judge_contents,
    judge_partition_counts,
    judge_replication,
    judge_selection,
    judge_settings,
)
from kmigrate.preflight.findings import Finding, name_some, refuse_blockers
from kmigrate.preflight.foreign import Content
from kmigrate.preflight.guards import guard_cluster, guard_clusters
from kmigrate.preflight.reach import Reach, judge_reach
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.topics.select import select_topics
from kmigrate.wire.calls import ClusterMetadata, PartitionMetadata, TopicMetadata

CLUSTER = ClusterSettings(bootstrap=(HostPort("localhost", 9092),))
T = TopicName("t")
HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)


def cluster(topics: dict[str, int], *, brokers: int = 1, replicas: int = 1) -> ClusterMetadata:
    addresses = {BrokerId(n): BrokerAddress(BrokerId(n), "b", 9000 + n) for n in range(brokers)}
    part = PartitionMetadata(
        error=0,
        leader=BrokerId(0),
        leader_epoch=LeaderEpoch(0),
        replicas=tuple(BrokerId(n) for n in range(replicas)),
    )
    return ClusterMetadata(
        cluster_id="c",
        controller=BrokerId(0),
        brokers=addresses,
        topics={
            TopicName(name): TopicMetadata(
                error=0,
                topic_id=TopicId(name),
                is_internal=False,
                partitions={Partition(n): part for n in range(count)},
            )
            for name, count in topics.items()
        },
    )


def manifest(*include: str, replication_factor: str | int = "source") -> Manifest:
    return Manifest(
        name="m",
        source=CLUSTER,
        target=CLUSTER,
        topics=Selection(include=include or (".*",)),
        replication_factor=replication_factor,  # type: ignore[arg-type]
    )


def seen(
    source: ClusterMetadata, target: ClusterMetadata, wanted: Manifest | None = None, adopted: tuple[str, ...] = ()
) -> Seen:
    return Seen(
        source=source,
        target=target,
        selected=select_topics(source.topics, wanted or manifest()),
        adopted=[TopicPartition(TopicName(name), Partition(0)) for name in adopted],
    )


def levels(findings: list[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def test_a_topic_that_the_manifest_names_must_be_there_unless_it_was_copied_before() -> None:
    wanted = manifest("t", "gone")
    assert levels(judge_selection(seen(cluster({"t": 1}), cluster({}), wanted))) == [Level.BLOCK]
    assert levels(judge_selection(seen(cluster({"t": 1}), cluster({}), wanted, ("gone",)))) == [Level.PASS]
    assert levels(judge_selection(seen(cluster({}), cluster({})))) == [Level.WARN]


def test_a_topic_that_may_not_be_seen_is_not_called_missing() -> None:
    wanted = manifest("t", "hidden", "gone")
    found = judge_selection(seen(cluster({"t": 1}), cluster({}), wanted), hidden=(TopicName("hidden"),))
    assert [each.what for each in found if each.level is Level.BLOCK] == [
        "the source cluster has no topic gone, which the manifest names in topics.include"
    ]
    alone = seen(cluster({}), cluster({}), manifest("hidden"))
    assert judge_selection(alone, (TopicName("hidden"),)) == []


def test_more_replicas_than_brokers_block_once_for_all_topics() -> None:
    both = seen(cluster({"a": 1, "b": 1}, replicas=3), cluster({}, brokers=2))
    (finding,) = judge_replication(manifest(), both)
    assert finding.level is Level.BLOCK
    assert "2 brokers" in finding.what
    assert "a, b" in finding.what
    assert "fit" in finding.hint
    assert judge_replication(manifest(replication_factor="fit"), both) == []
    assert judge_replication(manifest(replication_factor=2), both) == []


def test_a_target_topic_may_be_smaller_but_not_larger() -> None:
    smaller = seen(cluster({"t": 3}), cluster({"t": 2}))
    larger = seen(cluster({"t": 2}), cluster({"t": 3}))
    assert levels(judge_partition_counts(smaller, [T])) == [Level.WARN]
    assert levels(judge_partition_counts(larger, [T])) == [Level.BLOCK]
    copied = seen(cluster({"t": 2}), cluster({"t": 3}), adopted=("t",))
    assert levels(judge_partition_counts(copied, [T])) == [Level.WARN]


def test_foreign_records_block_their_topic_with_the_evidence() -> None:
    contents = {
        TopicPartition(T, Partition(0)): Content(True, 0, "empty"),
        TopicPartition(T, Partition(1)): Content(False, 7, "its last batch was written by producer id 5"),
        TopicPartition(T, Partition(2)): Content(False, -1, "it has no leader now"),
    }
    (finding,) = judge_contents(contents)
    assert finding.level is Level.BLOCK
    assert "2 partitions; t-1 (log end 7): its last batch was written by producer id 5" in finding.what


def test_topics_with_our_records_that_nothing_remembers_are_named() -> None:
    contents = {
        TopicPartition(T, Partition(0)): Content(True, 0, "empty"),
        TopicPartition(TopicName("b"), Partition(0)): Content(True, 7, "its leader knows our producer id"),
        TopicPartition(TopicName("b"), Partition(1)): Content(True, 9, "its leader knows our producer id"),
        TopicPartition(TopicName("a"), Partition(0)): Content(True, 1, "its leader knows our producer id"),
    }
    (finding,) = judge_contents(contents)
    assert (finding.level, finding.forgotten) == (Level.PASS, ("a", "b"))
    assert "3 partitions" in finding.what


def test_settings_that_do_harm_block_an_empty_topic_and_warn_of_one_in_use() -> None:
    compact = {T: {**HOLD, "cleanup.policy": "compact"}}
    (finding,) = judge_settings(compact, {}, (), "t:9092")
    assert finding.level is Level.BLOCK
    assert "kafka-configs.sh --bootstrap-server t:9092" in finding.hint
    assert levels(judge_settings(compact, {}, {"t"}, "t:9092")) == [Level.WARN]
    assert judge_settings({T: HOLD}, {}, (), "t:9092") == []


def test_every_broker_that_is_not_fit_is_named() -> None:
    def reach(number: int, failure: str, too_old: bool = False) -> Reach:
        broker = BrokerAddress(BrokerId(number), f"b{number}", 9092)
        return Reach(side=Side.TARGET, broker=broker, failure=failure, too_old=too_old)

    findings = judge_reach(Side.TARGET, [reach(1, ""), reach(2, "connection refused"), reach(3, "", too_old=True)])
    assert levels(findings) == [Level.BLOCK, Level.BLOCK]
    assert "b2:9092 (id 2) cannot be reached (network): connection refused" in findings[0].what
    assert "older than Kafka 2.8" in findings[1].what
    assert levels(judge_reach(Side.TARGET, [reach(1, "")])) == [Level.PASS]


def test_all_blockers_are_told_at_once() -> None:
    findings = [
        Finding(id=FindingId.DISK_TOO_SMALL, level=Level.BLOCK, what="one", hint="mend it"),
        Finding(id=FindingId.QUOTA, level=Level.WARN, what="two"),
        Finding(id=FindingId.TOPIC_MISSING, level=Level.BLOCK, what="three"),
    ]
    with pytest.raises(Blocked, match=r"(?s)2 things.*one\n.*mend it\n.*three"):
        refuse_blockers(findings)
    refuse_blockers(findings[1:2])


def test_of_many_names_some_are_told() -> None:
    assert name_some(f"t{n}" for n in range(7)) == "t0, t1, t2, t3, t4 and 2 more"


def test_wrong_clusters_are_refused() -> None:
    guard_clusters(source="a", target="b")
    with pytest.raises(Refused, match="same cluster"):
        guard_clusters(source="a", target="a")
    guard_cluster(Side.SOURCE, "a", wanted="a", remembered="a")
    with pytest.raises(Refused, match=r"spec\.source\.clusterId says b"):
        guard_cluster(Side.SOURCE, "a", wanted="b", remembered=None)
    with pytest.raises(Refused, match="began with b"):
        guard_cluster(Side.TARGET, "a", wanted=None, remembered="b")
    with pytest.raises(Refused, match="does not tell"):
        guard_cluster(Side.TARGET, "", wanted=None, remembered=None)
