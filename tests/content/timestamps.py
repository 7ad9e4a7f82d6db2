"""Timestamps that a clock would not give: stamped by the broker, absent, from the future, in another unit."""

from __future__ import annotations

import time

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.altering import alter_topic
from tests.content.content import Content, Place
from tests.content.judging import read_records
from tests.content.raw_produce import append_batch
from tests.kafka_tools import SentRecord, create_topic, produce
from tests.simulation.batches import NONE, ZSTD, Record, make_batch

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
BATCH_RECORDS = 20
_TYPES = {"CreateTime": TIMESTAMP_CREATE_TIME, "LogAppendTime": TIMESTAMP_LOG_APPEND_TIME}
_LIMIT = "message.timestamp.after.max.ms"
_LONG_AGO_MS = 1_000_000_000_000
_HOUR_MS = 3_600_000


def log_append_time(cluster: EmbeddedCluster) -> Content:
    """A topic that was LogAppendTime, then CreateTime, then LogAppendTime again; batches of every codec each time."""
    topic = create_topic(cluster.direct_bootstrap, config={"message.timestamp.type": "LogAppendTime"})
    places = _produce_every_codec(cluster, topic)
    for timestamp_type in ("CreateTime", "LogAppendTime"):
        places += alter_topic(
            cluster,
            topic,
            "message.timestamp.type",
            timestamp_type,
            probe=SentRecord(value=b"probe", timestamp=_LONG_AGO_MS),
            obeyed=lambda place, wanted=_TYPES[timestamp_type]: (
                read_records(cluster, topic)[place].timestamp_type == wanted
            ),
        )
        places += _produce_every_codec(cluster, topic)
    return Content(topic, frozenset(places))


def draw_odd_timestamps(now_ms: int) -> dict[str, list[int]]:
    """The timestamps of a batch's records, in milliseconds, by what is odd about them."""
    return {
        "none": [-1, -1, -1],
        "none beside others": [now_ms, -1, now_ms + 5],
        "none at first": [-1, now_ms],
        "zero": [0, 0, 1],
        "far in the past": [1, 86_400_000, _LONG_AGO_MS],
        "hours in the future": [now_ms + 5 * _HOUR_MS, now_ms + 6 * _HOUR_MS],
        "far apart": [now_ms, now_ms + 2**32, 5, now_ms - 2**33, now_ms + 2**31],
        "backwards": list(range(now_ms, now_ms - 50, -7)),
        "in microseconds": [now_ms * 1_000, now_ms],
        "in nanoseconds": [now_ms * 1_000_000, now_ms * 1_000_000 + 1],
    }


def odd_timestamps(cluster: EmbeddedCluster) -> Content:
    """Batches of records with odd timestamps, plain and compressed."""
    knows_limit = tuple(map(int, cluster.version.split(".")[:2])) >= (3, 6)
    config = {_LIMIT: str(2**63 - 1)} if knows_limit else {}  # 4.x takes no more than an hour otherwise
    topic = create_topic(cluster.direct_bootstrap, config=config)
    places: list[Place] = []
    for timestamps in draw_odd_timestamps(int(time.time() * 1000)).values():
        for codec in (NONE, ZSTD):
            records = [Record(timestamp, b"key", b"value") for timestamp in timestamps]
            places += [(0, offset) for offset in append_batch(cluster, topic, make_batch(records, codec=codec))]
    return Content(topic, frozenset(places))


def _produce_every_codec(cluster: EmbeddedCluster, topic: str) -> list[Place]:
    """For each codec a batch of many records and one of a single record, all with timestamps of long ago."""
    places: list[Place] = []
    for codec in CODECS:
        for count in (BATCH_RECORDS, 1):
            records = [SentRecord(value=b"value " * 20, timestamp=_LONG_AGO_MS + at) for at in range(count)]
            config = {"compression.type": codec, "linger.ms": 100}
            places += produce(cluster.direct_bootstrap, topic, records, config=config)
    return places
