"""What the leader of a partition says of it, past the high watermark: the true log end and the producer ids it holds.

Clients are told the high watermark only; this asks OffsetForLeaderEpoch and DescribeProducers over connections of its
own, past any proxy. It proves that a situation arose; it never judges whether a copy is right.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.kafka_node import NodeState
from kmigrate.demo.quorum import INTERNAL
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import BrokerAddress, BrokerId, Partition, Side, TopicName, TopicPartition
from kmigrate.wire import calls, group_calls
from kmigrate.wire.call import Call

T = TypeVar("T")

OURS = 1 << 62
"""Producer ids of migrations begin here; a broker never hands out such a one."""
_SETTINGS = ConnectionSettings(client_id="probe", request_timeout_ms=5_000, connect_timeout_ms=5_000)


class LeaderView(NamedTuple):
    """One partition as its leader sees it; `our_ids` are producer ids of migrations that it holds."""

    leader: int
    true_end: int
    high_watermark: int
    our_ids: tuple[int, ...]


def look(cluster: EmbeddedCluster, topic: str) -> Mapping[int, LeaderView]:
    """Every partition whose leader runs; those led by a node that is down or frozen are left out."""
    metadata = _ask(cluster, _running(cluster)[0], calls.metadata([TopicName(topic)])).topics.get(TopicName(topic))
    if metadata is None or metadata.error:
        return {}
    views = {}
    for leader in _running(cluster):
        led = {
            TopicPartition(TopicName(topic), Partition(number)): part.leader_epoch
            for number, part in metadata.partitions.items()
            if part.leader == leader
        }
        if not led:
            continue
        ends = _ask(cluster, leader, calls.offset_for_leader_epoch(led))
        watermarks = _ask(cluster, leader, calls.list_offsets(led, calls.LATEST))
        producers = _ask(cluster, leader, calls.describe_producers(led))
        for tp in led:
            if ends[tp].error or watermarks[tp].error or producers[tp].error:
                continue
            ours = tuple(state.producer_id for state in producers[tp].states if state.producer_id >= OURS)
            views[tp.partition] = LeaderView(leader, ends[tp].end_offset, watermarks[tp].offset, ours)
    return views


def leaders(cluster: EmbeddedCluster, topic: str) -> Mapping[int, int]:
    """Partition → the broker that leads it, as a running broker knows."""
    found = _ask(cluster, _running(cluster)[0], calls.metadata([TopicName(topic)])).topics[TopicName(topic)]
    return {int(number): int(part.leader) for number, part in found.partitions.items()}


def find_coordinator(cluster: EmbeddedCluster, group: str) -> int:
    """The broker that coordinates a group."""
    found = _ask(cluster, _running(cluster)[0], group_calls.find_coordinator(group))
    if found.error:
        raise KmigrateError(f"the coordinator of {group} is not known yet: error {found.error}")
    return int(found.address.node_id)


def committed(cluster: EmbeddedCluster, group: str) -> Mapping[TopicPartition, str]:
    """The metadata of what a group has committed; empty while its coordinator cannot tell."""
    return {partition: metadata for partition, (_, metadata) in commits(cluster, group).items()}


def commits(cluster: EmbeddedCluster, group: str) -> Mapping[TopicPartition, tuple[int, str]]:
    """Offset and metadata of what a group has committed; empty while its coordinator cannot tell.

    librdkafka's Python client reads past the end of metadata, and may crash.
    """
    try:
        coordinator = find_coordinator(cluster, group)
    except KmigrateError:
        return {}
    found = _ask(cluster, coordinator, group_calls.offset_fetch(group))
    return {partition: (each.offset, each.metadata or "") for partition, each in found.partitions.items()}


def _running(cluster: EmbeddedCluster) -> list[int]:
    nodes = [node for node in cluster.broker_ids if cluster.state(node) is NodeState.RUNNING]
    assert nodes, "no broker runs"
    return random.sample(nodes, len(nodes))


def _ask(cluster: EmbeddedCluster, node: int, call: Call[T]) -> T:
    address = BrokerAddress(BrokerId(node), "127.0.0.1", cluster.port(node, INTERNAL))
    connection = Connection(Side.TARGET, address, _SETTINGS)
    try:
        return connection.call(call)
    finally:
        connection.close()
