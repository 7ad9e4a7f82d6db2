"""An independent client reads a cluster: librdkafka through confluent-kafka, none of kmigrate's own code.

It takes part in no consumer group: partitions are assigned by hand and nothing is committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is exported in fact
from confluent_kafka.cimpl import NewTopic

from kmigrate.demo.comparison import Range, Seen
from kmigrate.demo.ledger import digest_of
from kmigrate.demo.shapes import TopicShape, find_number
from kmigrate.errors import KmigrateError

PATIENCE_SECONDS = 30.0
_PREFETCHED_KILOBYTES = 16_384
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_POLL_SECONDS = 0.5
_ONLY_DISASTERS = 2
"""A level of syslog: librdkafka would tell on stderr of every broker that we end before its client."""
_Pairs: TypeAlias = list[tuple[str, str | bytes | None]]


class WitnessFailed(KmigrateError):
    """The independent client could not read what it should."""


class Witness:
    """One cluster as librdkafka shows it; a context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": _ONLY_DISASTERS})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": _ONLY_DISASTERS,
                "group.id": "kmigrate-demo-witness",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.wait.max.ms": 20,
                "queued.max.messages.kbytes": _PREFETCHED_KILOBYTES,
            }
        )

    def create_topics(self, shapes: Iterable[TopicShape]) -> None:
        """Creates topics and waits until every partition has a leader that answers for it.

        A broker that does not have a partition yet may refuse a producer's first batch and take its second one, and
        the client then counts the first one as written.
        """
        shapes = list(shapes)
        outcomes = self._admin.create_topics(
            [NewTopic(shape.name, num_partitions=shape.partitions, replication_factor=1) for shape in shapes]
        )
        for outcome in outcomes.values():
            outcome.result(PATIENCE_SECONDS)
        wanted = {shape.name: shape.partitions for shape in shapes}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while {topic: len(partitions) for topic, partitions in self._led_partitions().items()} != wanted:
            self._check(deadline, "the topics have no leaders")
            time.sleep(0.05)
        self.ranges()

    def ranges(self) -> dict[str, dict[int, Range]]:
        """The log start offset and the high watermark of every partition of every topic that is not internal."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                starts = self._list_offsets(_EARLIEST)
                ends = self._list_offsets(_LATEST)
            except KafkaException as exception:  # a partition that was created just now has no leader yet
                self._check(deadline, str(exception))
                time.sleep(0.1)
                continue
            ranges: dict[str, dict[int, Range]] = {}
            for (topic, partition), end in ends.items():
                ranges.setdefault(topic, {})[partition] = Range(starts.get((topic, partition), 0), end)
            return ranges

    def count_records(self) -> int:
        """How many offsets all partitions span."""
        return sum(span.end - span.start for spans in self.ranges().values() for span in spans.values())

    def read(self, topic: str, partition: int, between: Range) -> Iterator[Seen]:
        """The records of one partition, which are fetched from now on; one such stream may be read at a time."""
        if between.start >= between.end:
            return iter(())
        self._consumer.assign([TopicPartition(topic, partition, between.start)])
        return self._read_assigned(topic, partition, between)

    def close(self) -> None:
        """Ends the client's connections."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_assigned(self, topic: str, partition: int, between: Range) -> Iterator[Seen]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            message = self._consumer.poll(_POLL_SECONDS)
            if message is None:
                self._check(deadline, f"{topic}-{partition} does not come to offset {between.end}")
                continue
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise WitnessFailed(f"{topic}-{partition} on {self._bootstrap}: {error}")
            seen = _see(message)
            yield seen
            if seen.offset + 1 >= between.end:
                return
            deadline = time.monotonic() + PATIENCE_SECONDS

    def _list_offsets(self, spec: OffsetSpec) -> Mapping[tuple[str, int], int]:
        partitions = [
            TopicPartition(topic, partition)
            for topic, partitions in self._led_partitions().items()
            for partition in partitions
        ]
        if not partitions:
            return {}
        asked = self._admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=PATIENCE_SECONDS)
        return {(each.topic, each.partition): future.result().offset for each, future in asked.items()}

    def _led_partitions(self) -> dict[str, Sequence[int]]:
        topics = self._admin.list_topics(timeout=PATIENCE_SECONDS).topics
        return {
            name: [number for number, partition in topic.partitions.items() if partition.leader >= 0]
            for name, topic in topics.items()
            if not name.startswith("__")
        }

    def _check(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise WitnessFailed(f"{what} on {self._bootstrap} within {PATIENCE_SECONDS:.0f} s")


def _see(message: Message) -> Seen:
    """What counts of a record; the record itself is let go."""
    key, value = message.key(), message.value()
    headers = _pairs(message.headers())
    timestamp_type, timestamp_ms = message.timestamp()
    offset = message.offset()
    assert offset is not None, "a record that was read has an offset"
    return Seen(
        offset,
        digest_of(key, value, headers, timestamp_ms=timestamp_ms, timestamp_type=timestamp_type),
        find_number(value, headers),
        len(key or b"") + len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers),
    )


def _pairs(headers: _Pairs | dict[str, str | bytes | None] | None) -> list[tuple[str, bytes | None]]:
    """The headers in their order; librdkafka gives pairs of a name and bytes, its types allow more."""
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    return [(name, content.encode() if isinstance(content, str) else content) for name, content in pairs]
