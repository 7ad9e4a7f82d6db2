"""Embedded clusters keep what they were told, survive what tests do to them, and leave nothing behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.kafka_jars import known_versions
from kmigrate.demo.kafka_node import NodeState
from kmigrate.demo.readiness import list_known_brokers
from tests.conftest import OLD_VERSION, SOURCE_VERSION, TARGET_VERSION
from tests.kafka_tools import SentRecord, create_topic, dump_log, produce, read_all, watermarks

pytestmark = pytest.mark.broker

Start = Callable[..., EmbeddedCluster]
VERSIONS = pytest.mark.parametrize("version", known_versions())
WITH_EITHER_QUORUM = pytest.mark.parametrize("version", [OLD_VERSION, TARGET_VERSION])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until_dead(pids: list[int], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.05)


@VERSIONS
def test_records_survive_a_crash_and_an_orderly_restart(start_cluster: Start, version: str) -> None:
    cluster = start_cluster(version)
    port, pid = cluster.port(1), cluster.pid(1)
    topic = create_topic(cluster.bootstrap)
    produce(cluster.bootstrap, topic, [b"one", b"two"])
    cluster.kill(1)
    assert cluster.pid(1) is None
    assert cluster.state(1) is NodeState.DOWN
    cluster.start_node(1)
    assert cluster.port(1) == port
    assert cluster.pid(1) not in (None, pid)
    produce(cluster.bootstrap, topic, [b"three"])
    cluster.restart(1)
    assert [record.value for record in read_all(cluster.bootstrap, topic)] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("shared", ["old_cluster", "source_cluster", "target_cluster"])
def test_every_record_comes_back_as_it_was_sent(
    request: pytest.FixtureRequest, chance: random.Random, shared: str
) -> None:
    cluster: EmbeddedCluster = request.getfixturevalue(shared)
    topic = create_topic(cluster.bootstrap, partitions=3)
    sent = [
        SentRecord(
            partition=chance.randrange(3),
            key=chance.choice([None, b"", b"key"]),
            value=chance.choice([None, b"", chance.randbytes(chance.randrange(1, 300))]),
            headers=[("name", b"1"), ("name", None), ("other", b"")][: chance.randrange(4)],
            timestamp=1_700_000_000_000 + chance.randrange(-1000, 1000),
        )
        for _ in range(200)
    ]
    places = produce(cluster.bootstrap, topic, sent)
    found = {record[:2]: record for record in read_all(cluster.bootstrap, topic)}
    assert sorted(found) == sorted(places)
    for record, place in zip(sent, places, strict=True):
        expected = (record.key, record.value, tuple(record.headers), record.timestamp)
        assert found[place][2:] == expected


def test_dump_log_segments_tells_of_batches_and_their_records(source_cluster: EmbeddedCluster) -> None:
    topic = create_topic(source_cluster.bootstrap)
    records = [SentRecord(key=b"k", value=b"v", headers=[("h", b"x")], timestamp=1000 + n) for n in range(5)]
    produce(source_cluster.bootstrap, topic, records, config={"compression.type": "zstd"})
    transaction = {"transactional.id": topic, "compression.type": "none"}
    produce(source_cluster.bootstrap, topic, [b"in a transaction"], config=transaction)
    batches = dump_log(SOURCE_VERSION, source_cluster.data_dir(1), topic, deep=True)
    data = [batch for batch in batches if not batch["isControl"]]
    assert batches[0]["baseOffset"] == 0
    assert batches[-1]["isControl"]
    assert batches[-1]["baseOffset"] == 6
    assert data[0]["compresscodec"] == "zstd"
    assert data[-1]["isTransactional"]
    assert all(batch["isvalid"] and batch["crc"] > 0 and batch["size"] > 60 for batch in batches)
    dumped = [record for batch in data for record in batch["records"]]
    assert [record["offset"] for record in dumped] == [0, 1, 2, 3, 4, 5]
    assert [record["CreateTime"] for record in dumped[:5]] == [1000, 1001, 1002, 1003, 1004]
    assert {(record["key"], record["payload"]) for record in dumped[:5]} == {("k", "v")}


@WITH_EITHER_QUORUM
def test_a_frozen_broker_answers_nothing_until_it_is_thawed(start_cluster: Start, version: str) -> None:
    cluster = start_cluster(version)
    topic = create_topic(cluster.bootstrap)
    cluster.freeze(1)
    assert cluster.state(1) is NodeState.FROZEN
    assert list_known_brokers("127.0.0.1", cluster.port(1), timeout_seconds=0.5) is None
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "message.timeout.ms": 60_000})
    producer.produce(topic, b"patient")
    assert producer.flush(0.5) == 1
    cluster.thaw(1)
    cluster.wait_until_ready()
    assert producer.flush(60) == 0
    assert [record.value for record in read_all(cluster.bootstrap, topic)] == [b"patient"]


@pytest.mark.parametrize("version", [OLD_VERSION, SOURCE_VERSION, TARGET_VERSION])
def test_either_broker_of_two_may_die_while_the_quorum_lives(start_cluster: Start, version: str) -> None:
    cluster = start_cluster(version, brokers=2)
    assert cluster.quorum_ids == (101,)
    topic = create_topic(cluster.bootstrap, replication=2)
    once = {"enable.idempotence": True}
    for number, broker in enumerate(cluster.broker_ids):
        produce(cluster.bootstrap, topic, [f"before {number}".encode()], config=once)
        cluster.kill(broker)
        produce(cluster.bootstrap, topic, [f"after {number}".encode()], config=once)
        cluster.start_node(broker)
        _wait_for_replicas(cluster, topic, 2)
    values = [record.value for record in read_all(cluster.bootstrap, topic)]
    assert values == [b"before 0", b"after 0", b"before 1", b"after 1"]


def test_a_frozen_follower_holds_the_high_watermark_back(start_cluster: Start) -> None:
    quick_shrink = {"replica.lag.time.max.ms": "60000", "broker.session.timeout.ms": "60000"}
    cluster = start_cluster(SOURCE_VERSION, brokers=2, properties=quick_shrink)
    topic = create_topic(cluster.bootstrap, replication=2)
    produce(cluster.bootstrap, topic, [b"seen by both"])
    leader = _leader(cluster, topic)
    follower = 3 - leader
    cluster.freeze(follower)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    producer.produce(topic, b"hidden")
    assert producer.flush(2.0) == 1
    assert watermarks(cluster.bootstrap, topic) == (0, 1)
    cluster.thaw(follower)
    assert producer.flush(60) == 0
    assert watermarks(cluster.bootstrap, topic) == (0, 2)


def test_three_brokers_outlive_their_controller(start_cluster: Start) -> None:
    cluster = start_cluster(TARGET_VERSION, brokers=3)
    topic = create_topic(cluster.bootstrap, replication=3)
    cluster.kill(101)
    # A producer without an id, that is: blocks of producer ids come from the controller.
    produce(cluster.bootstrap, topic, [b"no controller needed"])
    with pytest.raises(KafkaException):
        _create_topic_impatiently(cluster, f"{topic}-2")
    cluster.start_node(101)
    create_topic(cluster.bootstrap, f"{topic}-3", replication=3)
    assert [record.value for record in read_all(cluster.bootstrap, topic)] == [b"no controller needed"]


def test_a_cluster_with_zookeeper_comes_back_after_everything_crashed(start_cluster: Start) -> None:
    cluster = start_cluster(OLD_VERSION)
    cluster_id = cluster.cluster_id
    topic = create_topic(cluster.bootstrap)
    produce(cluster.bootstrap, topic, [b"before"])
    for node in (1, *cluster.quorum_ids):
        cluster.kill(node)
    for node in (*cluster.quorum_ids, 1):
        cluster.start_node(node)
    produce(cluster.bootstrap, topic, [b"after"])
    assert [record.value for record in read_all(cluster.bootstrap, topic)] == [b"before", b"after"]
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    assert admin.list_topics(timeout=30).cluster_id == cluster_id


def test_properties_of_a_cluster_win_over_ours(start_cluster: Start) -> None:
    cluster = start_cluster(
        SOURCE_VERSION,
        properties={"auto.create.topics.enable": "true", "num.partitions": "3"},
        listeners={"OTHER": "PLAINTEXT"},
    )
    bootstrap = cluster.bootstrap_of("OTHER")
    assert bootstrap not in (cluster.bootstrap, cluster.direct_bootstrap)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("made-by-writing", b"value", partition=2)
    assert producer.flush(60) == 0
    assert watermarks(bootstrap, "made-by-writing", 2) == (0, 1)


@WITH_EITHER_QUORUM
def test_nothing_is_left_of_a_closed_cluster(start_cluster: Start, version: str) -> None:
    cluster = start_cluster(version, brokers=2)
    pids, folder = cluster.pids(), cluster.data_dir(1).parents[1]
    assert len(pids) == 3
    assert folder.is_dir()
    cluster.freeze(2)
    cluster.close()
    assert not any(map(_is_alive, pids))
    assert not folder.exists()


def test_the_logs_of_a_failed_cluster_are_kept_and_named(start_cluster: Start) -> None:
    said: list[str] = []
    cluster = start_cluster(SOURCE_VERSION, say=said.append)
    folder = cluster.data_dir(1).parents[1]
    cluster.close(failed=True)
    assert said == [f"the logs of Kafka {SOURCE_VERSION} are kept in {folder}"]
    assert [path.name for path in folder.iterdir()] == ["node-1.log"]
    (folder / "node-1.log").unlink()
    folder.rmdir()


CHILD = """
import os, signal, sys, threading, time
from kmigrate.demo.embedded import EmbeddedCluster
cluster = EmbeddedCluster(sys.argv[1])
thread = threading.Thread(target=cluster.start)  # a node outlives the thread that asked for it
thread.start()
thread.join()
time.sleep(0.2)
cluster.wait_until_ready()
cluster.freeze(1)
print(*cluster.pids(), flush=True)
if sys.argv[2] == "exit":
    sys.exit(0)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("version", "end"),
    [(SOURCE_VERSION, "exit"), (SOURCE_VERSION, "SIGTERM"), (SOURCE_VERSION, "SIGKILL"), (OLD_VERSION, "SIGKILL")],
)
def test_brokers_do_not_outlive_the_python_process(version: str, end: str, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # a killed Python cannot remove the data
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, version, end],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    try:
        assert child.stdout is not None
        pids = [int(pid) for pid in child.stdout.readline().split()]
        assert len(pids) == (2 if version == OLD_VERSION else 1)
        if end != "exit":
            child.send_signal(signal.Signals[end])
        child.wait(60)
        _wait_until_dead(pids)
        if end == "exit":
            assert list(tmp_path.iterdir()) == []
    finally:
        child.kill()
        child.communicate()


def _create_topic_impatiently(cluster: EmbeddedCluster, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    futures = admin.create_topics([NewTopic(topic, 1, 1)], operation_timeout=2, request_timeout=2)
    futures[topic].result(20)


def _partition_metadata(cluster: EmbeddedCluster, topic: str) -> tuple[int, list[int]]:
    metadata = Producer({"bootstrap.servers": cluster.bootstrap}).list_topics(topic, timeout=30)
    partition = metadata.topics[topic].partitions[0]
    return partition.leader, partition.isrs


def _leader(cluster: EmbeddedCluster, topic: str) -> int:
    return _partition_metadata(cluster, topic)[0]


def _wait_for_replicas(cluster: EmbeddedCluster, topic: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(_partition_metadata(cluster, topic)[1]) < count:
        assert time.monotonic() < deadline, f"{topic} has not {count} replicas in sync"
        time.sleep(0.1)
