"""Changes topics as somebody else would: with librdkafka's admin client, past any proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewTopic

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import wait_until
from tests.kafka_tools import TIMEOUT_SECONDS, SentRecord, produce


def values(name: str, count: int) -> list[bytes]:
    """So many different values."""
    return [b"%s %d" % (name.encode(), number) for number in range(count)]


def fill(cluster: EmbeddedCluster, topic: str, name: str, count: int, *, partitions: Sequence[int] = (0,)) -> None:
    """Write so many records to each of these partitions, in batches that begin where the last call's end."""
    produce(
        cluster.direct_bootstrap,
        topic,
        [SentRecord(value=value, partition=each) for each in partitions for value in values(name, count)],
    )


def create_placed(cluster: EmbeddedCluster, topic: str, brokers: Sequence[int]) -> str:
    """Create a topic of one partition on these brokers, the first of which leads it; returns its name."""
    wanted = NewTopic(topic, num_partitions=1, replica_assignment=[list(brokers)])
    _admin(cluster).create_topics([wanted])[topic].result(TIMEOUT_SECONDS)
    wait_until(f"{topic} is led", lambda: describe_partition(cluster, topic)[0] == brokers[0])
    return topic


def delete_topic(cluster: EmbeddedCluster, topic: str) -> None:
    """Delete a topic, and wait until the cluster does not list it."""
    admin = _admin(cluster)
    admin.delete_topics([topic])[topic].result(TIMEOUT_SECONDS)
    wait_until(f"{topic} is not listed", lambda: topic not in list_topics(cluster))


def delete_records(cluster: EmbeddedCluster, topic: str, before: Mapping[int, int]) -> None:
    """Delete the records of these partitions that lie before an offset."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
    for partition, future in _admin(cluster).delete_records(wanted).items():
        assert future.result(TIMEOUT_SECONDS).low_watermark == before[partition.partition]


def set_config(cluster: EmbeddedCluster, topic: str, key: str, value: str) -> None:
    """Set one setting of a topic, and leave the others."""
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    _admin(cluster).incremental_alter_configs([resource])[resource].result(TIMEOUT_SECONDS)
    wait_until(f"{topic} has {key}={value}", lambda: read_config(cluster, topic)[key] == value)


def read_config(cluster: EmbeddedCluster, topic: str) -> dict[str, str]:
    """The settings of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = _admin(cluster).describe_configs([resource])[resource].result(TIMEOUT_SECONDS)
    return {key: entry.value for key, entry in entries.items()}


def list_topics(cluster: EmbeddedCluster) -> set[str]:
    """The names of all topics."""
    return set(_admin(cluster).list_topics(timeout=TIMEOUT_SECONDS).topics)


def list_groups(cluster: EmbeddedCluster) -> set[str]:
    """The names of all consumer groups."""
    found = _admin(cluster).list_consumer_groups().result(TIMEOUT_SECONDS)
    return {group.group_id for group in found.valid}


def delete_group(cluster: EmbeddedCluster, group: str) -> None:
    """Delete a consumer group with everything it committed, as soon as nobody is in it."""
    wait_until(f"{group} is deleted", lambda: _delete_group(cluster, group))


def describe_partition(cluster: EmbeddedCluster, topic: str, partition: int = 0) -> tuple[int, list[int]]:
    """The leader of a partition and its in-sync replicas."""
    found = _admin(cluster).list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions.get(partition)
    return (-1, []) if found is None else (found.leader, sorted(found.isrs))


def _delete_group(cluster: EmbeddedCluster, group: str) -> bool:
    _admin(cluster).delete_consumer_groups([group])[group].result(TIMEOUT_SECONDS)
    return group not in list_groups(cluster)


_admins: dict[tuple[str, str], AdminClient] = {}


def _admin(cluster: EmbeddedCluster) -> AdminClient:
    """One client a cluster, kept: with the client, what was asked for ends too."""
    key = cluster.cluster_id, cluster.direct_bootstrap
    if key not in _admins:
        _admins[key] = AdminClient({"bootstrap.servers": key[1], "log_level": 0, "reconnect.backoff.max.ms": 300})
    return _admins[key]
