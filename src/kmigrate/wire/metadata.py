"""Metadata by hand: what a cluster says of its brokers and topics, in the one version that is asked of every broker.

It is the first question of every command, and the longest answer there is: of ten thousand topics a few megabytes.
Source: MetadataRequest.json, MetadataResponse.json.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmigrate.kafka_types import BrokerAddress, BrokerId, LeaderEpoch, Partition, TopicId, TopicName
from kmigrate.wire.varints import read_uvarint, skip_tags, uvarint

VERSION = 10

_TOPIC = struct.Struct(">16s?")
"""Topic id, whether it is internal."""
_PARTITION = struct.Struct(">hiii")
"""Error, number, leader, leader epoch."""
_NO_ID = bytes(16)
_ALL_TOPICS = b"\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionMetadata:
    """Who leads a partition, since which epoch."""

    error: int
    leader: BrokerId
    leader_epoch: LeaderEpoch
    replicas: tuple[BrokerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMetadata:
    """A topic as a broker describes it."""

    error: int
    topic_id: TopicId
    is_internal: bool
    partitions: Mapping[Partition, PartitionMetadata]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMetadata:
    """A cluster as one of its brokers describes it."""

    cluster_id: str
    controller: BrokerId
    brokers: Mapping[BrokerId, BrokerAddress]
    topics: Mapping[TopicName, TopicMetadata]


def lay_out_metadata(topics: Sequence[TopicName] | None) -> bytes:
    """A request's body: these topics (None: all); nothing is created."""
    body = bytearray(_ALL_TOPICS if topics is None else uvarint(len(topics) + 1))
    for name in topics or ():
        encoded = name.encode()
        body += _NO_ID + uvarint(len(encoded) + 1) + encoded + b"\0"
    return bytes(body + b"\0\0\0\0")  # creates nothing, no authorized operations, no tags


def read_metadata(body: memoryview) -> ClusterMetadata:
    """An answer's body; raises ValueError, IndexError or struct.error if it is not one."""
    count, at = read_uvarint(body, 4)
    brokers: dict[BrokerId, BrokerAddress] = {}
    for _ in range(count - 1):
        broker = BrokerId(_int32(body, at))
        host, at = _text(body, at + 4)
        port = _int32(body, at)
        _rack, at = _text(body, at + 4)
        at = skip_tags(body, at)
        brokers[broker] = BrokerAddress(broker, host, port)
    cluster_id, at = _text(body, at)
    controller = BrokerId(_int32(body, at))
    count, at = read_uvarint(body, at + 4)
    topics: dict[TopicName, TopicMetadata] = {}
    for _ in range(count - 1):
        name, topic, at = _read_topic(body, at)
        topics[name] = topic
    end = skip_tags(body, at + 4)
    if end != len(body):
        raise ValueError(f"it is {len(body)} bytes long, {end} of which were expected")
    return ClusterMetadata(cluster_id=cluster_id, controller=controller, brokers=brokers, topics=topics)


def _read_topic(body: memoryview, at: int) -> tuple[TopicName, TopicMetadata, int]:
    (error,) = struct.unpack_from(">h", body, at)
    name, at = _text(body, at + 2)
    topic_id, is_internal = _TOPIC.unpack_from(body, at)
    count, at = read_uvarint(body, at + _TOPIC.size)
    partitions: dict[Partition, PartitionMetadata] = {}
    for _ in range(count - 1):
        fault, number, leader, epoch = _PARTITION.unpack_from(body, at)
        replicas, at = _brokers(body, at + _PARTITION.size)
        _in_sync, at = _brokers(body, at)
        _offline, at = _brokers(body, at)
        at = skip_tags(body, at)
        partitions[Partition(number)] = PartitionMetadata(
            error=fault, leader=BrokerId(leader), leader_epoch=LeaderEpoch(epoch), replicas=replicas
        )
    topic = TopicMetadata(error=error, topic_id=TopicId(topic_id.hex()), is_internal=is_internal, partitions=partitions)
    return TopicName(name), topic, skip_tags(body, at + 4)


def _text(body: memoryview, at: int) -> tuple[str, int]:
    """A text, empty where there is none, and where it ends."""
    size, at = read_uvarint(body, at)
    end = at + max(0, size - 1)
    if end > len(body):
        raise ValueError("a text reaches beyond the answer")
    return str(body[at:end], "utf-8"), end


def _brokers(body: memoryview, at: int) -> tuple[tuple[BrokerId, ...], int]:
    count, at = read_uvarint(body, at)
    found: tuple[BrokerId, ...] = struct.unpack_from(f">{max(0, count - 1)}i", body, at)
    return found, at + 4 * len(found)


def _int32(body: memoryview, at: int) -> int:
    number: int = struct.unpack_from(">i", body, at)[0]
    return number
