"""Transactions as real producers leave them: committed, aborted, interleaved, late, tiny, large, and one left open."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, Producer

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Content, Place
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic, produce

PARTITIONS = 3
SMALL_TRANSACTIONS = 60
LARGE_TRANSACTION = 400


class TransactionalWriter:
    """A transactional producer that remembers which records are visible; `write` returns when they are in the log."""

    def __init__(self, cluster: EmbeddedCluster, topic: str, name: str, codec: str = "none") -> None:
        self.topic = topic
        self.name = name
        self.visible: set[Place] = set()
        self.pending: list[Place] = []
        self._count = 0
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.direct_bootstrap,
                "transactional.id": f"{topic}-{name}",
                "transaction.timeout.ms": 600_000,
                "compression.type": codec,
                "linger.ms": 1_000,  # what one `write` brings for a partition is one batch, if it fits
                "batch.size": 16_384,
            }
        )

    def register(self) -> None:
        """Gets a producer id; a transaction that another writer of this name left open is aborted."""
        self._producer.init_transactions(TIMEOUT_SECONDS)

    def begin(self) -> None:
        self._producer.begin_transaction()

    def write(self, partitions: Sequence[int] | int, count: int = 1, *, value: bytes | None = None) -> list[Place]:
        """Writes so many records to each partition; returns their places."""
        written: list[Place] = []
        for partition in [partitions] if isinstance(partitions, int) else partitions:
            for _ in range(count):
                self._count += 1
                text = f"{self.name} {self._count} ".encode() * 3 if value is None else value
                self._send(written, partition, value=text)
        return self._flush(written)

    def write_keys(self, partition: int, keys: Sequence[bytes], timestamp_ms: int) -> list[Place]:
        """Writes a record for each key, as one batch; returns their places."""
        written: list[Place] = []
        for key in keys:
            self._send(written, partition, key=key, value=self.name.encode(), timestamp=timestamp_ms)
        return self._flush(written)

    def _send(self, written: list[Place], partition: int, **record: Any) -> None:
        def note(error: KafkaError | None, message: Any) -> None:
            assert error is None, error
            written.append((message.partition(), message.offset()))

        self._producer.produce(self.topic, partition=partition, on_delivery=note, **record)

    def _flush(self, written: list[Place]) -> list[Place]:
        assert not self._producer.flush(TIMEOUT_SECONDS), f"{self.topic}: not everything was delivered"
        self.pending += written
        return written

    def commit(self) -> None:
        self._producer.commit_transaction(TIMEOUT_SECONDS)
        self.visible.update(self.pending)
        self.pending.clear()

    def abort(self) -> list[Place]:
        """Aborts the transaction; returns the places of its records."""
        self._producer.abort_transaction(TIMEOUT_SECONDS)
        aborted = list(self.pending)
        self.pending.clear()
        return aborted


def transactional(cluster: EmbeddedCluster) -> Content:
    """Decided transactions of three producers over three partitions, and plain records between them."""
    topic = create_topic(cluster.direct_bootstrap, partitions=PARTITIONS)
    first, second, third = writers = start_writers(cluster, topic, {"first": "none", "second": "lz4", "third": "zstd"})
    plain: list[Place] = []

    def write_plain() -> None:
        records = [b"plain " * 5, b"plain"]
        plain.extend(produce(cluster.direct_bootstrap, topic, records))

    _interleave(first, second)
    write_plain()
    _abort_long_after(third, first)
    write_plain()
    _commit_long_after(third, second)
    _write_many_small_ones(second)
    _abort_a_large_one(third)
    first.begin()
    first.write(2, 5)
    first.commit()
    write_plain()
    return Content(topic, frozenset().union(plain, *(writer.visible for writer in writers)))


class OpenTransaction:
    """A topic in whose first partition a transaction is open, with decided records before and others behind it.

    `content` is what is visible while it is open. Its producer lives as long as this object.
    """

    def __init__(self, cluster: EmbeddedCluster) -> None:
        topic = create_topic(cluster.direct_bootstrap, partitions=2)
        (self._writer, other) = start_writers(cluster, topic, {"open": "none", "other": "none"})
        before = produce(cluster.direct_bootstrap, topic, [b"before"] * 3)
        _decide(other, (0, 1), commit=True)
        self._writer.begin()
        self._writer.write((0, 1), 4)
        behind = produce(cluster.direct_bootstrap, topic, [b"behind"] * 3)
        _decide(other, 0, commit=False)
        _decide(other, 0, commit=True)
        self._writer.write(0, 2)
        everything = self._writer.visible | other.visible | {*before, *behind}
        first_open = {partition: min(o for p, o in self._writer.pending if p == partition) for partition in (0, 1)}
        self._held_back = {place for place in everything if place[1] > first_open[place[0]]}
        self.content = Content(topic, frozenset(everything - self._held_back))

    def commit(self) -> Content:
        """Makes its records, and those that it held back, visible."""
        self._writer.commit()
        return self.content.plus(self._held_back | self._writer.visible)

    def abort(self) -> Content:
        """Makes those visible that it held back."""
        self._writer.abort()
        return self.content.plus(self._held_back)


def open_transaction(cluster: EmbeddedCluster) -> OpenTransaction:
    """A transaction that the caller may commit or abort when it likes."""
    return OpenTransaction(cluster)


def start_writers(cluster: EmbeddedCluster, topic: str, codecs: dict[str, str]) -> list[TransactionalWriter]:
    """Registered writers by name and codec; librdkafka takes half a second for each, so they register together."""
    writers = [TransactionalWriter(cluster, topic, name, codec) for name, codec in codecs.items()]
    with ThreadPoolExecutor(len(writers)) as pool:
        list(pool.map(TransactionalWriter.register, writers))
    return writers


def _interleave(first: TransactionalWriter, second: TransactionalWriter) -> None:
    """Two transactions over several partitions, batch by batch in turns; one is aborted, the other committed."""
    first.begin()
    first.write((0, 1, 2), 20)
    second.begin()
    second.write((0, 1), 10)
    first.write(0, 5)
    second.write(0, 5)
    first.write((0, 2), 1)
    second.abort()
    first.write((0, 1), 3)
    first.commit()


def _abort_long_after(late: TransactionalWriter, other: TransactionalWriter) -> None:
    late.begin()
    late.write((0, 2), 7)
    for number in range(6):
        _decide(other, (0, 1), commit=number % 3 != 2)
    late.abort()


def _commit_long_after(late: TransactionalWriter, other: TransactionalWriter) -> None:
    late.begin()
    late.write(0, 7)
    for number in range(6):
        _decide(other, 0, commit=number % 3 == 2)
    late.commit()


def _write_many_small_ones(writer: TransactionalWriter) -> None:
    """Where every second or third offset is a marker."""
    for number in range(SMALL_TRANSACTIONS):
        _decide(writer, 1, count=1 + number % 2, commit=number % 4 != 1)


def _abort_a_large_one(writer: TransactionalWriter) -> None:
    writer.begin()
    writer.write(2, LARGE_TRANSACTION, value=b"large " * 60)
    writer.abort()


def _decide(writer: TransactionalWriter, partitions: Sequence[int] | int, *, count: int = 2, commit: bool) -> None:
    writer.begin()
    writer.write(partitions, count)
    if commit:
        writer.commit()
    else:
        writer.abort()
