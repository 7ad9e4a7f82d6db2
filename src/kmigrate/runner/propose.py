"""Looks at two clusters for a first manifest; reads only."""

from __future__ import annotations

import contextlib

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Blocked, ClusterError
from kmigrate.kafka_types import Partition, Side, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.plan.proposal import SeenForProposal
from kmigrate.preflight import guard_clusters
from kmigrate.preflight.bounds import by_leader
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.runner.surroundings import list_groups
from kmigrate.security.ask import ask_users
from kmigrate.topics.select import Selected, select_topics
from kmigrate.wire import survey_calls
from kmigrate.wire.calls import ClusterMetadata


def look_for_proposal(manifest: Manifest, *, source_file: str, target_file: str) -> SeenForProposal:
    """What a proposal rests on; `manifest` says how to reach the clusters. Raises Blocked or Refused."""
    source = Reach.of(Side.SOURCE, manifest.source, manifest.name).client()
    target = Reach.of(Side.TARGET, manifest.target, manifest.name).client()
    with contextlib.closing(source), contextlib.closing(target):
        on_source, on_target = first_metadata(source), first_metadata(target)
        guard_clusters(source=on_source.cluster_id, target=on_target.cluster_id)
        selected = select_topics(on_source.topics, manifest)
        parts = [each for name in selected.topics for each in on_source.topics[name].partitions.values()]
        try:
            told = ask_users(source)
        except ClusterError as error:
            raise Blocked(str(error), hint=error.hint) from error
        users = {
            user: next((mechanism.words, iterations) for mechanism, iterations in sorted(credentials.items()))
            for user, credentials in (told.value or {}).items()
            if credentials
        }
        return SeenForProposal(
            name=manifest.name,
            source_file=source_file,
            target_file=target_file,
            source_cluster_id=on_source.cluster_id,
            target_cluster_id=on_target.cluster_id,
            source_brokers=len(on_source.brokers),
            target_brokers=len(on_target.brokers),
            topics={name: len(on_source.topics[name].partitions) for name in selected.topics},
            left_out=dict(selected.left_out.items()),
            replicas=max((len(each.replicas) for each in parts), default=1),
            groups=_groups(source, on_source, manifest.lease_group),
            size_bytes=_size(source, on_source, selected),
            users=users,
        )


def _groups(source: ClusterClient, on_source: ClusterMetadata, lease_group: str) -> tuple[str, ...] | None:
    groups = list_groups(source, on_source)
    if groups is None:
        return None
    return tuple(sorted({each.group_id for each in groups} - {lease_group}))


def _size(source: ClusterClient, on_source: ClusterMetadata, selected: Selected) -> int | None:
    """Bytes on the leaders' disks; None if one does not tell."""
    wanted = [
        TopicPartition(name, Partition(number))
        for name in selected.topics
        for number in on_source.topics[name].partitions
    ]
    leaders, without = by_leader(on_source, wanted)
    sizes: dict[TopicPartition, int] = {}
    for leader, some in leaders.items():
        with contextlib.suppress(ClusterError):
            told = source.broker(leader, survey_calls.describe_log_dirs(some))
            sizes.update(told)
    is_whole = not without and all(partition in sizes for partition in wanted)
    return sum(sizes.values()) if is_whole else None
