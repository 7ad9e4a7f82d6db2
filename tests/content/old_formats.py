"""Message sets of the formats v0 and v1, as a 2.8.2 broker converts what it is given and stores it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.altering import alter_topic
from tests.content.compacted import compacted_old_format
from tests.content.content import Content, Place
from tests.content.segments import read_newest_format
from tests.kafka_tools import SentRecord, create_topic, produce

CODECS = ("none", "gzip", "snappy", "lz4")
"""zstd came with format v2."""
RECORDS = 30
_MADE_MS = 1_700_000_000_000
_FORMAT = "message.format.version"


class OldFormats(NamedTuple):
    """A topic for each case."""

    v0: Content
    v1: Content
    v1_log_append_time: Content
    upgraded: Content
    """A log that began in v0 and goes on in v1 and v2, as the topics of an old cluster do."""
    v0_compacted: Content
    v1_compacted: Content


def old_formats(cluster: EmbeddedCluster) -> OldFormats:
    """Topics with every codec, null and empty keys and values; needs a cluster before 3.0."""
    return OldFormats(
        v0=_write(cluster, {_FORMAT: "0.9.0"}),
        v1=_write(cluster, {_FORMAT: "0.10.2"}),
        v1_log_append_time=_write(cluster, {_FORMAT: "0.10.2", "message.timestamp.type": "LogAppendTime"}),
        upgraded=_write(cluster, {_FORMAT: "0.9.0"}, upgrades=(("0.10.2", 1), ("2.8", 2))),
        v0_compacted=compacted_old_format(cluster, {_FORMAT: "0.9.0"}),
        v1_compacted=compacted_old_format(cluster, {_FORMAT: "0.10.2"}),
    )


def _write(cluster: EmbeddedCluster, config: dict[str, str], *, upgrades: Iterable[tuple[str, int]] = ()) -> Content:
    topic = create_topic(cluster.direct_bootstrap, config=config)
    places = _produce_every_codec(cluster, topic)
    for version, format_number in upgrades:
        places += alter_topic(
            cluster,
            topic,
            _FORMAT,
            version,
            probe=SentRecord(value=b"probe", timestamp=_MADE_MS),
            obeyed=lambda _place, wanted=format_number: read_newest_format(cluster, topic) == wanted,
        )
        places += _produce_every_codec(cluster, topic)
    return Content(topic, frozenset(places))


def _produce_every_codec(cluster: EmbeddedCluster, topic: str) -> list[Place]:
    places: list[Place] = []
    for codec in CODECS:
        config = {"compression.type": codec, "linger.ms": 100}  # a batch each: many records, then one
        places += produce(cluster.direct_bootstrap, topic, _draw_records(RECORDS), config=config)
        places += produce(cluster.direct_bootstrap, topic, _draw_records(1), config=config)
    return places


def _draw_records(count: int) -> list[SentRecord]:
    """Records that compress well, among them tombstones, and keys that are null or empty."""
    return [
        SentRecord(
            key=(None, b"", b"key %d" % number)[number % 3],
            value=(b"value %d " % number * 10, b"", b"value" * 20, None)[number % 4],
            timestamp=_MADE_MS + 7 * (number % 5),
        )
        for number in range(count)
    ]
