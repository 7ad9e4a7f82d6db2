"""Partitions whose beginning was deleted: at the edge of a batch, inside one, up to the very end, and far along."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Content
from tests.content.raw_produce import append_batch
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic
from tests.simulation.batches import GZIP, ZSTD, Record, make_batch

BETWEEN, INSIDE, EMPTY, FAR, WHOLE = range(5)
"""The partitions: trimmed between two batches, inside one, entirely, by many records, and not at all."""
BATCHES = 6
BATCH_RECORDS = 10
FAR_RECORDS = 20_000
LOG_STARTS = {
    BETWEEN: 2 * BATCH_RECORDS,
    INSIDE: 2 * BATCH_RECORDS + 4,
    EMPTY: BATCHES * BATCH_RECORDS,
    FAR: FAR_RECORDS,
    WHOLE: 0,
}


def trimmed(cluster: EmbeddedCluster) -> Content:
    """Batches, of which one is compressed, and then DeleteRecords; `LOG_STARTS` says where each partition begins."""
    topic = create_topic(cluster.direct_bootstrap, partitions=len(LOG_STARTS))
    append_batch(cluster, topic, make_batch([Record(1, None, None)] * FAR_RECORDS, codec=GZIP), FAR)
    for partition in LOG_STARTS:
        for number in range(BATCHES):
            append_batch(cluster, topic, _make_batch(partition, number), partition)
    delete_records(cluster, topic, {partition: start for partition, start in LOG_STARTS.items() if start})
    ends = dict.fromkeys(LOG_STARTS, BATCHES * BATCH_RECORDS)
    ends[FAR] += FAR_RECORDS
    return Content(
        topic,
        frozenset(
            (partition, offset) for partition, end in ends.items() for offset in range(LOG_STARTS[partition], end)
        ),
    )


def delete_records(cluster: EmbeddedCluster, topic: str, log_starts: Mapping[int, int]) -> None:
    """Moves the log starts of partitions up."""
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in log_starts.items()]
    for partition, answer in admin.delete_records(wanted).items():
        assert answer.result(TIMEOUT_SECONDS).low_watermark == log_starts[partition.partition]


def _make_batch(partition: int, number: int) -> bytes:
    records = [Record(1_700_000_000_000 + at, b"%d" % at, b"value " * 5) for at in range(BATCH_RECORDS)]
    return make_batch(records, codec=ZSTD if (partition + number) % 2 else 0)
