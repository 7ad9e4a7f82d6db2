"""What the operator answers to a stop is done, and only what the table offers."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration, wait_until
from tests.fault.stops.content import assert_copied, records, target_end, wait_for_end
from tests.fault.stops.rights import ANYWHERE, CLUSTER, Rights
from tests.fault.stops.telling import BLOCKED, DONE, USAGE, answer, ask_status, told, wait_for_stop, wait_for_stops
from tests.fault.stops.topics import delete_topic, fill, read_config, set_config
from tests.kafka_tools import SentRecord, create_topic, new_topic_name, produce

pytestmark = pytest.mark.broker

LIMIT = "max.message.bytes"


def test_resume_goes_on_exactly_once_the_target_accepts_the_batch(
    source_cluster: EmbeddedCluster, guarded_target: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    target_cluster = guarded_target
    rights = Rights(target_cluster)
    rights.allow_everything(ResourceType.BROKER, CLUSTER)
    rights.allow_everything(ResourceType.TOPIC, ANYWHERE)
    topic = create_topic(source_cluster.bootstrap, partitions=2)
    rights.deny_outside(AclOperation.ALTER_CONFIGS, ResourceType.TOPIC, topic)
    fill(source_cluster, topic, "early", 10, partitions=(0, 1))
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    copy.start()
    copy.wait_in_sync()
    set_config(target_cluster, topic, LIMIT, "1000")
    produce(source_cluster.bootstrap, topic, [bytes(5_000)])
    fill(source_cluster, topic, "late", 4, partitions=(0, 1))
    stop = wait_for_stop(copy, topic)
    assert (stop.kind, stop.offset, stop.choices) == ("TARGET_REJECTED", 10, ("resume", "recreate", "ignore")), stop
    assert "TOO_LARGE (10)" in stop.evidence
    remedy = re.search(r"takes (\d+) bytes: raise the target topic's max.message.bytes to that", stop.evidence)
    assert remedy, stop
    assert "kmigrate may not: TOPIC_AUTHORIZATION_FAILED (29)" in stop.evidence
    wait_for_end(copy, topic, 14, partition=1)
    assert target_end(copy, topic) == 10

    set_config(target_cluster, topic, LIMIT, remedy[1])
    result = answer(copy, "-t", topic, "-p", "0")
    assert result.returncode == DONE, result.stderr
    wait_for_end(copy, topic, 15)
    copy.wait_for_state("IN_SYNC")
    for partition in (0, 1):
        assert told(ask_status(copy), topic, partition).kind == ""
        assert_copied(copy, topic, partition)


def test_resume_stops_again_while_the_cause_is_there(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap)
    fill(source_cluster, topic, "early", 10)
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    create_topic(source_cluster.bootstrap)  # a cluster without any topic is believed much later
    copy.start()
    copy.wait_in_sync()
    delete_topic(source_cluster, topic)
    stop = wait_for_stop(copy, topic)
    assert (stop.kind, stop.offset) == ("SOURCE_DELETED", 10)
    assert answer(copy, "-t", topic).returncode == DONE
    assert wait_for_stop(copy, topic).kind == "SOURCE_DELETED"
    create_topic(source_cluster.bootstrap, topic)
    fill(source_cluster, topic, "second", 12)
    assert answer(copy, "-t", topic).returncode == DONE
    wait_until(
        "it stops for another reason",
        lambda: told(copy.status(), topic).kind == "SOURCE_REPLACED",
        evidence=copy.evidence,
    )
    assert told(ask_status(copy), topic).offset == 10
    assert target_end(copy, topic) == 10


def test_recreate_copies_the_whole_topic_anew_once_its_name_was_typed(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    prefix = new_topic_name("recreate")
    foreign, replaced = topics = [f"{prefix}-foreign", f"{prefix}-replaced"]
    for topic in topics:
        create_topic(source_cluster.bootstrap, topic, partitions=2)
        fill(source_cluster, topic, "early", 10, partitions=(0, 1))
    copy = migration(source_cluster, target_cluster, topics, name=prefix)
    copy.start()
    copy.wait_in_sync()
    produce(target_cluster.bootstrap, foreign, [b"foreign"])
    delete_topic(source_cluster, replaced)
    create_topic(source_cluster.bootstrap, replaced, partitions=2)
    fill(source_cluster, replaced, "second", 20, partitions=(0, 1))
    document = wait_for_stops(copy, [(foreign, 0), (replaced, 0), (replaced, 1)])
    assert told(document, foreign).kind == "FOREIGN_WRITE"
    assert told(document, replaced, 1).kind == "SOURCE_REPLACED"

    refused = answer(copy, "-t", foreign, "-p", "0")
    assert refused.returncode == USAGE
    assert f"resume is no answer to FOREIGN_WRITE of {foreign}-0" in refused.stderr
    assert "--recreate" in refused.stderr
    assert "--ignore" in refused.stderr
    for typed in (None, "", replaced):
        assert answer(copy, "-t", foreign, "--recreate", typed=typed).returncode == USAGE
    assert answer(copy, "-t", foreign, "-p", "0", "--recreate", "--yes").returncode == USAGE
    assert told(ask_status(copy), foreign).kind == "FOREIGN_WRITE"
    assert len(records(target_cluster, foreign)) == 11

    assert answer(copy, "-t", foreign, "--ignore").returncode == DONE
    wait_until("it is waived", lambda: told(copy.status(), foreign).waived, evidence=copy.evidence)
    result = answer(copy, "-t", foreign, "--recreate", typed=foreign)  # a waived stop can still be answered
    assert result.returncode == DONE, result.stderr
    result = answer(copy, "-t", replaced, "--recreate", "--yes")
    assert result.returncode == DONE, result.stderr
    for topic, end in ((foreign, 10), (replaced, 20)):
        for partition in (0, 1):
            wait_for_end(copy, topic, end, partition)
            assert_copied(copy, topic, partition)
    copy.wait_for_state("IN_SYNC")
    assert read_config(target_cluster, foreign)["retention.ms"] == "-1", "the new topic is under hold too"
    fill(source_cluster, foreign, "late", 5, partitions=(0, 1))
    wait_for_end(copy, foreign, 15)
    assert_copied(copy, foreign)


def test_ignored_partitions_are_left_as_they_are_listed_as_waived_and_hold_nothing_up(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=2)
    fill(source_cluster, topic, "early", 10, partitions=(0, 1))
    copy = migration(source_cluster, target_cluster, [topic], name=topic)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == DONE, copy.evidence()
    produce(target_cluster.bootstrap, topic, [SentRecord(value=b"foreign")])
    fill(source_cluster, topic, "late", 5, partitions=(0, 1))
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == BLOCKED, copy.evidence()

    result = answer(copy, "-t", topic, "-p", "0", "--ignore")  # nobody owns it now: it counts from the next run on
    assert result.returncode == DONE, result.stderr
    fill(source_cluster, topic, "later", 5, partitions=(0, 1))
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == DONE, copy.evidence()
    waived = told(ask_status(copy), topic)
    assert (waived.state, waived.waived, waived.kind) == ("IGNORED", True, "FOREIGN_WRITE"), waived
    assert target_end(copy, topic) == 11
    assert target_end(copy, topic, 1) == 20
    assert_copied(copy, topic, 1)
