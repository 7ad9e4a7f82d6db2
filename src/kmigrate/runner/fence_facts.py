"""Looks at a cluster before a fence is put: rules, settings, rights, transactions; reads only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import ClusterError, UsageError
from kmigrate.kafka_types import BrokerAddress, BrokerId, Side, TopicName, TopicPartition
from kmigrate.preflight.reach import try_brokers
from kmigrate.preflight.rights import CLUSTER_NAME, NEEDS, Resource, acl_command
from kmigrate.preflight.versions import OLDEST, oldest, release_of
from kmigrate.security.ask import ask_acls
from kmigrate.security.fence import MIN_ISR, FenceKind
from kmigrate.security.fence_plan import MIN_ISR_MARGIN, FenceFacts
from kmigrate.topics.create import judge_error
from kmigrate.topics.describe import describe_settings, in_batches
from kmigrate.wire import calls, config_calls, survey_calls
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.wire.config_calls import Alteration

_EVERYONE = "allow.everyone.if.no.acl.found"
_SUPER_USERS = "super.users"
_CAPPED_SINCE = (3, 7)


def look_before_fencing(
    client: ClusterClient,
    metadata: ClusterMetadata,
    topics: Sequence[TopicName],
    kind: FenceKind,
    *,
    settings: ConnectionSettings,
    ours: str | None,
    bootstrap: str,
    we_write: bool | None = None,
) -> FenceFacts:
    """The facts for a fence around these topics, which `metadata` has; raises UsageError for one that is not there.

    `ours` is kmigrate's own principal there, None if that is not known. `we_write`: whether kmigrate writes to these
    topics; by default it does on the target.
    """
    missing = [name for name in topics if name not in metadata.topics or metadata.topics[name].error]
    if missing:
        raise UsageError(
            f"the {client.side} has no topic {missing[0]!r}, or does not show it",
            hint="`kmigrate plan -f FILE` lists its topics",
        )
    replicas = {
        name: max((len(each.replicas) for each in metadata.topics[name].partitions.values()), default=1)
        for name in topics
    }
    everyone, super_users = _named_settings(client, metadata.brokers, (_EVERYONE, _SUPER_USERS))
    is_isr = kind is FenceKind.MIN_ISR
    return FenceFacts(
        side=client.side,
        replicas=replicas,
        internal=[name for name in topics if metadata.topics[name].is_internal],
        rules=ask_acls(client),
        is_everyone_set=everyone,
        are_super_users_set=super_users,
        may_alter_cluster=_may_alter_cluster(client),
        grant_line=_grant_line(bootstrap, ours),
        ours=ours,
        we_write=client.side is Side.TARGET if we_write is None else we_write,
        caps_min_isr=_caps_min_isr(client.side, metadata.brokers.values(), settings) if is_isr else None,
        own=_own_min_isr(client, topics) if is_isr else {},
        refused=_refused(client, replicas) if is_isr else {},
        transactions=_open_transactions(client, metadata, topics),
    )


def _named_settings(
    client: ClusterClient, brokers: Mapping[BrokerId, BrokerAddress], keys: Sequence[str]
) -> tuple[bool | None, ...]:
    """Whether any broker has these settings; their values are secrets to a broker. None: one does not say."""
    found: dict[str, bool] = dict.fromkeys(keys, False)
    for broker in brokers:
        try:
            names = client.broker(broker, config_calls.broker_setting_names(broker))
        except ClusterError:
            names = None
        if names is None:
            return tuple(None for _ in keys)
        found = {key: is_set or key in names for key, is_set in found.items()}
    return tuple(found.values())


def _may_alter_cluster(client: ClusterClient) -> bool:
    try:
        operations = client.any(survey_calls.cluster_operations())
    except ClusterError:
        return False
    return operations is not None and AclOperation.ALTER in operations


def _grant_line(bootstrap: str, ours: str | None) -> str:
    need = next(each for each in NEEDS if each.resource is Resource.CLUSTER and each.operation is AclOperation.ALTER)
    return acl_command(need, [CLUSTER_NAME], bootstrap=bootstrap, principal=ours)


def _caps_min_isr(side: Side, brokers: Collection[BrokerAddress], settings: ConnectionSettings) -> bool | None:
    """Whether any broker is of a release that takes no more than the replica count; None if one cannot be asked."""
    reached = try_brokers(side, brokers, settings)
    releases = [release_of(each.offered) for each in reached]
    if any(each.failure for each in reached) or oldest(releases) == OLDEST:
        return None
    return max(releases) >= _CAPPED_SINCE


def _own_min_isr(client: ClusterClient, topics: Sequence[TopicName]) -> dict[TopicName, str | None]:
    return {
        name: found[MIN_ISR].value if MIN_ISR in found and found[MIN_ISR].is_override else None
        for name, found in describe_settings(client, topics, (MIN_ISR,)).items()
    }


def _refused(client: ClusterClient, replicas: Mapping[TopicName, int]) -> dict[TopicName, str]:
    """What the cluster says to the very alteration, validated only."""
    refused = {}
    for names in in_batches([*replicas]):
        wanted = {name: [Alteration(MIN_ISR, str(replicas[name] + MIN_ISR_MARGIN))] for name in names}
        answer = client.controller(config_calls.alter_topic_configs(wanted, validate_only=True))
        for name in names:
            if name not in answer:
                refused[name] = "the cluster did not answer for it"
            elif answer[name].error:
                refused[name] = judge_error(answer[name]).reason
    return refused


def _open_transactions(
    client: ClusterClient, metadata: ClusterMetadata, topics: Sequence[TopicName]
) -> dict[TopicName, int] | None:
    """How many transactions each topic has open; None if that is not told of every partition."""
    asked: dict[BrokerId, list[TopicPartition]] = {}
    for name in topics:
        for number, each in metadata.topics[name].partitions.items():
            asked.setdefault(each.leader, []).append(TopicPartition(name, number))
    found: dict[TopicName, int] = dict.fromkeys(topics, 0)
    for leader, partitions in asked.items():
        try:
            answer = client.broker(leader, calls.describe_producers(partitions))
        except ClusterError:
            return None
        for partition in partitions:
            producers = answer.get(partition)
            if producers is None or producers.error:
                return None
            found[partition.topic] += sum(state.current_txn_start_offset >= 0 for state in producers.states)
    return found
