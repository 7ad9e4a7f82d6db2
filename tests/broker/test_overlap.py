"""Writers are restarted one after the other, and records come late: each arrives once, whatever dies meanwhile.

An independent reader judges: it reads the target's log from its beginning, as consumers do.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import LIVENESS_SECONDS, wait_until
from tests.kafka_tools import create_topic, new_topic_name
from tests.scenario.leading import Lead, Reader, Start, Writer, running, starting

pytestmark = pytest.mark.broker

PARTITIONS = 3
FIRST_OF_OTHER = 10_000_000
"""The second writer's numbers begin there."""


class TransactionalWriter(Writer):
    """An application that writes numbers in transactions, and aborts every third; what it aborts counts as never
    written."""

    def _run(self, client: dict[str, Any], count: int | None = None) -> None:
        assert count is None, "it writes until it is told to end"
        producer = Producer(
            {
                **client,
                "transactional.id": f"{self._topic}-writer",
                "compression.type": "gzip",
                "linger.ms": 5,
            }
        )
        producer.init_transactions(LIVENESS_SECONDS)
        round_number = 0
        while not self._ending.is_set():
            numbers = range(self._next, self._next + 20)
            self._next += len(numbers)
            producer.begin_transaction()
            for number in numbers:
                producer.produce(
                    self._topic,
                    b"%d" % number,
                    key=b"key-%d" % (number % 7),
                    partition=number % self._partitions,
                    headers=[("n", b"%d" % number), ("n", None)],
                    timestamp=1_700_000_000_000 + number,
                )
            round_number += 1
            if round_number % 3 == 0:
                producer.abort_transaction(LIVENESS_SECONDS)
            else:
                producer.commit_transaction(LIVENESS_SECONDS)
                self.acknowledged += numbers
            time.sleep(20 * self._pause)


class TwoWriters:
    """Two applications that write the same topic, one of them in transactions, and one that reads it."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self.source, self.target = source, target
        self.topic = create_topic(source.bootstrap, partitions=PARTITIONS)
        self.group = new_topic_name("group")
        self.writers = [
            Writer(self.topic, PARTITIONS),
            TransactionalWriter(self.topic, PARTITIONS, first=FIRST_OF_OTHER),
        ]
        self.reader = Reader(self.group, self.topic)

    def start(self) -> None:
        """All run on the source."""
        for each in (*self.writers, self.reader):
            each.start(self.source)
        wait_until("the service runs", lambda: len(self.reader.read) > 100)

    def close(self) -> None:
        for each in (*self.writers, self.reader):
            each.stop()

    def stop_writers(self) -> Counter[int]:
        """Stops them; every number that was acknowledged, on either side."""
        for each in self.writers:
            each.stop()
            assert not each.failed
            assert each.acknowledged, "nobody wrote: that proves nothing"
        return Counter(number for each in self.writers for number in each.acknowledged)

    def judge(self) -> None:
        """Everything acknowledged lies on the target once, and was read once by the group."""
        wanted = self.stop_writers()
        contents = Counter(read_whole(self.target, self.topic))
        changed = Counter(read_whole(self.source, self.topic)) - contents
        assert not changed, f"not on the target as they were: {list(changed)[:5]}"
        there = Counter(int(each.value) for each in contents.elements())
        assert there == wanted, f"lost: {sorted(wanted - there)[:20]}; repeated: {sorted(there - wanted)[:20]}"
        wait_until("everything is read", lambda: len(self.reader.read) >= wanted.total())
        self.reader.stop()
        read = Counter(number for _, _, number in self.reader.read)
        assert read == wanted, f"lost: {sorted(wanted - read)[:20]}; repeated: {sorted(read - wanted)[:20]}"


class Content(NamedTuple):
    """All that a record is, but for its offset."""

    partition: int
    timestamp: tuple[int, int]
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]


def content(message: Message) -> Content:
    headers = tuple((name, value) for name, value in message.headers() or ())
    return Content(message.partition(), message.timestamp(), message.key(), message.value(), headers)


def read_whole(cluster: EmbeddedCluster, topic: str) -> list[Content]:
    """Every record, as a consumer of decided data reads it."""
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap, "group.id": new_topic_name("witness"), "enable.partition.eof": True}
    )
    try:
        consumer.assign([TopicPartition(topic, each, 0) for each in range(PARTITIONS)])
        found: list[Content] = []
        ended: set[int] = set()
        deadline = time.monotonic() + LIVENESS_SECONDS
        while len(ended) < PARTITIONS:
            assert time.monotonic() < deadline, f"{topic} is not read to its end"
            for each in consumer.consume(1000, 0.5):
                error = each.error()
                if error is None:
                    found.append(content(each))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(each.partition())
        return found
    finally:
        consumer.close()


@pytest.fixture
def service(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[TwoWriters]:
    with running(TwoWriters(source_cluster, target_cluster)) as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, service: TwoWriters) -> Iterator[Start]:
    """Starts a migration of the service by consumers-first, in the background; it is in sync."""
    with starting(tmp_path, service) as begin:
        yield partial(begin, "consumers-first")


def verified(lead: Lead) -> None:
    done = lead.migration.command("verify")
    assert done.returncode == 0, done.stderr


def move_readers(lead: Lead, service: TwoWriters) -> None:
    verified(lead)
    lead.leave("replicate")
    service.reader.stop()
    lead.leave("stop-readers")
    service.reader.start(service.target)
    lead.leave("start-readers")


def appended(lead: Lead) -> int:
    """How many late records lie on the target."""
    return int(lead.status()["lateAppended"])


def restart_on_target(writer: Writer, service: TwoWriters) -> None:
    writer.stop()
    writer.start(service.target)


def test_writers_that_are_restarted_one_after_the_other_lose_nothing_though_the_owner_dies(
    start: Start, service: TwoWriters
) -> None:
    lead = start(ending="overlap")
    move_readers(lead, service)
    verified(lead)
    lead.leave("open")
    assert lead.next(command="abort") == 6, "nothing leads back"
    restart_on_target(service.writers[0], service)
    wait_until("late records are appended", lambda: appended(lead) > 300, evidence=lead.evidence)

    lead.migration.kill(owner=True)
    lead.migration.revive()
    before = appended(lead)
    wait_until("it goes on", lambda: appended(lead) > before + 300, evidence=lead.evidence)
    assert lead.status()["step"]["name"] == "move-writers"
    restart_on_target(service.writers[1], service)
    lead.leave("move-writers")
    lead.leave("watch", command="finish")
    assert lead.status()["outcome"] == "finished", lead.evidence()
    service.judge()


def test_records_of_a_writer_that_went_on_after_the_freeze_are_appended_once(start: Start, service: TwoWriters) -> None:
    straggler, other = service.writers
    other.stop()  # it stays away until it is the one that comes late
    lead = start(wayBack=False)
    move_readers(lead, service)
    verified(lead)
    straggler.stop()
    lead.leave("stop-writers")
    lead.reach("start-writers")
    straggler.start(service.target)
    before = len(other.acknowledged)
    other.start(service.source)
    wait_until("records come late", lambda: len(other.acknowledged) > before + 300)
    other.stop()
    late = len(other.acknowledged) - before
    lead.leave("start-writers")
    lead.reach("watch")
    wait_until("they are seen", lambda: (lead.status()["lateRecords"] or 0) >= late, evidence=lead.evidence)
    assert lead.next(command="finish") == 5
    assert "no-late-records" in lead.said.stderr

    wait_until("they can be appended", lambda: lead.next("--late", "append") == 0, evidence=lead.evidence)
    lead.settle()
    wave = lead.status()
    assert (wave["lateRecords"], wave["lateAppended"]) == (0, late), lead.evidence()
    assert lead.next("--late", "append") == 6, "there is nothing left to append"
    assert lead.next(command="abort") == 6, "what was appended stays"
    lead.leave("watch", command="finish")
    assert lead.status()["outcome"] == "finished", lead.evidence()
    service.judge()
