"""The judge finds a difference of every kind where it was planted, and none where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import BrokerAddress, BrokerId, Partition, ProducerId, Side, TopicName, TopicPartition
from kmigrate.wire.gap_calls import Markers, write_markers
from tests.content.content import Content
from tests.content.judging import assert_copied, judge
from tests.content.raw_produce import append_batch
from tests.content.transactional import start_writers
from tests.kafka_tools import create_topic, new_topic_name
from tests.simulation.batches import GZIP, Record, make_batch

pytestmark = pytest.mark.broker

NOW_MS = int(time.time() * 1000)
OPEN = {"message.timestamp.after.max.ms": str(2**63 - 1)}
ODD_NAMES = ((b"\xff\xfe", b"1"), ("näme".encode(), None), (b"\xff\xfe", b""), (b"", b"2"))
RECORDS = (
    Record(NOW_MS, b"key", b"value", ((b"a", b"1"), (b"b", None), (b"a", b""))),
    Record(NOW_MS - 1, None, b""),
    Record(-1, b"", None),
    Record(NOW_MS + 2**33, b"k", b"v", ODD_NAMES),
)


class Pair(NamedTuple):
    source: EmbeddedCluster
    target: EmbeddedCluster

    def topic(self, *, partitions: int = 1, target_config: dict[str, str] | None = None) -> str:
        name = new_topic_name("judged")
        create_topic(self.source.bootstrap, name, partitions=partitions, config=OPEN)
        create_topic(self.target.bootstrap, name, partitions=partitions, config=OPEN | (target_config or {}))
        return name


@pytest.fixture
def pair(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Pair:
    return Pair(source_cluster, target_cluster)


@pytest.mark.parametrize("codec", [0, GZIP])
def test_equal_topics_are_equal_however_their_batches_were_cut(pair: Pair, codec: int) -> None:
    topic = pair.topic(partitions=2)
    append_batch(pair.source, topic, make_batch(RECORDS, codec=codec), 1)
    for record in RECORDS:
        append_batch(pair.target, topic, make_batch([record], codec=codec), 1)
    verdict = judge(pair.source, pair.target, topic)
    assert verdict.differences == ()
    assert verdict.seen == {(1, 0), (1, 1), (1, 2), (1, 3)}
    assert verdict.gaps == 0


def test_a_gap_is_equal_to_a_gap_whatever_fills_it(pair: Pair) -> None:
    topic = pair.topic()
    (writer,) = start_writers(pair.source, topic, {"writer": "none"})
    for key, end in ((b"seen", writer.commit), (b"aborted", writer.abort), (b"seen too", writer.commit)):
        writer.begin()
        writer.write_keys(0, [key], NOW_MS)
        end()
    _append(pair.target, topic, [Record(NOW_MS, b"seen", b"writer")])
    _mark(pair.target, topic, 3)
    _append(pair.target, topic, [Record(NOW_MS, b"seen too", b"writer")])
    verdict = judge(pair.source, pair.target, topic)
    assert _found(verdict.differences) == ["ends at 5, not at 6"]
    _mark(pair.target, topic, 1)
    verdict = judge(pair.source, pair.target, topic)
    assert verdict.differences == ()
    assert verdict.seen == {(0, 0), (0, 4)}
    assert verdict.gaps == 4


CHANGED = {
    "key": (0, {"key": b"kez"}, "key b'key' became b'kez'"),
    "key null": (1, {"key": b""}, "key None became b''"),
    "key empty": (2, {"key": None}, "key b'' became None"),
    "value": (3, {"value": b"w"}, "value b'v' became b'w'"),
    "value empty": (1, {"value": None}, "value b'' became None"),
    "tombstone": (2, {"value": b""}, "value None became b''"),
    "timestamp": (0, {"timestamp_ms": NOW_MS + 1}, f"timestamp {NOW_MS} became {NOW_MS + 1}"),
    "no timestamp": (2, {"timestamp_ms": 0}, "timestamp -1 became 0"),
    "headers lost": (0, {"headers": ()}, "headers ((b'a', b'1'), (b'b', None), (b'a', b'')) became ()"),
    "header order": (0, {"headers": ((b"a", b""), (b"b", None), (b"a", b"1"))}, "headers "),
    "header null": (0, {"headers": ((b"a", b"1"), (b"b", b""), (b"a", b""))}, "headers "),
    "header twice": (0, {"headers": ((b"a", b"1"), (b"b", None))}, "headers "),
    "odd header name": (3, {"headers": ((b"\xff\xff", b"1"), *ODD_NAMES[1:])}, "headers ((b'\\xff\\xfe', b'1')"),
    "odd header mended": (3, {"headers": (("�".encode(), b"1"), *ODD_NAMES[1:])}, "headers ((b'\\xff\\xfe', b'1')"),
    "odd header value": (3, {"headers": (*ODD_NAMES[:-1], (b"", b"3"))}, "headers "),
}


@pytest.mark.parametrize(("offset", "change", "said"), CHANGED.values(), ids=CHANGED)
def test_a_changed_record_is_found_at_its_offset(pair: Pair, offset: int, change: dict, said: str) -> None:
    topic = pair.topic()
    changed = list(RECORDS)
    changed[offset] = changed[offset]._replace(**change)
    _append(pair.source, topic, RECORDS)
    _append(pair.target, topic, changed)
    (difference,) = judge(pair.source, pair.target, topic).differences
    place, _, what = difference.partition(": ")
    assert place == f"{topic}-0@{offset}"
    assert what.startswith(said)


def test_a_lost_record_and_one_too_many_are_found(pair: Pair) -> None:
    topic = pair.topic()
    for cluster, gap_at in ((pair.source, 2), (pair.target, 1)):
        for offset in range(4):
            if offset == gap_at:
                _mark(cluster, topic, 1)
            else:
                _append(cluster, topic, [Record(NOW_MS, None, b"%d" % offset)])
    verdict = judge(pair.source, pair.target, topic)
    assert verdict.differences == (f"{topic}-0@1: only on the source", f"{topic}-0@2: only on the target")


def test_a_shifted_record_is_found(pair: Pair) -> None:
    topic = pair.topic()
    _append(pair.source, topic, RECORDS)
    _mark(pair.target, topic, 1)
    _append(pair.target, topic, RECORDS[:3])
    assert len(judge(pair.source, pair.target, topic).differences) > 4


def test_another_log_start_is_found(pair: Pair) -> None:
    topic = pair.topic()
    _append(pair.source, topic, RECORDS)
    _append(pair.target, topic, RECORDS)
    admin = AdminClient({"bootstrap.servers": pair.target.bootstrap})
    (deleted,) = admin.delete_records([Place(topic, 0, 1)]).values()
    deleted.result(30)
    verdict = judge(pair.source, pair.target, topic)
    assert _found(verdict.differences) == ["starts at 1, not at 0", "only on the source"]


def test_another_number_of_partitions_is_found(pair: Pair) -> None:
    topic = create_topic(pair.source.bootstrap)
    create_topic(pair.target.bootstrap, topic, partitions=2)
    assert judge(pair.source, pair.target, topic).differences == (f"{topic}-1: only on the target",)


def test_aborted_data_on_the_target_is_found(pair: Pair) -> None:
    def write(cluster: EmbeddedCluster, topic: str) -> None:
        (writer,) = start_writers(cluster, topic, {"writer": "none"})
        writer.begin()
        writer.write(0, 2)
        writer.abort()

    assert _judge_written(pair, write) == ["the target shows it to read_uncommitted only"] * 2


def test_a_transaction_left_open_on_the_target_is_found(pair: Pair) -> None:
    topic = pair.topic()
    (writer,) = start_writers(pair.target, topic, {"writer": "none"})
    writer.begin()
    writer.write(0, 1)
    found = _found(judge(pair.source, pair.target, topic).differences)
    writer.abort()
    assert found == [
        "ends at 1, not at 0",
        "a transaction is open at 0",
        "the target shows it to read_uncommitted only",
    ]


def test_another_timestamp_type_on_the_target_is_found(pair: Pair) -> None:
    topic = pair.topic(target_config={"message.timestamp.type": "LogAppendTime"})
    _append(pair.source, topic, [Record(NOW_MS, None, b"value")])
    _append(pair.target, topic, [Record(NOW_MS, None, b"value")])
    found = _found(judge(pair.source, pair.target, topic).differences)
    assert found[-1] == "timestamp type 2 is not CreateTime"


def test_a_source_that_does_not_show_its_content_any_more_is_no_proof(pair: Pair) -> None:
    topic = pair.topic()
    for cluster in pair:
        _append(cluster, topic, RECORDS[:1])
    assert assert_copied(pair.source, pair.target, Content(topic, frozenset({(0, 0)}))).seen == {(0, 0)}
    with pytest.raises(AssertionError, match="the source changed at"):
        assert_copied(pair.source, pair.target, Content(topic, frozenset({(0, 0), (0, 1)})))


def _judge_written(pair: Pair, write: Callable[[EmbeddedCluster, str], None]) -> list[str]:
    topic = pair.topic()
    write(pair.source, topic)
    write(pair.target, topic)
    return _found(judge(pair.source, pair.target, topic).differences)


def _append(cluster: EmbeddedCluster, topic: str, records: Sequence[Record]) -> None:
    append_batch(cluster, topic, make_batch(records))


def _mark(cluster: EmbeddedCluster, topic: str, count: int) -> None:
    """Takes up offsets that nobody sees."""
    settings = ConnectionSettings(client_id="judged")
    link = Connection(Side.TARGET, BrokerAddress(BrokerId(1), "127.0.0.1", cluster.port(1)), settings)
    place = TopicPartition(TopicName(topic), Partition(0))
    try:
        assert link.call(write_markers({place: Markers(count, 1)}, ProducerId((1 << 62) + 7))) == {place: 0}
    finally:
        link.close()


def _found(differences: Sequence[str]) -> list[str]:
    """What was found, without the places."""
    return [difference.partition(": ")[2] for difference in differences]
