"""All checks before the first write, in the order in which an operator would mend what they find.

The functions whose names begin with `judge_` are pure: facts in, findings out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.identity import producer_ids
from kmigrate.kafka_types import Partition, ProducerId, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.preflight.findings import Finding, Level, name_some
from kmigrate.preflight.foreign import Content, look_into
from kmigrate.preflight.reach import judge_reach, try_brokers
from kmigrate.topics.create import decide_replication_factor
from kmigrate.topics.describe import describe_topics
from kmigrate.topics.hold import (
    HELD_KEYS,
    SOURCE_KEYS,
    TimestampLimits,
    alter_command,
    differences,
    hold_settings,
)
from kmigrate.topics.select import Selected
from kmigrate.wire.calls import ClusterMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Both clusters as they were looked at once; `adopted` are partitions that this migration copied before."""

    source: ClusterMetadata
    target: ClusterMetadata
    selected: Selected
    adopted: Collection[TopicPartition]

    @property
    def adopted_topics(self) -> set[TopicName]:
        """Topics that this migration copied before: what is wrong with them now stops them, not the start."""
        return {partition.topic for partition in self.adopted}


def check(
    manifest: Manifest,
    seen: Seen,
    source: ClusterClient,
    target: ClusterClient,
    reach: Mapping[Side, ConnectionSettings],
    producer_id: ProducerId,
) -> list[Finding]:
    """Everything that there is to say; raises ClusterError if a cluster cannot be asked."""
    findings = judge_reach(Side.SOURCE, try_brokers(Side.SOURCE, seen.source.brokers.values(), reach[Side.SOURCE]))
    findings += judge_reach(Side.TARGET, try_brokers(Side.TARGET, seen.target.brokers.values(), reach[Side.TARGET]))
    findings += judge_selection(seen)
    findings += judge_replication(manifest, seen)
    return findings + check_existing(manifest, seen, source, target, reach[Side.TARGET], producer_id)


def check_existing(
    manifest: Manifest,
    seen: Seen,
    source: ClusterClient,
    target: ClusterClient,
    reach_target: ConnectionSettings,
    producer_id: ProducerId,
) -> list[Finding]:
    """What there is to say of selected topics that the target has already."""
    existing = [name for name in seen.selected.topics if name in seen.target.topics]
    if not existing:
        return []
    findings = judge_partition_counts(seen, existing)
    strange = [partition for partition in _partitions(seen, existing) if partition not in seen.adopted]
    findings += judge_contents(look_into(target, reach_target, seen.target, strange, producer_ids(producer_id)))
    return findings + judge_settings(
        describe_topics(target, existing, HELD_KEYS),
        describe_topics(source, existing, SOURCE_KEYS),
        seen.adopted_topics,
        ",".join(map(str, manifest.target.bootstrap)),
    )


def _partitions(seen: Seen, topics: Collection[TopicName]) -> list[TopicPartition]:
    return [
        TopicPartition(name, Partition(number))
        for name in topics
        for number in sorted(seen.target.topics[name].partitions)
    ]


def judge_selection(seen: Seen) -> list[Finding]:
    """Topics that the manifest names must be there, and something must be left to copy."""
    missing = [name for name in seen.selected.missing if name not in seen.adopted_topics]
    if missing:
        return [
            Finding(
                level=Level.BLOCK,
                what=f"the source cluster has no topic {name}, which the manifest names in topics.include",
                hint="correct the name; or the user has no right to DESCRIBE the topic",
            )
            for name in missing
        ]
    if not seen.selected.topics:
        return [Finding(level=Level.WARN, what="no topic of the source is selected yet: new ones will be")]
    return [Finding(level=Level.PASS, what=f"{_count(len(seen.selected.topics), 'topic')} selected")]


def judge_replication(manifest: Manifest, seen: Seen) -> list[Finding]:
    """A topic cannot have more replicas than the target has brokers."""
    brokers = len(seen.target.brokers)
    too_many: dict[int, list[str]] = {}
    for name in seen.selected.topics:
        parts = seen.source.topics[name].partitions.values()
        if name in seen.target.topics or not parts:
            continue
        replicas = max(len(part.replicas) for part in parts)
        factor = decide_replication_factor(manifest.replication_factor, replicas, brokers)
        if factor > brokers:
            too_many.setdefault(factor, []).append(name)
    return [
        Finding(
            level=Level.BLOCK,
            what=f"the target has {_count(brokers, 'broker')}, but {factor} replicas are wanted for"
            f" {_count(len(names), 'topic')}: {name_some(names)}",
            hint="set `replicationFactor: fit` in the manifest's spec, or a number",
        )
        for factor, names in sorted(too_many.items())
    ]


def judge_partition_counts(seen: Seen, existing: Collection[TopicName]) -> list[Finding]:
    """A target topic may have fewer partitions (they will be added), never more."""
    findings = []
    for name in existing:
        have, want = len(seen.target.topics[name].partitions), len(seen.source.topics[name].partitions)
        if have > want:
            findings.append(
                Finding(
                    level=Level.WARN if name in seen.adopted_topics else Level.BLOCK,
                    what=f"topic {name} has {have} partitions on the target and {want} on the source",
                    hint="keys would go to other partitions: delete the target topic, or leave it out",
                )
            )
        elif have < want:
            what = f"topic {name} will get {want} partitions on the target; it has {have}"
            findings.append(Finding(level=Level.WARN, what=what))
    return findings


def judge_contents(contents: Mapping[TopicPartition, Content]) -> list[Finding]:
    """Records that are not ours are never written behind; ours that nothing remembers are told of."""
    foreign: dict[str, dict[TopicPartition, Content]] = {}
    for partition, content in contents.items():
        if not content.ours:
            foreign.setdefault(partition.topic, {})[partition] = content
    findings = []
    for topic, parts in sorted(foreign.items()):
        first = min(parts)
        end = f" (log end {parts[first].end})" if parts[first].end >= 0 else ""
        findings.append(
            Finding(
                level=Level.BLOCK,
                what=f"topic {topic} on the target holds what is not this migration's, in"
                f" {_count(len(parts), 'partition')}; {first}{end}: {parts[first].evidence}",
                hint="delete the topic on the target if nobody needs it, or leave it out with topics.exclude",
            )
        )
    forgotten = [partition for partition, content in contents.items() if content.ours and content.end > 0]
    if forgotten:
        what = f"{_count(len(forgotten), 'partition')} on the target hold what this migration copied before"
        topics = tuple(sorted({partition.topic for partition in forgotten}))
        findings.append(Finding(level=Level.PASS, what=what, forgotten=topics))
    return findings


def judge_settings(
    target: Mapping[TopicName, Mapping[str, str]],
    source: Mapping[TopicName, Mapping[str, str]],
    adopted: Collection[str],
    bootstrap: str,
) -> list[Finding]:
    """An existing target topic must not change, refuse or delete what is copied into it."""
    findings = []
    for name, found in sorted(target.items()):
        split = "message.timestamp.after.max.ms" in found
        limits = TimestampLimits.SPLIT if split else TimestampLimits.SINGLE
        theirs = source.get(name, {})
        source_max_bytes = int(theirs["max.message.bytes"]) if "max.message.bytes" in theirs else None
        wanted = hold_settings(limits, source_max_bytes=source_max_bytes, broker_max_bytes=None)
        changes = differences(found, wanted, theirs)
        if not changes:
            continue
        harmful = any(change.harmful for change in changes)
        listed = ", ".join(f"{change.key}={change.found}" for change in changes)
        findings.append(
            Finding(
                level=Level.BLOCK if harmful and name not in adopted else Level.WARN,
                what=f"topic {name} exists on the target with settings that do not fit a copy: {listed}",
                hint=alter_command(name, changes, bootstrap),
            )
        )
    return findings


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
