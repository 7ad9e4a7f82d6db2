"""Throughput and CPU where a fifth of the offsets is empty: the broker's cleaner has been there.

A quarter of the keys, drawn by chance, is written a second time, and the first record of each is removed. So holes lie
inside nearly every batch, most of them one offset wide. kmigrate lays the records between them into batches of their
own and puts a marker into each hole; MirrorMaker 2 numbers the records anew.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Producer

from bench.figures import Goal
from bench.lab import BATCH_BYTES, BenchError, Lab, Load
from bench.report import CaseResult
from bench.turns import Goals, measure_in_turns
from bench.witness import count_seen, read_watermarks
from kmigrate.kafka_types import Side

PARTITIONS = 12
RECORD_BYTES = 1024
KEYS, SHORT_KEYS = 240_000, 120_000
WARM_UP_KEYS, SHORT_WARM_UP_KEYS = 60_000, 36_000
WRITTEN_TWICE = 1 / 4
SEGMENT_BYTES, SEGMENT_MS = 4 << 20, 60_000
GOALS = Goals(cpu=Goal(limit=1 / 3, words="1/3"), speed=Goal(limit=1.0, at_most=False, words="1"))
_WRITING = {
    "cleanup.policy": "delete",
    "segment.bytes": str(SEGMENT_BYTES),
    "segment.ms": str(SEGMENT_MS),
    "min.cleanable.dirty.ratio": "0.001",
}
_CLEANING = {"cleanup.policy": "compact"}
_PATIENCE_SECONDS = 60.0
_SEED = 20


def measure(lab: Lab) -> CaseResult:
    """Both tools copy what the cleaner has left."""
    keys = SHORT_KEYS if lab.short else KEYS
    warm_up_keys = SHORT_WARM_UP_KEYS if lab.short else WARM_UP_KEYS
    return measure_in_turns(
        lab,
        case="compacted",
        title=f"Records of {RECORD_BYTES} bytes in {PARTITIONS} compacted partitions with holes, no codec.",
        goals=GOALS,
        warm=lambda: fill(lab, "warm-up-compacted", warm_up_keys),
        load=lambda: fill(lab, "compacted", keys),
        describe=lambda load: {
            "Holes": f"{load.offsets - load.records:,} offsets ({load.unseen_share:.1%})",
            "Median batch": f"{load.batch_bytes:,} bytes (batch.size {BATCH_BYTES:,} before compaction)",
            "segment.bytes": SEGMENT_BYTES,
        },
    )


def fill(lab: Lab, topic: str, keys: int) -> Load:
    """Writes so many keys and some of them again, lets the cleaner work, and counts what it has left.

    Raises BenchError if that is not the last record of every key.
    """
    lab.create_topic(Side.SOURCE, topic, PARTITIONS, _WRITING)
    lab.say(f"writing {keys:,} keys, {WRITTEN_TWICE:.0%} of them twice, into {PARTITIONS} partitions of {topic}")
    again = random.Random(_SEED).sample(range(keys), int(keys * WRITTEN_TWICE))
    producer = Producer(
        {
            "bootstrap.servers": lab.bootstrap(Side.SOURCE),
            "batch.size": BATCH_BYTES,
            "linger.ms": 100,
            "compression.type": "none",
            "max.in.flight": 1,
        }
    )
    _write(producer, topic, range(keys))
    _write(producer, topic, again)
    ends = [high for _, high in read_watermarks(lab.bootstrap(Side.SOURCE), topic, PARTITIONS)]
    seals = _seal(producer, topic)
    lab.alter_topic(Side.SOURCE, topic, _CLEANING)
    checkpoint = lab.clusters[Side.SOURCE].data_dir(1) / "cleaner-offset-checkpoint"
    lab.wait_until(
        lambda: cleaned_up_to(checkpoint, topic) == dict(enumerate(ends)), f"the cleaner is not done with {topic}"
    )
    seen = count_seen(lab.bootstrap(Side.SOURCE), topic, PARTITIONS)
    if seen != keys + seals:
        raise BenchError(f"{topic} shows {seen:,} records after compaction, not the {keys + seals:,} keys")
    load = lab.keep(topic, PARTITIONS, seen)
    lab.say(f"{topic} is compacted: {load.unseen_share:.1%} of {load.offsets:,} offsets are holes")
    return load


def _write(producer: Producer, topic: str, keys: Iterable[int]) -> None:
    """Writes one record of each key; a key always goes to the same partition."""
    value = os.urandom(RECORD_BYTES)
    for key in keys:
        while True:
            try:
                producer.produce(topic, key=b"%08d" % key, value=value, partition=key % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    _flush(producer, topic)


def _seal(producer: Producer, topic: str) -> int:
    """Begins another segment in each partition, for the cleaner leaves the last one alone; returns how many records."""
    later_ms = int(time.time() * 1000) + 2 * SEGMENT_MS
    for index in range(PARTITIONS):
        producer.produce(topic, key=b"seal %d" % index, value=b"", partition=index, timestamp=later_ms)
    _flush(producer, topic)
    return PARTITIONS


def _flush(producer: Producer, topic: str) -> None:
    if producer.flush(_PATIENCE_SECONDS):
        raise BenchError(f"not all records of {topic} could be written")


def cleaned_up_to(checkpoint: Path, topic: str) -> dict[int, int]:
    """Partition → the offset that the cleaner has come to, as the broker writes it down (OffsetCheckpointFile)."""
    if not checkpoint.exists():
        return {}
    lines = [line.split() for line in checkpoint.read_text().splitlines()[2:]]
    return {int(partition): int(offset) for name, partition, offset in lines if name == topic}
