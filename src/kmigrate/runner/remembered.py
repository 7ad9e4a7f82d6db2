"""What a migration remembers on the target, asked without a trace: for commands that write nothing."""

from __future__ import annotations

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.runner.positions import Commit
from kmigrate.runner.start import read_commits
from kmigrate.wire import group_calls
from kmigrate.wire.calls import ClusterMetadata

GROUPS_TOPIC = TopicName("__consumer_offsets")


def commits_on_target(group: str, target: ClusterClient, on_target: ClusterMetadata) -> dict[TopicPartition, Commit]:
    """The commits of a migration's group; nothing where it cannot be asked.

    A broker that is asked for a coordinator would create the topic of all groups: so only where there is one.
    """
    if GROUPS_TOPIC not in on_target.topics:
        return {}
    try:
        coordinator = target.any(group_calls.find_coordinator(group))
        if coordinator.error:
            return {}
        answer = target.broker(coordinator.address.node_id, group_calls.offset_fetch(group))
    except ClusterError:
        return {}
    committed = {tp: (each.offset, each.metadata) for tp, each in answer.partitions.items() if not each.error}
    return read_commits(committed)
