"""Looks into target partitions that this migration never adopted: do they hold records that are not ours?

Ours is what carries one of the migration's own producer ids. The leader lists those that it remembers; it forgets them
with the age of the records, so where ours is not listed the last batch is looked at. What cannot be told counts as
foreign.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import Connection
from kmigrate.cluster.reader import TailReader
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, ProducerId, Side, TopicPartition
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import ClusterMetadata


class Content(NamedTuple):
    """What a partition holds: `ours` also if it is empty, else `evidence` says what was found."""

    ours: bool
    end: int
    evidence: str


def look_into(
    client: ClusterClient,
    settings: ConnectionSettings,
    metadata: ClusterMetadata,
    partitions: Iterable[TopicPartition],
    ours: Collection[ProducerId],
) -> dict[TopicPartition, Content]:
    """What each of these target partitions holds."""
    found: dict[TopicPartition, Content] = {}
    by_leader: dict[BrokerId, list[TopicPartition]] = {}
    for partition in partitions:
        described = metadata.topics[partition.topic].partitions.get(partition.partition)
        if described is None or described.leader not in metadata.brokers:
            found[partition] = Content(False, -1, "it has no leader now")
        else:
            by_leader.setdefault(described.leader, []).append(partition)
    for leader, some in by_leader.items():
        try:
            found.update(_ask_leader(client, settings, metadata, leader, some, ours))
        except ClusterError as error:
            found.update(dict.fromkeys(some, Content(False, -1, str(error))))
    return found


def _ask_leader(
    client: ClusterClient,
    settings: ConnectionSettings,
    metadata: ClusterMetadata,
    leader: BrokerId,
    partitions: list[TopicPartition],
    ours: Collection[ProducerId],
) -> dict[TopicPartition, Content]:
    found: dict[TopicPartition, Content] = {}
    starts = client.broker(leader, calls.list_offsets(partitions, calls.EARLIEST))
    ends = client.broker(leader, calls.list_offsets(partitions, calls.LATEST))
    filled: dict[TopicPartition, tuple[Offset, Offset]] = {}
    for partition in partitions:
        start, end = starts[partition], ends[partition]
        if error := start.error or end.error:
            found[partition] = Content(False, -1, f"its log end cannot be read: {error_name(error)}")
        elif end.offset == 0:
            found[partition] = Content(True, 0, "empty")
        else:
            filled[partition] = start.offset, end.offset
    if not filled:
        return found
    producers = client.broker(leader, calls.describe_producers(filled))
    unlisted: dict[TopicPartition, tuple[Offset, Offset]] = {}
    for partition, (start_offset, end_offset) in filled.items():
        if any(state.producer_id in ours for state in producers[partition].states):
            found[partition] = Content(True, end_offset, "its leader knows our producer id")
        else:
            unlisted[partition] = start_offset, end_offset
    if unlisted:
        connection = Connection(Side.TARGET, metadata.brokers[leader], settings)
        try:
            found.update(_read_last(connection, metadata, unlisted, ours))
        finally:
            connection.close()
    return found


def _read_last(
    connection: Connection,
    metadata: ClusterMetadata,
    bounds: Mapping[TopicPartition, tuple[Offset, Offset]],
    ours: Collection[ProducerId],
) -> dict[TopicPartition, Content]:
    wanted = {
        partition: (metadata.topics[partition.topic].topic_id, Offset(end - 1), end)
        for partition, (start, end) in bounds.items()
        if start < end
    }
    stretches = TailReader(Side.TARGET, connection).read(wanted)
    found = {}
    for partition, (_start, end) in bounds.items():
        stretch = stretches.get(partition)
        if stretch is None:
            evidence = f"it is empty, but its log end is at {end}"
        elif stretch.error:
            evidence = f"its last record cannot be read: {error_name(stretch.error)}"
        elif not stretch.batches:
            evidence = "its last record is not in a batch of today's format"
        elif stretch.batches[-1][0].producer_id in ours:
            found[partition] = Content(True, end, "its last batch is ours")
            continue
        else:
            writer = stretch.batches[-1][0].producer_id
            by = f"producer id {writer}" if writer >= 0 else "a producer without an id"
            evidence = f"its last batch was written by {by}"
        found[partition] = Content(False, end, evidence)
    return found
