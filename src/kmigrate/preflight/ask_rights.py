"""Asks both clusters for every right of the table, without changing anything.

Brokers tell what may be done with a cluster or topic that may be described (authorized operations). Where they do not,
and for topics that are not there yet, a request is made that cannot be carried out: validated only, or for a partition
that no topic has. Rights are looked at first, so that the refusal tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.principal import principal_of
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, ProducerId, Side, TopicName, TopicPartition
from kmigrate.manifest import ClusterSettings
from kmigrate.preflight.findings import Finding
from kmigrate.preflight.registry import FindingId
from kmigrate.preflight.rights import CLUSTER_NAME, NEEDS, Asked, Need, Resource, judge_rights, satisfied
from kmigrate.preflight.versions import OLDEST, Release
from kmigrate.topics.describe import in_batches
from kmigrate.wire import (
    calls,
    check_calls,
    config_calls,
    gap_calls,
    group_calls,
    offset_calls,
    quota_calls,
    survey_calls,
    transaction_calls,
)
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import NewTopic, TopicOutcome
from kmigrate.wire.check_calls import NO_PARTITION
from kmigrate.wire.config_calls import Alteration
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.survey_calls import Operations

T = TypeVar("T")

NOBODY = "kmigrate-check"
"""A member, a group and a transactional id that there is not."""
EVERY = "*"
_TIMEOUT_MS = 10_000
_REFUSALS = frozenset(
    {
        ErrorCode.TOPIC_AUTHORIZATION_FAILED,
        ErrorCode.GROUP_AUTHORIZATION_FAILED,
        ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
        53,  # TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    }
)
_MARKERS_BY_ALTER: Release = (3, 8)
_TRANSACTIONS_DESCRIBED: Release = (3, 0)

Answers = Mapping[str, bool | str]
"""Name → whether it is granted, or why that is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What rights are asked for, on one side.

    `existing` topics are there and may be described, `hidden` ones may not; `absent` ones are to be created.
    """

    side: Side
    existing: Sequence[TopicName]
    hidden: Sequence[TopicName] = ()
    absent: Sequence[NewTopic] = ()
    groups: Sequence[str] = ()
    lease_group: str
    mirror_topic: TopicName | None = None
    release: Release = OLDEST


class RightsAsked:
    """The answers of one cluster; `validated` is what it says to creating the absent topics."""

    def __init__(
        self, client: ClusterClient, subject: Subject, ours: ProducerId, needs: Sequence[Need] = NEEDS
    ) -> None:
        self.validated: dict[TopicName, TopicOutcome] = {}
        self._client = client
        self._subject = subject
        self._ours = ours
        self._needs = [need for need in needs if need.side is subject.side]
        self._untold = [*subject.hidden, *(topic.name for topic in subject.absent)]

    def ask(self) -> list[Asked]:
        """What became of every right of this side."""
        about_cluster = any(need.resource is Resource.CLUSTER for need in self._needs)
        on_cluster: Operations | str = None
        if about_cluster:
            on_cluster = self._try(lambda: self._client.any(survey_calls.cluster_operations()))
        on_topics = self._topic_operations()
        self._validate()
        return [
            self._answered(need, answers) for need in self._needs if (answers := self._ask(need, on_cluster, on_topics))
        ]

    def _answered(self, need: Need, answers: Answers) -> Asked:
        return Asked(
            need=need,
            granted=[name for name, each in answers.items() if each is True],
            missing=[name for name, each in answers.items() if each is False],
            untold={name: each for name, each in answers.items() if isinstance(each, str)},
        )

    def _ask(self, need: Need, on_cluster: Operations | str, on_topics: Mapping[TopicName, Operations]) -> Answers:
        match need.resource:
            case Resource.CLUSTER:
                return {CLUSTER_NAME: self._ask_cluster(need, on_cluster)}
            case Resource.TOPIC:
                return self._ask_existing(need, on_topics) | self._ask_untold(need)
            case Resource.GROUP if need.operation is AclOperation.DESCRIBE:
                return self._ask_each_group(lambda name: self._client.any(group_calls.describe_group(name)).error)
            case Resource.GROUP if need.operation is AclOperation.DELETE:
                return self._ask_each_group(lambda name: self._client.any(offset_calls.delete_offsets(name, ()))[0])
            case Resource.GROUP:
                return self._ask_each_group(self._heartbeat)
            case Resource.LEASE_GROUP:
                return {self._subject.lease_group: self._one(lambda: self._heartbeat(self._subject.lease_group))}
            case Resource.MIRROR_TOPIC:
                mirror = self._subject.mirror_topic
                return {} if mirror is None else {mirror: self._one(lambda: self._ask_mirror(need.operation, mirror))}
            case Resource.TRANSACTIONAL_ID:
                if self._subject.release < _TRANSACTIONS_DESCRIBED:
                    return {}
                return {EVERY: self._one(self._describe_transaction)}

    # -- the cluster

    def _ask_cluster(self, need: Need, told: Operations | str) -> bool | str:
        if isinstance(told, str):
            return told
        if told is None:
            return "the cluster does not tell"
        markers = need.side is Side.TARGET and need.operation is AclOperation.ALTER
        if told:
            return satisfied(need, told, since_3_8=self._subject.release >= _MARKERS_BY_ALTER)
        if need.operation is AclOperation.DESCRIBE_CONFIGS:
            return self._one(lambda: self._client.any(quota_calls.describe_client_quotas()).error)
        if markers:
            return self._one(self._write_no_marker)
        return False  # an empty answer says that the cluster may not be described, which ALTER would include

    def _write_no_marker(self) -> int:
        names = [*self._subject.existing, *self._untold]
        partition = TopicPartition(names[0] if names else TopicName(NOBODY), NO_PARTITION)
        markers = {partition: gap_calls.Markers(1, 0)}
        return self._client.any(gap_calls.write_markers(markers, self._ours))[partition]

    # -- topics

    def _topic_operations(self) -> dict[TopicName, Operations]:
        told: dict[TopicName, Operations] = {}
        for names in in_batches(self._subject.existing):
            answer = self._try(lambda names=names: self._client.any(survey_calls.topic_operations(names)))  # type: ignore[misc]
            if not isinstance(answer, str):
                told.update(answer)
        return told

    def _ask_existing(self, need: Need, told: Mapping[TopicName, Operations]) -> dict[str, bool | str]:
        if need.operation is AclOperation.CREATE:
            return {}
        answers: dict[str, bool | str] = {}
        for name in self._subject.existing:
            operations = told.get(name)
            answers[name] = "the topic does not tell" if operations is None else satisfied(need, operations)
        return answers

    def _ask_untold(self, need: Need) -> dict[str, bool | str]:
        """Of topics that tell nothing, by requests that cannot be carried out."""
        if need.operation is AclOperation.CREATE:
            return {name: not _refused(each.error) for name, each in self.validated.items()}
        answers: dict[str, bool | str] = {}
        for names in in_batches(self._untold):
            errors = self._try(lambda names=names: self._ask_for(need.operation, names))  # type: ignore[misc]
            if isinstance(errors, str):
                answers.update(dict.fromkeys(names, errors))
            else:
                answers.update((name, not _refused(errors[name])) for name in names if name in errors)
        return answers

    def _ask_for(self, operation: AclOperation, names: Sequence[TopicName]) -> Mapping[TopicName, int]:
        no_partitions = [TopicPartition(name, NO_PARTITION) for name in names]
        match operation:
            case AclOperation.READ:
                producers = self._client.any(calls.describe_producers(no_partitions))
                return {tp.topic: each.error for tp, each in producers.items()}
            case AclOperation.WRITE:
                return self._client.any(check_calls.ask_for_write(names))
            case AclOperation.DELETE:
                starts = dict.fromkeys(no_partitions, Offset(0))
                deleted = self._client.any(gap_calls.delete_records(starts, _TIMEOUT_MS))
                return {tp.topic: each.error for tp, each in deleted.items()}
            case AclOperation.ALTER:
                enlarging = calls.create_partitions(dict.fromkeys(names, 1), _TIMEOUT_MS, validate_only=True)
                return {name: each.error for name, each in self._client.controller(enlarging).items()}
            case AclOperation.ALTER_CONFIGS:
                wanted = {name: [Alteration("retention.ms", "-1")] for name in names}
                altering = config_calls.alter_topic_configs(wanted, validate_only=True)
                return {name: each.error for name, each in self._client.controller(altering).items()}
            case AclOperation.DESCRIBE_CONFIGS:
                described = self._client.any(config_calls.describe_topic_configs(names, ["cleanup.policy"]))
                return {TopicName(name): error for name, (error, _) in described.items()}
            case _:
                return {}

    def _ask_mirror(self, operation: AclOperation, name: TopicName) -> int:
        if operation is AclOperation.CREATE:
            wanted = NewTopic(name=name, partitions=1, replication_factor=1, configs={"cleanup.policy": "compact"})
            call = calls.create_topics([wanted], _TIMEOUT_MS, validate_only=True)
            return self._client.controller(call)[name].error
        return self._ask_for(operation, [name])[name]

    def _validate(self) -> None:
        for topics in in_batches(self._subject.absent):
            call = calls.create_topics(topics, _TIMEOUT_MS, validate_only=True)
            answer = self._try(lambda call=call: self._client.controller(call))  # type: ignore[misc]
            if not isinstance(answer, str):
                self.validated.update(answer)

    # -- groups and transactional ids

    def _ask_each_group(self, ask: Callable[[str], int]) -> dict[str, bool | str]:
        return {name: self._one(lambda name=name: ask(name)) for name in self._subject.groups}  # type: ignore[misc]

    def _heartbeat(self, group: str) -> int:
        """A heartbeat of nobody: refused for want of READ, else for the member."""
        return self._client.any(group_calls.heartbeat(group, 0, NOBODY))

    def _describe_transaction(self) -> int:
        return self._client.any(transaction_calls.describe_transactions([NOBODY]))[NOBODY].error

    # -- asking

    def _one(self, ask: Callable[[], int]) -> bool | str:
        error = self._try(ask)
        return error if isinstance(error, str) else not _refused(error)

    def _try(self, ask: Callable[[], T]) -> T | str:
        try:
            return ask()
        except ClusterError as error:
            return str(error)


def ask_required(client: ClusterClient, subject: Subject, ours: ProducerId, cluster: ClusterSettings) -> list[Finding]:
    """The rights without which nothing can be copied, where it is certain that they are missing."""
    asked = RightsAsked(client, subject, ours, [need for need in NEEDS if need.is_required]).ask()
    bootstrap = ",".join(map(str, cluster.bootstrap))
    found = judge_rights(subject.side, asked, bootstrap=bootstrap, principal=principal_of(cluster.security).name)
    return [each for each in found if each.id is FindingId.RIGHT_REQUIRED]


def _refused(error: int) -> bool:
    return error in _REFUSALS


def creation_refusals(
    validated: Mapping[TopicName, TopicOutcome], settled: Collection[int]
) -> dict[str, list[TopicName]]:
    """Why the target would not create topics, beside rights and what others tell (`settled`): reason → topics."""
    refusals: dict[str, list[TopicName]] = {}
    for name, each in validated.items():
        if each.error and not _refused(each.error) and each.error not in settled:
            reason = error_name(each.error) + (f": {each.message}" if each.message else "")
            refusals.setdefault(reason, []).append(name)
    return refusals
