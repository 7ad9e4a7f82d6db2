"""`kmigrate run` on real brokers, as an operator meets it; librdkafka is the witness."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource
from confluent_kafka.cimpl import NewPartitions, NewTopic

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration, closing_all, is_alive, log_ends, wait_until
from tests.kafka_tools import SentRecord, create_topic, new_topic_name, produce, read_all

pytestmark = pytest.mark.broker

Start = Callable[..., Migration]


@pytest.fixture
def start(tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Start]:
    """Starts a migration of the given topics between the shared clusters, in the background."""
    made: list[Migration] = []

    def begin(topics: list[str], *arguments: str, spec: dict[str, Any] | None = None, **options: Any) -> Migration:
        name = options.pop("name", None) or new_topic_name("run")
        made.append(Migration(tmp_path, source_cluster, target_cluster, topics, name=name, spec=spec, **options))
        made[-1].start(*arguments)
        return made[-1]

    with closing_all(made):
        yield begin


def run(start: Start, topics: list[str], **options: Any) -> Migration:
    """Runs a migration until it is in sync; it must end by itself, and well."""
    migration = start(topics, "--until", "in-sync", **options)
    assert migration.wait_for_exit() == 0, migration.evidence()
    return migration


def fill(cluster: EmbeddedCluster, topic: str, count: int, *, partitions: int = 1, size: int = 100) -> None:
    records = (
        SentRecord(key=b"%d" % n, value=b"%d " % n + b"v" * size, partition=n % partitions) for n in range(count)
    )
    produce(cluster.bootstrap, topic, records)


def assert_equal(source: EmbeddedCluster, target: EmbeddedCluster, *topics: str) -> None:
    for topic in topics:
        assert log_ends(source, [topic]) == log_ends(target, [topic])
        assert read_all(source.bootstrap, topic) == read_all(target.bootstrap, topic)


def partition_states(migration: Migration) -> set[str]:
    return {each["state"] for each in migration.status()["partitions"]}


def test_records_keep_their_offsets_and_an_empty_topic_comes_along(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    full = create_topic(source_cluster.bootstrap, partitions=12)
    empty = create_topic(source_cluster.bootstrap, partitions=3)
    fill(source_cluster, full, 6000, partitions=12)
    run(start, [full, empty], spec={"workers": 2})
    assert_equal(source_cluster, target_cluster, full, empty)


def test_a_new_topic_is_created_under_hold_and_new_partitions_are_followed(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    first, second = new_topic_name("pick-a"), new_topic_name("pick-b")
    pattern = f"({first}|{second})"
    create_topic(source_cluster.bootstrap, first)
    migration = start([pattern])
    migration.wait_for_state("IN_SYNC")

    create_topic(source_cluster.bootstrap, second, config={"max.message.bytes": "3000000"})
    admin = AdminClient({"bootstrap.servers": source_cluster.bootstrap})
    admin.create_partitions([NewPartitions(first, 3)])[first].result(30)
    wait_until("the new partitions can be written", lambda: len(log_ends(source_cluster, [first])) == 3)
    fill(source_cluster, first, 30, partitions=3)
    fill(source_cluster, second, 10)

    def all_there() -> bool:
        ends = [log_ends(cluster, [first, second]) for cluster in (source_cluster, target_cluster)]
        return ends[0] == ends[1]

    wait_until("everything is on the target", all_there, evidence=migration.evidence)
    assert_equal(source_cluster, target_cluster, first, second)
    settings = describe(target_cluster, second)
    assert settings["cleanup.policy"] == "delete"
    assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
    assert settings["compression.type"] == "producer"
    assert settings["message.timestamp.type"] == "CreateTime"
    assert settings["message.timestamp.after.max.ms"] == str(2**63 - 1)
    assert settings["max.message.bytes"] == "3000000"
    migration.stop()


def describe(cluster: EmbeddedCluster, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    return {key: entry.value for key, entry in admin.describe_configs([resource])[resource].result(30).items()}


def test_a_pause_holds_everything_and_its_end_lets_it_go_on(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    fill(source_cluster, topic, 100)
    migration = start([topic])
    migration.wait_in_sync()
    assert migration.command("pause").returncode == 0
    wait_until("it is paused", lambda: partition_states(migration) == {"PAUSED"}, evidence=migration.evidence)
    fill(source_cluster, topic, 100)
    time.sleep(2)
    assert list(log_ends(target_cluster, [topic]).values()) == [100]
    assert migration.command("resume").returncode == 0
    migration.wait_in_sync()
    assert_equal(source_cluster, target_cluster, topic)
    migration.stop()


def test_a_limit_is_kept_and_can_be_lifted(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=2)
    fill(source_cluster, topic, 4000, partitions=2, size=1000)
    migration = start([topic], spec={"workers": 2, "limits": {"bytesPerSecond": 400_000}})
    wait_until(
        "the limit holds it back", lambda: "THROTTLED" in partition_states(migration), evidence=migration.evidence
    )
    begun, before = time.monotonic(), migration.status()["totals"]["bytesCopied"]
    time.sleep(4)
    copied, passed = migration.status()["totals"]["bytesCopied"] - before, time.monotonic() - begun
    assert copied <= 400_000 * passed + 2_200_000, "at most the limit, and a request that was under way in each worker"
    assert partition_states(migration) != {"IN_SYNC"}
    assert migration.command("throttle", "none").returncode == 0
    migration.wait_in_sync()
    assert_equal(source_cluster, target_cluster, topic)
    migration.stop()


def test_a_second_run_goes_on_from_the_target_with_and_without_its_folder(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=2)
    fill(source_cluster, topic, 200, partitions=2)
    first = run(start, [topic])
    fill(source_cluster, topic, 200, partitions=2)
    first.start("--until", "in-sync")
    assert first.wait_for_exit() == 0, first.evidence()
    assert "local state was lost" not in first.messages()
    fill(source_cluster, topic, 200, partitions=2)
    other = run(start, [topic], name=first.name, state="elsewhere")
    assert f"state recovered from __kmigrate.{first.name}" in other.messages()
    assert "local state was lost" not in other.messages()
    other.lose_state()
    fill(source_cluster, topic, 200, partitions=2)
    last = run(start, [topic], name=first.name, state="third")
    assert "local state was lost" in last.messages()
    assert_equal(source_cluster, target_cluster, topic)


def test_a_killed_worker_is_replaced(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=4)
    migration = start([topic])
    migration.wait_for_state("IN_SYNC")
    killed = migration.kill_worker()
    fill(source_cluster, topic, 400, partitions=4)
    migration.wait_in_sync()
    assert killed not in migration.worker_pids()
    assert_equal(source_cluster, target_cluster, topic)
    migration.stop()


def test_a_killed_owner_leaves_no_worker_behind_and_is_succeeded_at_once(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    migration = start([topic])
    migration.wait_for_state("IN_SYNC")
    workers = migration.worker_pids()
    migration.kill_owner()
    wait_until("the workers are gone", lambda: not any(map(is_alive, workers)), seconds=10)
    fill(source_cluster, topic, 10)
    migration.start("--until", "in-sync")
    assert migration.wait_for_exit() == 0, migration.evidence()
    assert_equal(source_cluster, target_cluster, topic)


def test_every_blocker_is_told_at_once_and_nothing_is_written(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    new = create_topic(source_cluster.bootstrap)
    foreign = create_topic(source_cluster.bootstrap)
    wide = create_topic(source_cluster.bootstrap)
    compacted = create_topic(source_cluster.bootstrap)
    create_topic(target_cluster.bootstrap, foreign)
    fill(target_cluster, foreign, 5)
    create_topic(target_cluster.bootstrap, wide, partitions=2)
    create_topic(target_cluster.bootstrap, compacted, config={"cleanup.policy": "compact"})
    missing = new_topic_name("missing")
    migration = start([new, foreign, wide, compacted, missing], spec={"replicationFactor": 3})
    assert migration.wait_for_exit() == 4
    messages = migration.messages()
    for expected in (missing, f"topic {foreign} on the target", f"topic {wide} has 2", f"topic {compacted} exists"):
        assert expected in messages
    assert "replicationFactor: fit" in messages
    assert "kafka-configs.sh" in messages
    topics = AdminClient({"bootstrap.servers": target_cluster.bootstrap}).list_topics(timeout=30).topics
    assert new not in topics


def test_the_same_cluster_twice_is_refused(tmp_path: Path, source_cluster: EmbeddedCluster) -> None:
    topic = create_topic(source_cluster.bootstrap)
    migration = Migration(tmp_path, source_cluster, source_cluster, [topic], name=topic)
    migration.start()
    assert migration.wait_for_exit() == 6
    assert "same cluster" in migration.messages()


def test_a_cluster_that_cannot_be_reached_at_the_start_blocks(start: Start, source_cluster: EmbeddedCluster) -> None:
    topic = create_topic(source_cluster.bootstrap)
    migration = start([topic], spec={"target": {"properties": {"bootstrap.servers": "127.0.0.1:1"}}})
    assert migration.wait_for_exit() == 4
    assert "target cluster, broker 127.0.0.1:1" in migration.messages()


def test_a_deleted_target_topic_stops_and_is_created_anew_only_when_told(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=2)
    fill(source_cluster, topic, 100, partitions=2)
    migration = start([topic])
    migration.wait_in_sync()
    admin = AdminClient({"bootstrap.servers": target_cluster.bootstrap})
    admin.delete_topics([topic])[topic].result(30)
    wait_until(
        "both partitions stopped",
        lambda: (
            [each["stop"] and each["stop"]["kind"] for each in migration.status()["partitions"]]
            == ["TARGET_LOST", "TARGET_LOST"]
        ),
        evidence=migration.evidence,
    )
    time.sleep(3)
    assert topic not in admin.list_topics(timeout=30).topics
    answered = migration.command("resume", "-t", topic, "--recreate", "--yes")
    assert answered.returncode == 0, answered.stderr
    wait_until("the answer was taken up", lambda: migration.status()["state"] != "STOPPED", evidence=migration.evidence)
    migration.wait_in_sync()
    assert_equal(source_cluster, target_cluster, topic)
    migration.stop()


def test_a_waived_stop_is_listed_and_does_not_count(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    fill(source_cluster, topic, 10)
    migration = start([topic])
    migration.wait_in_sync()
    fill(target_cluster, topic, 1)
    migration.wait_for_state("STOPPED")
    migration.stop()
    migration.start("--until", "in-sync")
    assert migration.wait_for_exit() == 4, migration.evidence()
    assert migration.command("resume", "-t", topic, "-p", "0", "--ignore", "--yes").returncode == 0
    migration.start("--until", "in-sync")
    assert migration.wait_for_exit() == 0, migration.evidence()


def test_a_source_topic_created_again_stops_and_is_never_mixed(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    fill(source_cluster, topic, 10)
    migration = start([topic])
    migration.wait_in_sync()
    admin = AdminClient({"bootstrap.servers": source_cluster.bootstrap})
    admin.delete_topics([topic])[topic].result(30)
    wait_until("it is gone", lambda: topic not in admin.list_topics(timeout=30).topics)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    fill(source_cluster, topic, 20)
    document = migration.wait_for_state("STOPPED")
    assert document["partitions"][0]["stop"]["kind"] in ("SOURCE_REPLACED", "SOURCE_DELETED")
    assert list(log_ends(target_cluster, [topic]).values()) == [10]
    migration.stop()


def test_a_topic_that_the_target_refuses_does_not_hold_up_the_end(
    start: Start, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    dotted = create_topic(source_cluster.bootstrap, new_topic_name("refused").replace("-", "."))
    create_topic(target_cluster.bootstrap, dotted.replace(".", "_"))  # Kafka lets these two not live together
    good = create_topic(source_cluster.bootstrap)
    fill(source_cluster, good, 100)
    migration = start([dotted, good], "--until", "in-sync")
    assert migration.wait_for_exit() == 4, migration.evidence()
    assert_equal(source_cluster, target_cluster, good)
    assert "collides" in str(migration.status())
