"""A right on the target is missing: the partition that needs it stops and names it, and goes on once it is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Content
from tests.content.judging import assert_copied
from tests.content.transactional import start_writers
from tests.content.trimmed import delete_records
from tests.fault.harness import Migration, log_ends
from tests.fault.stops.content import target_end, wait_for_end
from tests.fault.stops.rights import ANYWHERE, CLUSTER, Rights
from tests.fault.stops.telling import DONE, answer, ask_status, told, wait_for_stops
from tests.fault.stops.topics import fill
from tests.kafka_tools import create_topic, new_topic_name, produce

pytestmark = pytest.mark.broker

LOG_START = 7


def _write_gaps(source: EmbeddedCluster, topic: str) -> Content:
    """Ten plain records, an aborted transaction, and ten committed records."""
    create_topic(source.direct_bootstrap, topic)
    plain = produce(source.direct_bootstrap, topic, [b"plain"] * 10)
    (writer,) = start_writers(source, topic, {"writer": "none"})
    for commit in (False, True):
        writer.begin()
        writer.write(0, 10)
        if commit:
            writer.commit()
        else:
            writer.abort()
    return Content(topic, frozenset(plain) | writer.visible)


def _write_trimmed(source: EmbeddedCluster, topic: str) -> Content:
    create_topic(source.direct_bootstrap, topic)
    places = produce(source.direct_bootstrap, topic, [b"plain"] * 10)
    delete_records(source, topic, {0: LOG_START})
    return Content(topic, frozenset(place for place in places if place[1] >= LOG_START))


def test_a_missing_right_for_markers_or_log_starts_is_named_and_asked_for_again(
    source_cluster: EmbeddedCluster, guarded_target: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    prefix = new_topic_name("unauthorized")
    gaps, trimmed, plain = topics = [f"{prefix}-{kind}" for kind in ("gaps", "trimmed", "plain")]
    contents = [_write_gaps(source_cluster, gaps), _write_trimmed(source_cluster, trimmed)]
    create_topic(source_cluster.direct_bootstrap, plain)
    fill(source_cluster, plain, "plain", 10)
    rights = Rights(guarded_target)
    rights.allow_everything(ResourceType.BROKER, CLUSTER)
    rights.allow_everything(ResourceType.TOPIC, ANYWHERE)
    for operation in (AclOperation.ALTER, AclOperation.CLUSTER_ACTION):
        rights.deny_outside(operation, ResourceType.BROKER, CLUSTER)
    rights.deny_outside(AclOperation.DELETE, ResourceType.TOPIC, trimmed)

    copy = migration(source_cluster, guarded_target, topics, name=prefix)
    copy.start()
    document = wait_for_stops(copy, [(gaps, 0), (trimmed, 0)])
    stop = told(document, gaps)
    assert (stop.kind, stop.offset, stop.choices) == ("CLASS_QUESTION", 10, ("resume", "mapped", "ignore")), stop
    assert "ALTER (before 3.8: CLUSTER_ACTION) on the target cluster" in stop.evidence
    assert "offsets 10 to 20" in stop.evidence
    assert target_end(copy, gaps) == 10
    stop = told(document, trimmed)
    assert (stop.kind, stop.offset, stop.choices) == ("UNAUTHORIZED", LOG_START, ("resume", "ignore")), stop
    assert f"DELETE on target topic {trimmed}" in stop.evidence
    assert target_end(copy, trimmed) == LOG_START
    wait_for_end(copy, plain, 10)
    assert told(ask_status(copy), plain).kind == ""

    rights.deny_nothing()
    for content in contents:
        result = answer(copy, "-t", content.topic)
        assert result.returncode == DONE, result.stderr
        wait_for_end(copy, content.topic, log_ends(source_cluster, [content.topic])[content.topic, 0])
    copy.wait_for_state("IN_SYNC")
    for content in contents:
        assert_copied(source_cluster, guarded_target, content)
    copy.stop()
