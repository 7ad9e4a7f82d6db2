"""A cluster that has rules, topics with settings, and brokers that learn of both a little later."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka.protocol.admin.acl import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsResponse,
)
from kafka.protocol.admin.configs import DescribeConfigsRequest, IncrementalAlterConfigsRequest

from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    Side,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.security.fence import MIN_ISR, Instant
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType
from kmigrate.wire.call import Call
from kmigrate.wire.calls import ClusterMetadata, EpochEnd, PartitionMetadata, Producers, TopicMetadata, TopicOutcome
from tests.unit.topics.settings_cluster import SettingsCluster

CLUSTER_ID = "cluster"
REFUSED = 31
"""CLUSTER_AUTHORIZATION_FAILED."""
WRITING = ("CreateAcls", "DeleteAcls", "IncrementalAlterConfigs")


class Clock:
    """Time that passes when somebody sleeps; `on_pass` is told."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.boot = "this boot"
        self.on_pass: Callable[[], None] = lambda: None

    def now(self) -> Instant:
        return Instant(self.boot, self.seconds, int(self.seconds * 1000))

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_pass()


class FenceCluster(SettingsCluster):
    """`rules` are its ACLs. Each broker shows rules as they were `lag` answers of its own ago, after a change."""

    def __init__(
        self,
        topics: Mapping[str, str | None],
        rules: Collection[Acl] = (),
        *,
        brokers: int = 2,
        lag: int = 0,
    ) -> None:
        own = {name: {} if value is None else {MIN_ISR: value} for name, value in topics.items()}
        super().__init__(own, defaults={MIN_ISR: "1"})
        self.rules = set(rules)
        self.brokers = tuple(BrokerId(number) for number in range(1, brokers + 1))
        self.ends = {TopicPartition(TopicName(name), Partition(0)): Offset(5) for name in topics}
        self.growing: set[TopicPartition] = set()
        self.refuses_rules = 0
        self.operations = frozenset(AclOperation)
        self.broker_settings = frozenset({"log.dirs"})
        self._lag = 0
        self._rule_lag = lag
        self._old_rules: dict[BrokerId, list[set[Acl]]] = {each: [] for each in self.brokers}

    side = Side.SOURCE

    def close(self) -> None:
        """There is nothing to close."""

    def metadata(self, topics: Any) -> ClusterMetadata:
        self.step("metadata")
        return ClusterMetadata(
            cluster_id=CLUSTER_ID,
            controller=self.brokers[0],
            brokers={each: BrokerAddress(each, "host", 9092) for each in self.brokers},
            topics={
                TopicName(name): TopicMetadata(
                    error=0,
                    topic_id=TopicId("0" * 32),
                    is_internal=name.startswith("__"),
                    partitions={
                        Partition(0): PartitionMetadata(
                            error=0, leader=self.brokers[0], leader_epoch=LeaderEpoch(3), replicas=self.brokers
                        )
                    },
                )
                for name in self.topics
                if topics is None or name in topics
            },
        )

    def any(self, call: Call[Any]) -> Any:
        return self.broker(self.brokers[0], call)

    def broker(self, broker: BrokerId, call: Call[Any]) -> Any:
        match call.what:
            case "DescribeAcls":
                self.step("describe rules")
                return self._describe_rules(broker, call)
            case "OffsetForLeaderEpoch":
                for each in self.growing:
                    self.ends[each] = Offset(self.ends[each] + 1)
                return {each: EpochEnd(0, LeaderEpoch(3), end) for each, end in self.ends.items()}
            case "DescribeCluster":
                return self.operations
            case "DescribeProducers":
                return {each: Producers(0, ()) for each in self.ends}
            case "DescribeConfigs" if _is_about_a_broker(call):
                return self.broker_settings
            case _:
                return super().any(call)

    def controller(self, call: Call[Any]) -> Any:
        match call.what:
            case "CreateAcls":
                return self._create_rules(call)
            case "DeleteAcls":
                return self._delete_rules(call)
            case _ if _is_validated_only(call):
                asked = IncrementalAlterConfigsRequest.decode(call.encode(1, 1, "us")[4:], version=1, header=True)
                return {each.resource_name: TopicOutcome(self.refuses_rules, "") for each in asked.resources}
            case _:
                return super().controller(call)

    def _describe_rules(self, broker: BrokerId, call: Call[Any]) -> Any:
        old = self._old_rules[broker]
        shown = old.pop(0) if old else self.rules
        resource_class = DescribeAclsResponse.DescribeAclsResource
        return _decoded(
            call,
            DescribeAclsResponse(
                version=3,
                error_code=0,
                error_message=None,
                resources=[
                    resource_class(
                        resource_type=each.resource_type,
                        resource_name=each.name,
                        pattern_type=each.pattern_type,
                        acls=[
                            resource_class.AclDescription(
                                principal=each.principal,
                                host=each.host,
                                operation=each.operation,
                                permission_type=each.permission,
                            )
                        ],
                    )
                    for each in shown
                ],
            ),
        )

    def _create_rules(self, call: Call[Any]) -> Any:
        self.step("alter")
        asked = CreateAclsRequest.decode(call.encode(3, 1, "us")[4:], version=3, header=True).creations
        wanted = [
            Acl(
                ResourceType(each.resource_type),
                each.resource_name,
                PatternType(each.resource_pattern_type),
                each.principal,
                each.host,
                AclOperation(each.operation),
                Permission(each.permission_type),
            )
            for each in asked
        ]
        if not self.refuses_rules:
            self.change_rules(self.rules | {*wanted})
        result = CreateAclsResponse.AclCreationResult(error_code=self.refuses_rules, error_message=None)
        self.step("altered")
        return _decoded(call, CreateAclsResponse(version=3, results=[result] * len(wanted)))

    def _delete_rules(self, call: Call[Any]) -> Any:
        self.step("alter")
        asked = DeleteAclsRequest.decode(call.encode(3, 1, "us")[4:], version=3, header=True).filters
        results = []
        result_class = DeleteAclsResponse.DeleteAclsFilterResult
        left = set(self.rules)
        for each in asked:
            unwanted = Acl(
                ResourceType(each.resource_type_filter),
                each.resource_name_filter,
                PatternType(each.pattern_type_filter),
                each.principal_filter,
                each.host_filter,
                AclOperation(each.operation),
                Permission(each.permission_type),
            )
            if not self.refuses_rules:
                left.discard(unwanted)
            results.append(result_class(error_code=self.refuses_rules, error_message=None, matching_acls=[]))
        self.change_rules(left)
        self.step("altered")
        return _decoded(call, DeleteAclsResponse(version=3, filter_results=results))

    def change_rules(self, rules: set[Acl]) -> None:
        """From now on these; brokers show what was before for a while."""
        if rules != self.rules:
            for old in self._old_rules.values():
                old[:] = [set(self.rules)] * self._rule_lag
            self.rules = set(rules)


def _is_about_a_broker(call: Call[Any]) -> bool:
    asked = DescribeConfigsRequest.decode(call.encode(2, 1, "us")[4:], version=2, header=True)
    return bool(asked.resources[0].resource_type == 4)


def _is_validated_only(call: Call[Any]) -> bool:
    return bool(
        IncrementalAlterConfigsRequest.decode(call.encode(1, 1, "us")[4:], version=1, header=True).validate_only
    )


def _decoded(call: Call[Any], answer: Any) -> Any:
    answer.with_header(correlation_id=1)
    return call.decode(3, answer.encode(header=True))
