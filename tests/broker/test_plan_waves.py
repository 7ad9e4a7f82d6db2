"""The waves of a plan on real brokers: what each moves, by which steps, and what would cross them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition

from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration
from tests.kafka_tools import create_topic, new_topic_name, produce

pytestmark = pytest.mark.broker

TIMEOUT_SECONDS = 30


@pytest.fixture
def topics(source_cluster: EmbeddedCluster) -> dict[str, str]:
    """Three topics of the source, by what they are for."""
    found = {kind: new_topic_name(kind) for kind in ("orders", "bills", "clicks")}
    for topic in found.values():
        create_topic(source_cluster.bootstrap, topic)
        produce(source_cluster.bootstrap, topic, [b"x"] * 5)
    return found


def commit(cluster: EmbeddedCluster, group: str, *topics: str) -> None:
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, 3) for topic in topics], asynchronous=False)
    finally:
        consumer.close()


@contextmanager
def open_transaction(cluster: EmbeddedCluster, *topics: str) -> Iterator[str]:
    """A transaction that has written to some topics, and is aborted afterwards."""
    name = f"pay-{uuid.uuid4().hex}"
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": name})
    producer.init_transactions(TIMEOUT_SECONDS)
    producer.begin_transaction()
    for topic in topics:
        producer.produce(topic, value=b"x", partition=0)
    assert producer.flush(TIMEOUT_SECONDS) == 0
    try:
        yield name
    finally:
        producer.abort_transaction(TIMEOUT_SECONDS)


def plan(migration: Migration, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["plan", "-f", str(migration.manifest), *arguments])


def test_waves_are_planned_and_what_crosses_them_blocks(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, topics: Mapping[str, str], tmp_path: Path
) -> None:
    orders, bills, clicks = topics["orders"], topics["bills"], topics["clicks"]
    prefix = uuid.uuid4().hex
    billing, views, audit = (f"{prefix}-{name}" for name in ("billing", "views", "audit"))
    commit(source_cluster, billing, orders)
    commit(source_cluster, views, clicks)
    spec: dict[str, Any] = {
        "groups": {"include": [f"{prefix}-.*"]},
        "scheme": "consumers-first",
        "fence": "acl",
        "applications": [{"name": "billing", "groups": [f"{prefix}-bill.*"], "reads": [orders], "writes": [bills]}],
        "waves": [
            {"name": "shop", "topics": [orders, bills]},
            {"name": "clicks", "topics": ["clicks-.*"], "scheme": "producers-first", "fence": "none"},
        ],
    }

    def migration(**changes: Any) -> Migration:
        name = new_topic_name("waves")
        return Migration(tmp_path, source_cluster, target_cluster, [*topics.values()], name=name, spec=spec | changes)

    result = plan(migration(), "-o", "json")
    assert result.exit_code == 0, result.output
    shop, second = json.loads(result.stdout)["waves"]
    assert (shop["name"], shop["scheme"], shop["fence"], shop["topics"]) == (
        *("shop", "consumers-first", "acl"),
        sorted([orders, bills]),
    )
    assert [(each["name"], each["topics"], each["groups"]) for each in shop["moves"]] == [
        ("billing", [bills], [billing]),
        ("producers", [orders], []),
    ]
    assert [each["name"] for each in shop["steps"]] == [
        *("replicate", "stop-application", "freeze", "promote", "start-application"),
        *("stop-writers", "freeze", "promote", "start-writers", "arm", "watch"),
    ]
    assert (second["history"], second["fence"], second["groups"]) == ("stopped", "none", [views])
    assert [each["name"] for each in second["moves"]] == ["producers", views]

    table = plan(migration())
    assert "wave shop: consumers-first, ending clean, fence acl, with a way back" in table.stdout
    assert "cannot be undone, once left 4, 8" in table.stdout

    commit(source_cluster, audit, orders, clicks)
    with open_transaction(source_cluster, bills, clicks) as transaction:
        crossing = plan(migration(), "-o", "json")
    assert crossing.exit_code == 4
    assert f"group {audit} crosses waves: {clicks} in wave clicks; {orders} in wave shop" in crossing.stderr
    assert f"put everything of group {audit} into one of the waves clicks and shop" in crossing.stderr
    assert f"transactional id {transaction} crosses waves" in crossing.stderr
    document = json.loads(crossing.stdout)
    assert len(document["blockers"]) == 2
    blocked = [each for each in document["actions"] if each["kind"] == "waves" and each["action"] == "blocked"]
    assert [each["reason"] for each in blocked] == [each["what"] for each in document["blockers"]]

    one = plan(migration(waves=[]), "-o", "json")
    assert one.exit_code == 0, one.output
    (everything,) = json.loads(one.stdout)["waves"]
    assert (everything["name"], everything["groups"]) == ("all", sorted([billing, views, audit]))

    none = plan(migration(waves=[], scheme=None, fence=None, applications=[]))
    assert none.exit_code == 0, none.output
    assert "no cutover is planned: the manifest has no scheme" in none.stdout
