"""The target loses records that it had acknowledged: the partition stops, and nothing is written into the hole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmigrate.copy.copier import WINDOW
from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.harness import Migration, wait_until
from tests.fault.probe import OURS
from tests.fault.stops.content import assert_copied, records, target_end, wait_for_end
from tests.fault.stops.telling import DONE, ask_status, told, wait_for_stop, wait_for_stops
from tests.fault.stops.topics import delete_topic, describe_partition, fill, list_topics, values
from tests.kafka_tools import create_topic, dump_log, new_topic_name

pytestmark = pytest.mark.broker

CHOICES = ("recreate", "ignore")


@pytest.mark.parametrize("meanwhile", ["running", "stopped"])
def test_a_target_topic_that_is_deleted_or_another_one_now_is_not_written_to(
    source_cluster: EmbeddedCluster,
    target_cluster: EmbeddedCluster,
    migration: Callable[..., Migration],
    meanwhile: str,
) -> None:
    prefix = new_topic_name("lost")
    gone, other, fewer, kept = topics = [f"{prefix}-{name}" for name in ("gone", "other", "fewer", "kept")]
    for topic in topics:
        create_topic(source_cluster.bootstrap, topic, partitions=2)
        fill(source_cluster, topic, "early", 10, partitions=(0, 1))
    copy = migration(source_cluster, target_cluster, topics, name=prefix)
    copy.start()
    copy.wait_in_sync()
    if meanwhile == "stopped":
        copy.stop()
    for topic in (gone, other, fewer):
        delete_topic(target_cluster, topic)
    create_topic(target_cluster.bootstrap, other, partitions=2)
    create_topic(target_cluster.bootstrap, fewer)
    fill(target_cluster, other, "theirs", 3, partitions=(0, 1))
    theirs = [records(target_cluster, other, partition) for partition in (0, 1)]
    if meanwhile == "stopped":
        copy.start()

    places = [(topic, partition) for topic in (gone, other, fewer) for partition in (0, 1)]
    document = wait_for_stops(copy, places)
    for place in places:
        stop = told(document, *place)
        assert (stop.kind, stop.choices) == ("TARGET_LOST", CHOICES), stop
        assert stop.offset == 10 or f"ends at {stop.offset}," in stop.evidence
    for topic in topics:
        fill(source_cluster, topic, "late", 5, partitions=(0, 1))
    for partition in (0, 1):
        wait_for_end(copy, kept, 15, partition)
        assert_copied(copy, kept, partition)
    assert gone not in list_topics(target_cluster)
    assert [records(target_cluster, other, partition) for partition in (0, 1)] == theirs
    assert records(target_cluster, fewer) == []


def test_what_lands_in_another_topic_of_the_name_before_that_is_known_is_listed(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    fill(source_cluster, topic, "early", 10)
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    copy.start()
    copy.wait_in_sync()
    delete_topic(target_cluster, topic)
    create_topic(target_cluster.bootstrap, topic)
    fill(target_cluster, topic, "theirs", 3)
    for number in range(10):
        fill(source_cluster, topic, f"late {number}", 1)

    stop = wait_for_stop(copy, topic)
    assert (stop.kind, stop.choices) == ("TARGET_LOST", CHOICES), stop
    batches = dump_log(SOURCE_VERSION, target_cluster.data_dir(1), topic)
    ours = [batch for batch in batches if batch["producerId"] >= OURS]
    assert len(ours) <= WINDOW
    stop = told(ask_status(copy), topic)
    assert stop.landed == [offset for batch in ours for offset in range(batch["baseOffset"], batch["lastOffset"] + 1)]
    assert [each.value for each in records(target_cluster, topic)][:3] == values("theirs", 3)


def test_records_that_an_unclean_election_took_from_the_target_are_missed(
    source_cluster: EmbeddedCluster, start_cluster: Callable[..., EmbeddedCluster], migration: Callable[..., Migration]
) -> None:
    unclean = {"unclean.leader.election.enable": "true"}
    target = start_cluster(TARGET_VERSION, brokers=2, properties={**unclean, "min.insync.replicas": "1"})
    prefix = new_topic_name("lost")
    lost, idle = topics = [f"{prefix}-{name}" for name in ("lost", "idle")]
    for topic in topics:
        create_topic(source_cluster.bootstrap, topic, partitions=2, config=unclean)  # else its `false` is carried over
        fill(source_cluster, topic, "common", 10, partitions=(0, 1))
    copy = migration(source_cluster, target, topics, name=prefix, spec={"replicationFactor": 2})
    copy.start()
    copy.wait_in_sync()
    target.kill(2)
    for topic in topics:
        for partition in (0, 1):
            wait_until(
                f"only 1 is in sync for {topic}-{partition}",
                lambda place=(topic, partition): describe_partition(target, *place) == (1, [1]),
                evidence=copy.evidence,
            )
    fill(source_cluster, lost, "lost", 10, partitions=(0, 1))
    for partition in (0, 1):
        wait_for_end(copy, lost, 20, partition)
    wait_until(
        "that is known", lambda: told(copy.status(), lost).position == told(copy.status(), lost, 1).position == 20
    )
    target.kill(1)
    target.start_node(2)
    for topic in topics:
        fill(source_cluster, topic, "late", 5, partitions=(0, 1))

    document = wait_for_stops(copy, [(lost, 0), (lost, 1)])
    for partition in (0, 1):
        stop = told(document, lost, partition)
        assert (stop.kind, stop.offset, stop.choices) == ("TARGET_LOST", 10, CHOICES), stop
        assert "20" in stop.evidence
        wait_for_end(copy, idle, 15, partition)
        assert_copied(copy, idle, partition)
        assert target_end(copy, lost, partition) == 10
        assert_copied(copy, lost, partition, end=10)
    copy.stop()

    copy.start()  # what was acknowledged is remembered
    document = wait_for_stops(copy, [(lost, 0), (lost, 1)])
    assert {told(document, lost, partition).kind for partition in (0, 1)} == {"TARGET_LOST"}
    assert target_end(copy, lost) == target_end(copy, lost, 1) == 10
    assert ask_status(copy)["state"] in ("STOPPED", "RUNNING", "WAITING")
    assert copy.command("status").returncode == DONE
