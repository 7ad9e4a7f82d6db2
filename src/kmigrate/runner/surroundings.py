"""Looks at what surrounds the partitions: settings, rules, quotas and users of both clusters; reads only."""

from __future__ import annotations

from collections.abc import Collection

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Blocked, ClusterError
from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest, OffsetsClass
from kmigrate.plan.surroundings import Surroundings, TopicSeen
from kmigrate.security.ask import ask_acls, ask_quotas, ask_users
from kmigrate.topics.describe import describe_whole, read_defaults
from kmigrate.topics.internal import RunningGroup, objection, rule_of
from kmigrate.topics.select import Selected
from kmigrate.wire import offset_calls
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.wire.offset_calls import ListedGroup


def look_at_surroundings(
    source: ClusterClient,
    target: ClusterClient,
    on_source: ClusterMetadata,
    on_target: ClusterMetadata,
    selected: Selected,
    *,
    ours: Collection[TopicName],
) -> Surroundings:
    """Everything beside the partitions; `ours` are topics that this migration copied into.

    Raises ClusterError if one of the clusters does not answer; what it does not tell is part of the answer.
    """
    there = [name for name in selected.topics if name in on_target.topics]
    theirs, mine = describe_whole(source, selected.topics), describe_whole(target, there)
    return Surroundings(
        topics=tuple(
            TopicSeen(
                name=name,
                partitions=len(on_source.topics[name].partitions),
                replicas=max((len(each.replicas) for each in on_source.topics[name].partitions.values()), default=1),
                settings=theirs.get(name),
                target_partitions=len(on_target.topics[name].partitions) if name in on_target.topics else 0,
                target_settings=mine.get(name),
                ours=name in ours,
                is_internal=on_source.topics[name].is_internal,
            )
            for name in selected.topics
        ),
        left_out=selected.left_out,
        target_brokers=len(on_target.brokers),
        defaults=read_defaults(target, on_target.brokers, sorted(on_target.topics)),
        running=ask_running(source, on_source, selected),
        acls=(ask_acls(source), ask_acls(target)),
        quotas=(ask_quotas(source), ask_quotas(target)),
        users=(ask_users(source), ask_users(target)),
    )


def refuse_used_by_applications(
    manifest: Manifest,
    source: ClusterClient,
    on_source: ClusterMetadata,
    selected: Selected,
    ours: Collection[TopicName],
) -> None:
    """Raises Blocked if topics of an application's inside are named that must not be copied now.

    Those that were begun go on: their application was stopped then.
    """
    running = ask_running(source, on_source, selected)
    against = []
    for name in selected.topics:
        rule = rule_of(name)
        if rule is not None and name not in ours:
            identical = manifest.offsets.class_of(name) is OffsetsClass.IDENTICAL
            against.append(objection(name, rule, running, identical=identical))
    found = [each for each in against if each is not None]
    if found:
        raise Blocked(
            "; ".join(found), hint="docs/apply.md says what such topics take; or leave them out of topics.include"
        )


def ask_running(
    source: ClusterClient, on_source: ClusterMetadata, selected: Selected
) -> tuple[RunningGroup, ...] | None:
    """The source's groups with members, if a topic is among those selected that must know; None if it is not told.

    Groups that we may not describe are not told: the right DESCRIBE on the cluster shows them all.
    """
    if not any(rule_of(name) for name in selected.topics):
        return ()
    groups = list_groups(source, on_source)
    if groups is None:
        return None
    return tuple(RunningGroup(each.group_id, each.protocol_type) for each in groups if each.has_members)


def list_groups(source: ClusterClient, on_source: ClusterMetadata) -> tuple[ListedGroup, ...] | None:
    """The groups that every broker coordinates; None if one of them does not tell."""
    found: list[ListedGroup] = []
    for broker in on_source.brokers:
        try:
            told = source.broker(broker, offset_calls.list_groups())
        except ClusterError:
            return None
        if told.error:
            return None
        found += told.groups
    return tuple(found)
