"""What an independent client finds on a broker: librdkafka, which shares no code with us."""

from __future__ import annotations

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from kmigrate.errors import KmigrateError

_PATIENCE_SECONDS = 60.0
_AT_ONCE = 10_000


class UnreadTopic(KmigrateError):
    """A topic could not be read to its end."""


def read_watermarks(bootstrap: str, topic: str, partitions: int) -> list[tuple[int, int]]:
    """Log start and high watermark of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-witness"})
    try:
        return [
            consumer.get_watermark_offsets(TopicPartition(topic, index), timeout=_PATIENCE_SECONDS)
            for index in range(partitions)
        ]
    finally:
        consumer.close()


def count_seen(bootstrap: str, topic: str, partitions: int) -> int:
    """The records that a consumer of committed data is shown; raises UnreadTopic if the end is not reached."""
    settings: dict[str, str | bool] = {
        "bootstrap.servers": bootstrap,
        "group.id": "bench-witness",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    try:
        consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(partitions)])
        seen = 0
        ended: set[int | None] = set()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(ended) < partitions:
            if time.monotonic() > deadline:
                raise UnreadTopic(f"{topic} was not read to its end in {_PATIENCE_SECONDS:.0f} s: {seen:,} records")
            for message in consumer.consume(_AT_ONCE, timeout=1.0):
                error = message.error()
                if error is None:
                    seen += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise UnreadTopic(f"{topic}: {error.str()}")
        return seen
    finally:
        consumer.close()
