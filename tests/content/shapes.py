"""Records and batches of every shape: null against empty, odd and countless headers, single and 100,000, a megabyte."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Content, Place
from tests.content.raw_produce import append_batch
from tests.kafka_tools import create_topic
from tests.simulation.batches import GZIP, NONE, SNAPPY, ZSTD, Record, make_batch

MADE_MS = 1_700_000_000_000
MANY_HEADERS = 10_000
MANY_RECORDS = 100_000
MEGABYTE = 1_048_000
"""A value of so many bytes is as much as `max.message.bytes` lets pass by default."""
INFLATED_BYTES = 8_000_000
NOT_UTF8 = ((b"\xff\xfe", b"1"), (b"caf\xe9", None), (b"\xff\xfe", b""), (b"\xed\xa0\x80", b"\x00"))


class Shape(NamedTuple):
    """One batch; a codec that makes it smaller counts."""

    records: Sequence[Record]
    codec: int = NONE


def draw_shapes() -> Iterator[Shape]:
    """The batches of `shapes`, in their order."""
    absent = [
        Record(MADE_MS + at, key, value)
        for at, (key, value) in enumerate(product((None, b"", b"key"), (None, b"", b"value")))
    ]
    headers = [
        Record(MADE_MS, None, b"", ((b"twice", b"1"), (b"once", None), (b"twice", b""), (b"twice", b"1"))),
        Record(MADE_MS, b"", None, ((b"", b"no name"), ("näme ✓".encode(), b"\xff\x00"))),
        Record(MADE_MS, b"key", b"value", NOT_UTF8),
        Record(MADE_MS, b"key", b"value"),
    ]
    countless = tuple((b"header %d" % (number % 100), b"%d" % number) for number in range(MANY_HEADERS))
    noise = random.Random(4).randbytes(MEGABYTE)
    yield Shape(absent)
    yield Shape(absent, GZIP)
    yield Shape(headers)
    yield Shape(headers, GZIP)
    yield Shape([Record(MADE_MS, b"key", b"value", countless)])
    yield Shape([Record(MADE_MS, b"alone", b"value")])
    yield Shape([Record(MADE_MS, None, None)], ZSTD)
    yield Shape(
        [Record(MADE_MS + number, b"%d" % number, b"%d" % (number % 7)) for number in range(MANY_RECORDS)], ZSTD
    )
    yield Shape([Record(MADE_MS, b"large", noise)])
    yield Shape([Record(MADE_MS, noise[: MEGABYTE // 2], noise[MEGABYTE // 2 :])])
    yield Shape([Record(MADE_MS, None, noise[:300_000])] * 3, SNAPPY)
    yield Shape([Record(MADE_MS, b"inflated", bytes(INFLATED_BYTES))], GZIP)
    yield Shape([Record(MADE_MS, b"last", b"value")])


def shapes(cluster: EmbeddedCluster) -> Content:
    """One batch of each shape, in one partition."""
    topic = create_topic(cluster.direct_bootstrap)
    places: list[Place] = []
    for shape in draw_shapes():
        places += [(0, at) for at in append_batch(cluster, topic, make_batch(shape.records, codec=shape.codec))]
    return Content(topic, frozenset(places))
