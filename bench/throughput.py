"""Throughput and CPU of kmigrate and a tuned MirrorMaker 2 on the same brokers, in turns, for records of any shape."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Producer

from bench.figures import Goal
from bench.lab import BATCH_BYTES, BenchError, Lab, Load
from bench.report import CaseResult
from bench.turns import COMMITTED_TOOLS, NO_GOALS, TOOLS, Goals, measure_in_turns
from kmigrate.kafka_types import Side

DAY_MS = 86_400_000
OLD_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the records of a topic are like; `age_days` is how old their timestamps are.

    `tls`: both tools come to both clusters over TLS; `committed`: MirrorMaker 2 reads committed data only, as we do;
    `brokers` of each cluster.
    """

    title: str
    records: int
    short_records: int
    goals: Goals = NO_GOALS
    partitions: int = 12
    record_bytes: int = 1024
    batch_bytes: int = BATCH_BYTES
    codec: str = "none"
    age_days: int = 0
    tls: bool = False
    committed: bool = False
    brokers: int = 1


def _goals(cpu: int, speed: float) -> Goals:
    return Goals(cpu=Goal(limit=1 / cpu, words=f"1/{cpu}"), speed=Goal(limit=speed, at_most=False))


SHAPES: Mapping[str, Shape] = {
    "throughput": Shape(
        title="Records of 1 KB in batches of 16 KB, 12 partitions, no codec.",
        goals=_goals(10, 2.5),
        records=3_000_000,
        short_records=600_000,
    ),
    "large-batches": Shape(
        title="Records of 1 KB in batches of 256 KB, 12 partitions, no codec.",
        goals=_goals(20, 3),
        records=3_000_000,
        short_records=600_000,
        batch_bytes=256 << 10,
    ),
    "small-records": Shape(
        title="Records of 100 bytes in batches of 64 KB, 12 partitions, lz4.",
        goals=_goals(30, 5),
        records=10_000_000,
        short_records=2_000_000,
        record_bytes=100,
        batch_bytes=64 << 10,
        codec="lz4",
    ),
    "single-records": Shape(
        title="Records of 1 KB, each in a batch of its own, 12 partitions, no codec.",
        goals=_goals(4, 1.3),
        records=600_000,
        short_records=200_000,
        batch_bytes=0,
    ),
    "one-partition": Shape(
        title="Records of 1 KB in batches of 16 KB, a single partition, no codec.",
        goals=_goals(5, 1.5),
        records=1_500_000,
        short_records=400_000,
        partitions=1,
    ),
    "large-records": Shape(
        title="Records of 500 KB, 12 partitions, no codec.",
        goals=_goals(6, 1.5),
        records=6_000,
        short_records=1_500,
        record_bytes=500_000,
    ),
    "old-records": Shape(
        title=f"Records of 1 KB in batches of 16 KB, {OLD_DAYS} days old, 12 partitions, no codec.",
        goals=_goals(8, 2),
        records=1_500_000,
        short_records=400_000,
        age_days=OLD_DAYS,
    ),
    "tls": Shape(
        title="Records of 1 KB in batches of 16 KB, 12 partitions, no codec, TLS on both sides.",
        goals=_goals(5, 2),
        records=1_500_000,
        short_records=400_000,
        tls=True,
    ),
    "read-committed": Shape(
        title="Records of 1 KB in batches of 16 KB, 12 partitions, no codec; both tools read committed data.",
        records=1_500_000,
        short_records=400_000,
        committed=True,
    ),
    "10-kb": Shape(
        title="Records of 10 KB in batches of 256 KB, 12 partitions, no codec.",
        records=200_000,
        short_records=50_000,
        record_bytes=10_240,
        batch_bytes=256 << 10,
    ),
    "zstd": Shape(
        title="Records of 1 KB in batches of 16 KB, 12 partitions, zstd.",
        records=2_000_000,
        short_records=400_000,
        codec="zstd",
    ),
    "gzip": Shape(
        title="Records of 1 KB in batches of 16 KB, 12 partitions, gzip.",
        records=1_500_000,
        short_records=300_000,
        codec="gzip",
    ),
    "many-partitions": Shape(
        title="Records of 1 KB in batches of 16 KB, 200 partitions, no codec.",
        records=2_000_000,
        short_records=400_000,
        partitions=200,
    ),
    "three-brokers": Shape(
        title="Records of 1 KB in batches of 16 KB, 12 partitions, no codec, three brokers on either side.",
        records=1_500_000,
        short_records=400_000,
        brokers=3,
    ),
}
"""The cases; MirrorMaker 2 decodes every record, so what a record is like decides what it costs there."""
_WARM_UP_SHARE = 6
_PATIENCE_SECONDS = 60.0


def measure(shape_name: str, lab: Lab) -> CaseResult:
    """Both tools copy records of one shape."""
    shape = SHAPES[shape_name]
    if shape.brokers != lab.brokers:
        asked = lab.asked_rounds
        with Lab(say=lab.say, short=lab.short, rounds=asked, brokers=shape.brokers) as other:
            return _measure(other, shape_name, shape)
    with lab.tls() if shape.tls else nullcontext():
        return _measure(lab, shape_name, shape)


def _measure(lab: Lab, shape_name: str, shape: Shape) -> CaseResult:
    records = shape.short_records if lab.short else shape.records
    return measure_in_turns(
        lab,
        case=shape_name,
        title=shape.title,
        goals=shape.goals,
        warm=lambda: fill(lab, f"warm-up-{shape_name}", shape, records // _WARM_UP_SHARE),
        load=lambda: fill(lab, shape_name, shape, records),
        describe=lambda load: {"Median batch": f"{load.batch_bytes:,} bytes (batch.size {shape.batch_bytes:,})"},
        tools=COMMITTED_TOOLS if shape.committed else TOOLS,
    )


CASES: dict[str, Callable[[Lab], CaseResult]] = {name: partial(measure, name) for name in SHAPES}


def fill(lab: Lab, topic: str, shape: Shape, records: int) -> Load:
    """Creates a topic on the source and writes so many records of a shape into it."""
    if shape.age_days:
        return _fill_aged(lab, topic, shape, records)
    return lab.fill(
        topic,
        partitions=shape.partitions,
        records=records,
        record_bytes=shape.record_bytes,
        batch_bytes=shape.batch_bytes,
        codec=shape.codec,
    )


def _fill_aged(lab: Lab, topic: str, shape: Shape, records: int) -> Load:
    """With librdkafka: Kafka's own load generator cannot say how old a record is."""
    lab.create_topic(Side.SOURCE, topic, shape.partitions)
    lab.say(f"writing {records:,} records, {shape.age_days} days old, into {shape.partitions} partitions of {topic}")
    producer = Producer(
        {
            "bootstrap.servers": lab.bootstrap(Side.SOURCE),
            "acks": "1",
            "batch.size": shape.batch_bytes,
            "linger.ms": 100,
            "compression.type": shape.codec,
            "queue.buffering.max.messages": 100_000,
        }
    )
    value = os.urandom(shape.record_bytes)
    made_ms = time.time_ns() // 1_000_000 - shape.age_days * DAY_MS
    for number in range(records):
        while True:
            try:
                producer.produce(topic, value=value, partition=number % shape.partitions, timestamp=made_ms + number)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(_PATIENCE_SECONDS):
        raise BenchError(f"not all records of {topic} could be written")
    return lab.keep(topic, shape.partitions, lab.count_by_librdkafka(Side.SOURCE, topic, shape.partitions))
