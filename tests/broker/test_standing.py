"""What real brokers tell of transactions is what the standing needs: the last stable offset, what was aborted, markers.

librdkafka writes the source and reads what is visible there; the target is filled with that and with markers.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import Connection, ConnectionSettings
from kmigrate.copy.identity import marker_producer_id
from kmigrate.copy.inquiry import Finding, Inquiry, Question, Unclear
from kmigrate.copy.standing import Quiet, Standing
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Offset, Partition, ProducerId, Side, Term, TopicName, TopicPartition
from kmigrate.records.batch import stamp
from kmigrate.records.compression import Codec
from kmigrate.records.record import RawRecord, build_batch, stretches
from kmigrate.wire import produce
from kmigrate.wire.gap_calls import Markers, delete_records, write_markers
from tests.kafka_tools import ReadRecord, create_topic, new_topic_name, read_all
from tests.simulation.batches import zigzag

pytestmark = pytest.mark.broker

OURS = ProducerId((1 << 62) + 21)
SETTINGS = ConnectionSettings(client_id="standing")
TERM = Term(7)
HOLD = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}


class Clock:
    """What an inquiry needs of the network: here nothing has to be quiet."""

    def steady_seconds(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class End:
    """One partition on one cluster's only broker."""

    def __init__(self, side: Side, cluster: EmbeddedCluster, topic: str, config: dict[str, str]) -> None:
        self.cluster = cluster
        self.topic = TopicName(create_topic(cluster.bootstrap, topic, config=config))
        host, _, port = cluster.bootstrap.partition(":")
        client = ClusterClient(side, [(host, int(port))], SETTINGS)
        metadata = client.metadata([self.topic])
        client.close()
        self.topic_id = metadata.topics[self.topic].topic_id
        self.epoch = metadata.topics[self.topic].partitions[Partition(0)].leader_epoch
        (address,) = metadata.brokers.values()
        self.link = Connection(side, address, SETTINGS)


class Pair:
    """A topic on both clusters."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster, config: dict[str, str]) -> None:
        topic = new_topic_name("standing")
        self.partition = TopicPartition(TopicName(topic), Partition(0))
        self.source = End(Side.SOURCE, source, topic, config)
        self.target = End(Side.TARGET, target, topic, HOLD)
        self.inquiry = Inquiry(Clock(), OURS, 0)  # type: ignore[arg-type]
        self.sequence = 0

    def close(self) -> None:
        self.source.link.close()
        self.target.link.close()

    def producer(self, **settings: Any) -> Producer:
        return Producer({"bootstrap.servers": self.source.cluster.bootstrap, "linger.ms": 0, **settings})

    def transactional(self) -> Producer:
        producer = self.producer(**{"transactional.id": new_topic_name("writer")})
        producer.init_transactions(60)
        return producer

    def write(self, producer: Producer, *values: str) -> None:
        """One batch or more, and flushed: the next one lies behind it."""
        for value in values:
            producer.produce(self.partition.topic, value.encode(), partition=0)
        producer.flush(60)

    def copy(self, end: int, *, but: int | None = None) -> None:
        """Fills the target to `end`; the record at offset `but` is changed."""
        seen = read_all(self.source.cluster.bootstrap, self.partition.topic)
        records = [_raw(each, changed=each.offset == but) for each in seen if each.offset < end]
        at = 0
        for stretch in stretches(records, 0):
            self._fill(stretch[0].offset - at)
            self.append(build_batch(stretch, Codec.LZ4), len(stretch))
            at = stretch[-1].offset + 1
        self._fill(end - at)

    def _fill(self, count: int) -> None:
        if count:
            call = write_markers({self.partition: Markers(count, TERM)}, marker_producer_id(OURS))
            assert self.target.link.call(call) == {self.partition: 0}

    def append(self, batch: bytearray, count: int) -> None:
        stamp(memoryview(batch), 0, len(batch), OURS, 0, self.sequence, struct.unpack_from(">h", batch, 21)[0])
        self.sequence += count
        request = produce.serialize_produce(
            correlation_id=self.target.link.next_correlation_id(),
            client_id=b"standing",
            timeout_ms=10_000,
            batches={self.partition.topic.encode(): [(0, memoryview(batch))]},
        )
        self.target.link.send(request)
        _, _, answers = produce.parse_produce(self.target.link.receive(bytearray(1000)))
        assert answers[self.partition.topic.encode(), 0].error == 0

    def ask(self) -> Finding:
        question = Question(
            partition=self.partition,
            source_topic_id=self.source.topic_id,
            target_topic_id=self.target.topic_id,
            source_epoch=self.source.epoch,
            target_epoch=self.target.epoch,
            quiet=Quiet.NEEDLESS,
        )
        return self.inquiry.ask(self.source.link, self.target.link, [question])[self.partition]

    def standing(self) -> Standing:
        finding = self.ask()
        assert isinstance(finding, Standing), finding
        return finding


def _raw(record: ReadRecord, *, changed: bool) -> RawRecord:
    value = b"?" if changed else record.value or b""
    return RawRecord(record.offset, record.timestamp, zigzag(-1) + zigzag(len(value)) + value + b"\0")


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> Iterator[Pair]:
    made = Pair(source_cluster, target_cluster, getattr(request, "param", {}))
    yield made
    made.close()


def interleaved(pair: Pair) -> Producer:
    """Offsets: 0 aborted · 1, 2 committed · 3 aborted · 4 plain · 5 commit · 6 abort · 7 open; returns its producer."""
    first, second, plain = pair.transactional(), pair.transactional(), pair.producer()
    first.begin_transaction()
    second.begin_transaction()
    pair.write(first, "aborted")
    pair.write(second, "one", "two")
    pair.write(first, "aborted too")
    pair.write(plain, "plain")
    second.commit_transaction(60)
    first.abort_transaction(60)
    second.begin_transaction()
    pair.write(second, "open")
    return second


def test_transactions_of_real_brokers_are_held_against_records_and_markers(pair: Pair) -> None:
    still_open = interleaved(pair)
    pair.copy(7)
    standing = pair.standing()
    assert (standing.source_end, standing.source_stable, standing.target_end) == (8, 7, 7)
    assert (standing.tail.compared, standing.tail.differs_at, standing.tail.excused) == (3, None, 0)
    assert (standing.marker_epoch, standing.last_sequence, standing.tail.next_sequence) == (TERM, 2, 3)
    assert standing.tail.source_epoch == pair.source.epoch
    still_open.commit_transaction(60)
    assert pair.standing().source_stable == 9


def test_a_changed_record_between_transactions_is_found(pair: Pair) -> None:
    interleaved(pair).abort_transaction(60)
    pair.copy(7, but=2)
    assert isinstance(pair.ask(), Unclear), "it is read twice"
    assert pair.standing().tail.differs_at == 2


def test_what_is_not_decided_yet_cannot_have_been_copied(pair: Pair) -> None:
    still_open = interleaved(pair)
    pair.copy(7)
    pair.append(build_batch([RawRecord(7, 0, b"\1\x08open\0")], Codec.NONE), 1)
    finding = pair.ask()
    assert isinstance(finding, Unclear)
    assert "last stable offset" in finding.reason
    still_open.abort_transaction(60)


@pytest.mark.parametrize("pair", [{"message.timestamp.type": "LogAppendTime"}], indirect=True)
def test_append_times_are_what_consumers_see(pair: Pair) -> None:
    pair.write(pair.producer(), *(str(number) for number in range(5)))
    pair.copy(5)
    assert pair.standing().tail[:2] == (5, None)


def test_deleted_records_inside_a_batch_leave_the_rest_comparable(pair: Pair) -> None:
    pair.write(pair.producer(**{"linger.ms": 200}), *(str(number) for number in range(6)))
    pair.copy(6, but=1)
    for end in (pair.source, pair.target):
        end.link.call(delete_records({pair.partition: Offset(3)}, 10_000))
    standing = pair.standing()
    assert (standing.source_start, standing.target_start) == (3, 3)
    assert (standing.tail.compared, standing.tail.differs_at) == (3, None)
