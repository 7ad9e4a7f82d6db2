"""Records written one by one arrive in larger batches, and a consumer sees no difference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION
from tests.content.content import Content, Place
from tests.content.judging import assert_copied
from tests.content.raw_produce import append_batch
from tests.content.shapes import NOT_UTF8
from tests.fault.harness import Migration, closing_all
from tests.kafka_tools import SentRecord, create_topic, dump_log, new_topic_name, produce
from tests.simulation.batches import GZIP, NONE, Record, make_batch

pytestmark = pytest.mark.broker

MADE_MS = 1_700_000_000_000
SMALL_LIMIT_BYTES = 4_000
CODECS = ("snappy", "lz4", "zstd")
LONELY = {"batch.num.messages": 1, "linger.ms": 0}


@pytest.fixture
def migrations() -> Iterator[list[Migration]]:
    made: list[Migration] = []
    with closing_all(made):
        yield made


def odd_ones(cluster: EmbeddedCluster) -> Content:
    """A few records a batch, of each codec in turn: odd headers, timestamps far apart and out of order, tombstones."""
    topic = create_topic(cluster.direct_bootstrap)
    places: list[Place] = []
    for codec in (NONE, GZIP):
        for number in range(12):
            records = [
                Record(MADE_MS + number * 3_600_000, b"%d" % number, b"v" * number, NOT_UTF8),
                Record(-1 if number % 3 else MADE_MS - number, None, None),
                Record(MADE_MS, b"", b"", ((b"twice", b"1"), (b"twice", None))),
            ]
            batch = make_batch(records[: 1 + number % 3], codec=codec)
            places += [(0, at) for at in append_batch(cluster, topic, batch)]
    return Content(topic, frozenset(places))


def lonely_ones(cluster: EmbeddedCluster, *, limit_bytes: int | None = None, codec: str = "none") -> Content:
    """One record a batch, as a producer without linger writes them."""
    config = {} if limit_bytes is None else {"max.message.bytes": str(limit_bytes)}
    topic = create_topic(cluster.direct_bootstrap, partitions=2, config=config)
    settings = {**LONELY, "compression.type": codec}
    records = [SentRecord(value=b"%d" % number * 30, partition=number % 2) for number in range(1_000)]
    return Content(topic, frozenset(produce(cluster.direct_bootstrap, topic, records, config=settings)))


def shape(cluster: EmbeddedCluster, topic: str) -> list[dict[str, Any]]:
    return dump_log(SOURCE_VERSION, cluster.data_dir(1), topic)


def test_small_batches_arrive_as_few_and_hold_what_they_held(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migrations: list[Migration]
) -> None:
    contents = [
        odd_ones(source_cluster),
        lonely_ones(source_cluster),
        lonely_ones(source_cluster, limit_bytes=SMALL_LIMIT_BYTES),
        *(lonely_ones(source_cluster, codec=codec) for codec in CODECS),
    ]
    topics = [content.topic for content in contents]
    copy = Migration(tmp_path, source_cluster, target_cluster, topics, name=new_topic_name("merging"))
    migrations.append(copy)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()
    for content in contents:
        assert_copied(source_cluster, target_cluster, content)

    odd, lonely, limited, *compressed = (
        (shape(source_cluster, topic), shape(target_cluster, topic)) for topic in topics
    )
    assert [len(side) for side in odd] == [24, 2], odd[1]
    assert [batch["compresscodec"] for batch in odd[1]] == ["none", "gzip"]
    for before, after in (lonely, *compressed):
        assert len(before) == 500
        assert len(after) < 50
    for codec, (_, after) in zip(CODECS, compressed, strict=True):
        assert {batch["compresscodec"] for batch in after} == {codec}
    assert len(limited[1]) < len(limited[0])
    assert max(batch["size"] for batch in limited[1]) <= SMALL_LIMIT_BYTES
