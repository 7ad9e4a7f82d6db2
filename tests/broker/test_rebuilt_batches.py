"""Real brokers take what the records room builds, and Java and librdkafka read it as it was meant."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import Connection, ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, ProducerId, Side, TopicName, TopicPartition
from kmigrate.records.batch import stamp
from kmigrate.records.compression import Codec
from kmigrate.records.filler import build_filler
from kmigrate.records.record import RawRecord, build_batch
from kmigrate.wire import calls, produce
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.gap_calls import LogStart, Markers, delete_records, write_markers
from tests.conftest import SOURCE_VERSION
from tests.kafka_tools import create_topic, dump_log, read_all, watermarks
from tests.simulation.batches import Record, record_bytes

pytestmark = pytest.mark.broker

OURS = ProducerId((1 << 62) + 11)
MARKERS = ProducerId((1 << 62) + 12)
SETTINGS = ConnectionSettings(client_id="rebuilt")
NOW_MS = 1_790_000_000_000
HOLD = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
CONTENT = [
    Record(NOW_MS, b"key", b"value", (("näme".encode(), b"1"), ("näme".encode(), None))),
    Record(NOW_MS - 5, None, b""),
    Record(-1, b"", None),
    Record(NOW_MS + 2**33, b"k" * 300, b"v" * 70_000),
]


class Leader:
    """One partition on a single broker, and a link to it."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self.cluster = cluster
        self.topic = TopicName(create_topic(cluster.bootstrap, config=HOLD))
        self.partition = TopicPartition(self.topic, Partition(0))
        host, _, port = cluster.bootstrap.partition(":")
        self.client = ClusterClient(Side.TARGET, [(host, int(port))], SETTINGS)
        (address,) = self.client.metadata([self.topic]).brokers.values()
        self.link = Connection(Side.TARGET, address, SETTINGS)
        self.sequence = 0

    def close(self) -> None:
        self.link.close()
        self.client.close()

    def append(self, batch: bytearray, count: int) -> produce.AppendAnswer:
        view = memoryview(batch)
        attributes = struct.unpack_from(">h", batch, 21)[0]
        stamp(view, 0, len(batch), OURS, 0, self.sequence, attributes)
        correlation_id = self.link.next_correlation_id()
        self.link.send(
            produce.serialize_produce(
                correlation_id=correlation_id,
                client_id=b"rebuilt",
                timeout_ms=10_000,
                batches={self.topic.encode(): [(0, view)]},
            )
        )
        found_id, _, answers = produce.parse_produce(self.link.receive(bytearray(1000)))
        assert found_id == correlation_id
        answer = answers[self.topic.encode(), 0]
        if not answer.error:
            self.sequence += count
        return answer

    def true_end(self) -> int:
        epoch = self.client.metadata([self.topic]).topics[self.topic].partitions[Partition(0)].leader_epoch
        return self.link.call(calls.offset_for_leader_epoch({self.partition: LeaderEpoch(epoch)}))[
            self.partition
        ].end_offset


@pytest.fixture(params=["source_cluster", "target_cluster"])
def leader(request: pytest.FixtureRequest) -> Iterator[Leader]:
    found = Leader(request.getfixturevalue(request.param))
    yield found
    found.close()


def raw(records: list[Record]) -> list[RawRecord]:
    """Bodies as the format says: what follows length, attributes and two deltas of one byte each."""
    bodies = []
    for record in records:
        whole = record_bytes(record, 0, 0)
        head = next(at for at, byte in enumerate(whole) if byte < 0x80) + 4
        bodies.append(whole[head:])
    return [RawRecord(at, r.timestamp_ms, body) for at, (r, body) in enumerate(zip(records, bodies, strict=True))]


def test_batches_of_every_codec_are_accepted_and_read(leader: Leader) -> None:
    for codec in Codec:
        answer = leader.append(build_batch(raw(CONTENT), codec), len(CONTENT))
        assert (answer.error, answer.base_offset) == (0, codec * len(CONTENT)), (codec, answer.message)
    read = read_all(leader.cluster.bootstrap, leader.topic)
    assert [(r.offset, r.key, r.value, r.timestamp) for r in read] == [
        (codec * len(CONTENT) + at, r.key, r.value, r.timestamp_ms) for codec in Codec for at, r in enumerate(CONTENT)
    ]
    dumped = dump_log(SOURCE_VERSION, leader.cluster.data_dir(1), leader.topic, deep=True)
    assert [batch["compresscodec"] for batch in dumped] == [codec.name.lower() for codec in Codec]
    assert all(batch["isvalid"] for batch in dumped)


def test_filler_and_its_deletion_bring_the_log_start_anywhere(leader: Leader) -> None:
    filled = 1 << 16
    assert leader.append(build_filler(16, NOW_MS), filled).error == 0
    told = leader.link.call(delete_records({leader.partition: Offset(filled)}, 10_000))
    assert told == {leader.partition: LogStart(0, Offset(filled))}
    assert leader.append(build_batch(raw(CONTENT), Codec.ZSTD), len(CONTENT)).base_offset == filled
    assert watermarks(leader.cluster.bootstrap, leader.topic) == (filled, filled + len(CONTENT))
    assert [r.offset for r in read_all(leader.cluster.bootstrap, leader.topic)] == [filled + at for at in range(4)]


def test_each_marker_takes_one_offset_that_nobody_sees(leader: Leader) -> None:
    assert leader.append(build_batch(raw(CONTENT), Codec.NONE), 4).error == 0
    assert leader.link.call(write_markers({leader.partition: Markers(3, 5)}, MARKERS)) == {leader.partition: 0}
    assert leader.true_end() == 7
    assert leader.append(build_batch(raw(CONTENT), Codec.LZ4), 4).base_offset == 7, "the data's sequence is untouched"
    assert [r.offset for r in read_all(leader.cluster.bootstrap, leader.topic)] == [0, 1, 2, 3, 7, 8, 9, 10]


def test_a_lower_term_is_fenced(leader: Leader) -> None:
    assert leader.link.call(write_markers({leader.partition: Markers(1, 5)}, MARKERS)) == {leader.partition: 0}
    answer = leader.link.call(write_markers({leader.partition: Markers(2, 4)}, MARKERS))
    assert answer == {leader.partition: ErrorCode.TRANSACTION_COORDINATOR_FENCED}
    assert leader.true_end() == 1
