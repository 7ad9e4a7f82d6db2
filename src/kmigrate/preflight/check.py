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
from kmigrate.preflight.ask_rights import Subject, ask_required
from kmigrate.preflight.findings import Finding, found, name_some
from kmigrate.preflight.foreign import Content, look_into
from kmigrate.preflight.reach import Reach, judge_reach, try_brokers
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.topics.describe import describe_topics
from kmigrate.topics.hold import (
    HELD_KEYS,
    SOURCE_KEYS,
    TimestampLimits,
    alter_command,
    differences,
    hold_settings,
)
from kmigrate.topics.replicas import decide_replication_factor
from kmigrate.topics.select import Selected
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.words import count_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Both clusters as they were looked at once; `adopted` are partitions that this migration copied before.

    `restored` are topics whose hold a cutover has ended: their settings are the applications' own.
    """

    source: ClusterMetadata
    target: ClusterMetadata
    selected: Selected
    adopted: Collection[TopicPartition]
    restored: Collection[TopicName] = ()

    @property
    def adopted_topics(self) -> set[TopicName]:
        """Topics that this migration copied before: what is wrong with them now stops them, not the start."""
        return {partition.topic for partition in self.adopted}


def try_both(seen: Seen, reach: Mapping[Side, ConnectionSettings]) -> dict[Side, tuple[Reach, ...]]:
    """Connects to every broker of both clusters once."""
    clusters = {Side.SOURCE: seen.source, Side.TARGET: seen.target}
    return {side: try_brokers(side, each.brokers.values(), reach[side]) for side, each in clusters.items()}


def check(
    manifest: Manifest,
    seen: Seen,
    source: ClusterClient,
    target: ClusterClient,
    reach: Mapping[Side, ConnectionSettings],
    producer_id: ProducerId,
    tried: Mapping[Side, Collection[Reach]] | None = None,
) -> list[Finding]:
    """Everything that there is to say; raises ClusterError if a cluster cannot be asked.

    `tried` is what came of connecting to every broker, where that was done already.
    """
    tried = tried or try_both(seen, reach)
    findings = [finding for side in Side for finding in judge_reach(side, tried[side])]
    findings += judge_selection(seen, hidden_topics(source, seen))
    findings += judge_replication(manifest, seen)
    findings += check_rights(manifest, seen, source, target, producer_id)
    return findings + check_existing(manifest, seen, source, target, reach[Side.TARGET], producer_id)


def hidden_topics(source: ClusterClient, seen: Seen) -> tuple[TopicName, ...]:
    """Topics that the manifest names, and that we may not see; raises ClusterError."""
    missing = seen.selected.missing
    told = source.metadata(missing).topics if missing else {}
    refused = ErrorCode.TOPIC_AUTHORIZATION_FAILED
    return tuple(name for name in missing if name in told and told[name].error == refused)


def check_rights(
    manifest: Manifest, seen: Seen, source: ClusterClient, target: ClusterClient, producer_id: ProducerId
) -> list[Finding]:
    """Rights without which nothing can be copied; topics that were copied before stop by themselves."""
    lease_group = manifest.lease_group
    new = [name for name in seen.selected.topics if name not in seen.adopted_topics]
    there = [name for name in new if name in seen.target.topics]
    untold = [name for name in new if name not in seen.target.topics]
    hidden = hidden_topics(source, seen)
    on_source = Subject(side=Side.SOURCE, existing=new, hidden=hidden, lease_group=lease_group)
    on_target = Subject(side=Side.TARGET, existing=there, hidden=untold, lease_group=lease_group)
    return [
        *ask_required(source, on_source, producer_id, manifest.source),
        *ask_required(target, on_target, producer_id, manifest.target),
    ]


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
    held = [name for name in existing if name not in seen.restored]
    return findings + judge_settings(
        describe_topics(target, held, HELD_KEYS),
        describe_topics(source, held, SOURCE_KEYS),
        seen.adopted_topics,
        ",".join(map(str, manifest.target.bootstrap)),
    )


def _partitions(seen: Seen, topics: Collection[TopicName]) -> list[TopicPartition]:
    return [
        TopicPartition(name, Partition(number))
        for name in topics
        for number in sorted(seen.target.topics[name].partitions)
    ]


def judge_selection(seen: Seen, hidden: Collection[TopicName] = ()) -> list[Finding]:
    """Topics that the manifest names must be there, and something must be left to copy.

    Of the hidden ones their rights tell.
    """
    missing = [name for name in seen.selected.missing if name not in seen.adopted_topics and name not in hidden]
    if missing:
        return [found(FindingId.TOPIC_MISSING, topic=name) for name in missing]
    if not seen.selected.topics:
        return [] if hidden else [found(FindingId.NO_TOPIC_SELECTED)]
    return [found(FindingId.TOPICS_SELECTED, topics=count_of(len(seen.selected.topics), "topic"))]


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
        found(
            FindingId.REPLICATION_TOO_HIGH,
            brokers=count_of(brokers, "broker"),
            factor=factor,
            count=count_of(len(names), "topic"),
            topics=name_some(names),
        )
        for factor, names in sorted(too_many.items())
    ]


def judge_partition_counts(seen: Seen, existing: Collection[TopicName]) -> list[Finding]:
    """A target topic may have fewer partitions (they will be added), never more."""
    findings = []
    for name in existing:
        have, want = len(seen.target.topics[name].partitions), len(seen.source.topics[name].partitions)
        if have > want:
            level = Level.WARN if name in seen.adopted_topics else Level.BLOCK
            findings.append(found(FindingId.TARGET_PARTITIONS_MORE, level=level, topic=name, have=have, want=want))
        elif have < want:
            findings.append(found(FindingId.TARGET_PARTITIONS_FEWER, topic=name, have=have, want=want))
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
            found(
                FindingId.TARGET_CONTENT_FOREIGN,
                topic=topic,
                count=count_of(len(parts), "partition"),
                first=f"{first}{end}",
                evidence=parts[first].evidence,
            )
        )
    forgotten = [partition for partition, content in contents.items() if content.ours and content.end > 0]
    if forgotten:
        topics = tuple(sorted({partition.topic for partition in forgotten}))
        count = count_of(len(forgotten), "partition")
        findings.append(found(FindingId.TARGET_CONTENT_OURS, forgotten=topics, count=count))
    return findings


def judge_settings(
    target: Mapping[TopicName, Mapping[str, str]],
    source: Mapping[TopicName, Mapping[str, str]],
    adopted: Collection[str],
    bootstrap: str,
) -> list[Finding]:
    """An existing target topic must not change, refuse or delete what is copied into it."""
    findings = []
    for name, have in sorted(target.items()):
        split = "message.timestamp.after.max.ms" in have
        limits = TimestampLimits.SPLIT if split else TimestampLimits.SINGLE
        theirs = source.get(name, {})
        source_max_bytes = int(theirs["max.message.bytes"]) if "max.message.bytes" in theirs else None
        wanted = hold_settings(limits, source_max_bytes=source_max_bytes, broker_max_bytes=None)
        changes = differences(have, wanted, theirs)
        if not changes:
            continue
        harmful = any(change.harmful for change in changes)
        listed = ", ".join(f"{change.key}={change.found}" for change in changes)
        findings.append(
            found(
                FindingId.TARGET_SETTINGS,
                level=Level.BLOCK if harmful and name not in adopted else Level.WARN,
                topic=name,
                settings=listed,
                command=alter_command(name, changes, bootstrap),
            )
        )
    return findings
