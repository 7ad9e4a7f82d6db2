"""The check on an application's host: does its own client.properties lead to everything that it needs?

Rule: it reads, and nothing else. Rights are those that the cluster tells for this user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.principal import principal_of
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import ClusterSettings
from kmigrate.preflight.ask_rights import NOBODY
from kmigrate.preflight.document import CheckDocument, make_document
from kmigrate.preflight.findings import Finding, found, name_some, not_examined
from kmigrate.preflight.reach import judge_reach, step_of, try_brokers
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.preflight.rights import NEEDS, Resource, acl_command
from kmigrate.preflight.versions import judge_versions, release_of
from kmigrate.runner.reach import Reach
from kmigrate.topics.describe import in_batches
from kmigrate.wire import group_calls, survey_calls
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.survey_calls import Operations
from kmigrate.words import count_of

_GROUP_ID = "group.id"


def examine_as_client(cluster: ClusterSettings, name: str, wanted: Sequence[str]) -> CheckDocument:
    """Everything that an application with these settings would meet; `wanted` are the topics that it uses."""
    reach = Reach.of(Side.TARGET, cluster, name)
    findings: list[Finding] = []
    cluster_id = None
    with contextlib.closing(reach.client()) as client:
        try:
            metadata = client.metadata(None)
        except ClusterError as error:
            findings.append(
                found(FindingId.CLUSTER_UNREACHABLE, side=Side.TARGET, step=step_of(error), reason=str(error))
            )
        else:
            cluster_id = metadata.cluster_id
            tried = try_brokers(Side.TARGET, metadata.brokers.values(), reach.settings)
            findings += judge_reach(Side.TARGET, tried)
            releases = {each.broker: release_of(each.offered) for each in tried if not each.failure}
            findings += judge_versions(Side.TARGET, releases)
            findings += _look(client, metadata, cluster, [TopicName(each) for each in wanted])
    return make_document(name, findings, source_cluster_id=None, target_cluster_id=cluster_id)


def _look(
    client: ClusterClient, metadata: ClusterMetadata, cluster: ClusterSettings, wanted: Sequence[TopicName]
) -> list[Finding]:
    visible = sorted(name for name, topic in metadata.topics.items() if not topic.is_internal)
    try:
        rights = _topic_rights(client, [name for name in visible if not wanted or name in wanted])
        findings = judge_client_topics(rights, wanted)
        if _GROUP_ID in cluster.raw:
            group = cluster.raw[_GROUP_ID]
            error = client.any(group_calls.heartbeat(group, 0, NOBODY))
            may_join = error != ErrorCode.GROUP_AUTHORIZATION_FAILED
            bootstrap = ",".join(map(str, cluster.bootstrap))
            us = principal_of(cluster.security).name
            findings.append(judge_client_group(group, bootstrap, us, may_join=may_join))
    except ClusterError as error:
        return [not_examined("topics and rights", str(error), error.hint)]
    return findings


def _topic_rights(client: ClusterClient, names: Sequence[TopicName]) -> dict[TopicName, Operations]:
    rights: dict[TopicName, Operations] = {}
    for some in in_batches(names):
        told = client.any(survey_calls.topic_operations(some))
        rights.update(told)
    return rights


def judge_client_topics(rights: Mapping[TopicName, Operations], wanted: Sequence[TopicName]) -> list[Finding]:
    """What may be done with the topics that an application names, or else with all that it sees.  (pure)"""
    hidden = [name for name in wanted if name not in rights]
    findings = [found(FindingId.CLIENT_TOPIC_HIDDEN, topic=name) for name in hidden]
    sorts: dict[str, list[TopicName]] = {}
    for name, operations in rights.items():
        sorts.setdefault(_allowed(operations), []).append(name)
    for allowed, names in sorts.items():
        level = Level.BLOCK if wanted and allowed == _NEITHER else Level.NOTE
        topics = f"{count_of(len(names), 'topic')} ({name_some(names)})"
        findings.append(found(FindingId.CLIENT_TOPICS, level=level, topics=topics, allowed=allowed))
    return findings


_NEITHER = "neither consume nor produce"


def _allowed(operations: Operations) -> str:
    if operations is None:
        return "perhaps consume and produce: the cluster does not tell"
    match AclOperation.READ in operations, AclOperation.WRITE in operations:
        case True, True:
            return "consume and produce"
        case True, False:
            return "consume, not produce"
        case False, True:
            return "produce, not consume"
        case _:
            return _NEITHER


def judge_client_group(group: str, bootstrap: str, principal: str | None, *, may_join: bool) -> Finding:
    """Whether the application may join its group.  (pure)"""
    if may_join:
        return found(FindingId.CLIENT_GROUP, level=Level.PASS, group=group, may="may", remedy="")
    read = next(need for need in NEEDS if need.resource is Resource.LEASE_GROUP and need.side is Side.TARGET)
    remedy = acl_command(read, [group], bootstrap=bootstrap, principal=principal)
    return found(FindingId.CLIENT_GROUP, level=Level.BLOCK, group=group, may="may not", remedy=remedy)
