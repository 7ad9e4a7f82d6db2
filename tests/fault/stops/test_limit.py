"""A target that refuses a higher limit gets large batches in parts, and a record that is too large stops alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration
from tests.fault.stops.content import assert_copied
from tests.fault.stops.rights import ANYWHERE, CLUSTER, Rights
from tests.fault.stops.topics import read_config, set_config
from tests.kafka_tools import SentRecord, create_topic, produce

pytestmark = pytest.mark.broker

LIMIT = "max.message.bytes"


def test_where_the_limit_may_not_be_raised_batches_are_split(
    source_cluster: EmbeddedCluster, guarded_target: EmbeddedCluster, migration: Callable[..., Migration]
) -> None:
    rights = Rights(guarded_target)
    rights.allow_everything(ResourceType.BROKER, CLUSTER)
    rights.allow_everything(ResourceType.TOPIC, ANYWHERE)
    topic = create_topic(source_cluster.bootstrap, config={LIMIT: "5000000"})
    rights.deny_outside(AclOperation.ALTER_CONFIGS, ResourceType.TOPIC, topic)
    together = {"message.max.bytes": 6_000_000, "batch.size": 4_000_000, "linger.ms": 500}
    records = [SentRecord(value=b"%d" % each * 300_000) for each in range(10)]
    produce(source_cluster.bootstrap, topic, records, config=together)
    set_config(source_cluster, topic, LIMIT, "2000")

    copy = migration(source_cluster, guarded_target, [topic], name=topic)
    copy.start("--until", "in-sync")
    assert copy.wait_for_exit() == 0, copy.evidence()
    assert copy.status()["totals"]["recordsReencoded"] == len(records)
    assert_copied(copy, topic)
    assert int(read_config(guarded_target, topic)[LIMIT]) < 2_000_000, "it is as it was"
