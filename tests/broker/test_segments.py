"""Kafka's own DumpLogSegments finds the same records, in the same batches or merged ones, on both sides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kmigrate.copy.merging import SMALL_BYTES
from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.fault.harness import Migration, closing_all
from tests.kafka_tools import SentRecord, create_topic, dump_log, produce

pytestmark = pytest.mark.broker

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LONG_AGO_MS = 1_262_304_000_000
OURS = 1 << 62
BIG_BYTES = 3_000_000
LIMIT = {"max.message.bytes": str(2 * BIG_BYTES)}
WRITTEN_BY_THE_TARGET = frozenset(
    {"partitionLeaderEpoch", "producerId", "producerEpoch", "baseSequence", "lastSequence", "crc", "position"}
)
"""What DumpLogSegments prints of a batch that belongs to its writer and its log, not to its records."""


def test_batches_and_records_are_the_same_in_the_segment_files_of_both_sides(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path, chance: random.Random
) -> None:
    topic = create_topic(source_cluster.bootstrap, config=LIMIT)
    for codec in CODECS:
        _write(source_cluster, topic, codec, chance)
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=topic)
    with closing_all([copy]):
        copy.start()
        copy.wait_in_sync()
        for codec in CODECS:
            produce(source_cluster.bootstrap, topic, _live_records(codec), config={"compression.type": codec})
        copy.wait_in_sync()
        copy.stop()

    # one tool reads both: what it prints changes from release to release
    source, target = (
        dump_log(SOURCE_VERSION, cluster.data_dir(1), topic, deep=True) for cluster in (source_cluster, target_cluster)
    )
    assert {batch["compresscodec"] for batch in source} == set(CODECS)
    assert max(batch["count"] for batch in source) > 50
    assert max(batch["size"] for batch in source) > BIG_BYTES
    assert [_record(each) for batch in target for each in batch["records"]] == [
        _record(each) for batch in source for each in batch["records"]
    ]
    here, there = _by_ends(target), _by_ends(source)
    as_they_were = here.keys() & there.keys()
    assert {ends: here[ends] for ends in as_they_were} == {ends: there[ends] for ends in as_they_were}
    assert {ends for ends, batch in there.items() if batch["size"] > SMALL_BYTES} <= as_they_were
    edges = {edge for first, last in there for edge in (first - 1, last)}
    assert {edge for first, last in here for edge in (first - 1, last)} <= edges, "only whole batches are merged"
    assert len(here) < len(there)
    assert all(batch["isvalid"] for batch in target)
    assert {batch["producerId"] >= OURS for batch in target} == {True}
    assert {batch["producerEpoch"] for batch in target} == {0}
    assert [batch["baseSequence"] for batch in target] == [batch["baseOffset"] for batch in target]


def _write(cluster: EmbeddedCluster, topic: str, codec: str, chance: random.Random) -> None:
    """Batches of many records, of one, and of a big one; timestamps that are old, equal and out of order."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    many = [
        SentRecord(
            key=None if number % 5 == 0 else b"key %d" % chance.randrange(20),
            value=None if number % 7 == 6 else b"%s %d" % (codec.encode(), number),
            headers=[("kind", b"odd"), ("kind", b"twice"), ("none", None)] if number % 3 == 0 else (),
            timestamp=LONG_AGO_MS + chance.randrange(10_000_000),
        )
        for number in range(200)
    ]
    big = "".join(chance.choices(letters, k=BIG_BYTES)).encode() if codec == "none" else bytes(b"z" * BIG_BYTES)
    config = {"compression.type": codec, "message.max.bytes": 2 * BIG_BYTES}
    produce(cluster.bootstrap, topic, many, config=config | {"linger.ms": 100})
    produce(cluster.bootstrap, topic, [SentRecord(value=b"alone", timestamp=1)], config=config)
    produce(cluster.bootstrap, topic, [SentRecord(value=big, timestamp=LONG_AGO_MS)], config=config)


def _live_records(codec: str) -> list[SentRecord]:
    return [SentRecord(value=b"live %s %d" % (codec.encode(), number)) for number in range(20)]


def _by_ends(batches: list[dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    """What a producer wrote of each batch, but for its records, by first and last offset."""
    return {
        (batch["baseOffset"], batch["lastOffset"]): {
            key: value for key, value in batch.items() if key not in {*WRITTEN_BY_THE_TARGET, "records"}
        }
        for batch in batches
    }


def _record(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "sequence"}
