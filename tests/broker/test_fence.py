"""A fence holds a real producer back, is lifted by whoever is left, and leaves the cluster as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, ResourceType

from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Side
from kmigrate.runner.folder import MigrationFolder
from kmigrate.security.fence import FencePhase
from kmigrate.state.fence_book import FenceBook
from tests.conftest import OLD_VERSION
from tests.fault.harness import Migration, wait_until
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic, new_topic_name, produce, read_all
from tests.secured.certificates import Authority
from tests.secured.cluster import Security, app_client
from tests.secured.granted import Acls, Guarded

pytestmark = pytest.mark.broker

BLOCKED = 4
APP = "User:app"
MIN_ISR = "min.insync.replicas"


def fence(copy: Migration, command: str, *arguments: str) -> Result:
    place = ["-f", str(copy.manifest), "--state", str(copy.state_root)]
    yes = ["--yes"] if command in ("put", "lift") else []
    return CliRunner().invoke(commands, ["fence", command, *place, *yes, *arguments])


def book_of(copy: Migration) -> FenceBook:
    return FenceBook(MigrationFolder(copy.state_root, copy.name).path)


def producer_of(config: Mapping[str, Any]) -> Producer:
    """An idempotent producer that asks every second for what it may see: else it refuses by itself for minutes."""
    refresh = {"topic.metadata.refresh.interval.ms": 1_000}
    return Producer({**config, **refresh, "acks": "all", "enable.idempotence": True})


def write(producer: Producer, topic: str, value: bytes, *, seconds: float = 20) -> KafkaError | str | None:
    """What became of one record: None if it was written, `waiting` if nothing is decided yet."""
    outcome: list[KafkaError | None] = []
    producer.produce(topic, value, on_delivery=lambda error, _message: outcome.append(error))
    producer.flush(seconds)
    return outcome[0] if outcome else "waiting"


def values(cluster: EmbeddedCluster, topic: str) -> list[bytes | None]:
    return [record.value for record in read_all(cluster.direct_bootstrap, topic)]


def own(cluster: EmbeddedCluster, topic: str) -> str | None:
    """The topic's own setting, as librdkafka shows it."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    found = admin.describe_configs([resource])[resource].result(TIMEOUT_SECONDS)[MIN_ISR]
    return found.value if found.source == 1 else None


def allow_app(acls: Acls, topic: str) -> None:
    """The user may write to and read the topic; kmigrate may do what a fence needs."""
    for operation in (AclOperation.WRITE, AclOperation.READ):
        acls.allow(operation, ResourceType.TOPIC, topic, principal=APP)
    acls.allow(AclOperation.READ, ResourceType.GROUP, "kmigrate-witness", principal=APP)
    acls.allow(AclOperation.READ, ResourceType.TOPIC, topic)
    acls.allow(AclOperation.ALTER, ResourceType.BROKER, "kafka-cluster")
    acls.allow(AclOperation.DESCRIBE_CONFIGS, ResourceType.BROKER, "kafka-cluster")


@pytest.mark.parametrize("side", list(Side))
def test_a_deny_holds_a_writer_and_no_reader(tmp_path: Path, guarded: Guarded, side: Side) -> None:
    cluster, acls = guarded.clusters[side], guarded.acls[side]
    guarded.take_all()
    topic = create_topic(cluster.bootstrap)
    copy = guarded.migration(tmp_path, [topic], "none", {})
    allow_app(acls, topic)
    before = acls.list()
    writer = producer_of(app_client(cluster))
    assert write(writer, topic, b"1") is None
    where = ("--side", str(side), "--kind", "acl", "-t", topic, "--principal", APP)
    put = fence(copy, "put", *where)
    assert put.exit_code == 0, put.output
    assert "rules allow writing to: User:app (1 topic)" in put.stderr
    refused = write(writer, topic, b"2")
    assert isinstance(refused, KafkaError)
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    reader = read_all(app_client(cluster)["bootstrap.servers"], topic, config=app_client(cluster))
    assert [record.value for record in reader] == [b"1"]
    assert f"fence 1 (acl) on the {side} STANDING" in CliRunner().invoke(
        commands, ["status", "-f", str(copy.manifest), "--state", str(copy.state_root)]
    ).output.replace("\n", " ")
    lifted = fence(copy, "lift")
    assert lifted.exit_code == 0, lifted.output
    wait_until("the producer goes on", lambda: write(writer, topic, b"3") is None)
    assert values(cluster, topic) == [b"1", b"3"]
    assert acls.list() == before
    wait_until("the watcher ends", lambda: not book_of(copy).is_watched())


def test_a_putting_that_is_killed_is_lifted_by_the_watcher(tmp_path: Path, guarded: Guarded) -> None:
    cluster, acls = guarded.clusters[Side.SOURCE], guarded.acls[Side.SOURCE]
    guarded.take_all()
    topic = create_topic(cluster.bootstrap)
    copy = guarded.migration(tmp_path, [topic], "none", {})
    allow_app(acls, topic)
    before = acls.list()
    place = ["-f", str(copy.manifest), "--state", str(copy.state_root), "--yes", "-t", topic]
    command = [sys.executable, "-m", "kmigrate", "fence", "put", *place, "--kind", "acl", "--deadline", "30"]
    putting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until("the rule is there", lambda: acls.list() != before)
    finally:
        os.killpg(putting.pid, signal.SIGKILL)
        putting.wait()
    book = book_of(copy)
    assert book.is_watched(), "the watcher outlives whoever started it"
    (number,) = [each.number for each in book.standing()]
    sooner = book.change(number, lambda known: replace(known, period_seconds=3.0))
    assert sooner is not None
    wait_until("it is lifted", lambda: book.fence(number).phase is FencePhase.LIFTED, seconds=30)
    assert acls.list() == before
    assert write(producer_of(app_client(cluster)), topic, b"1") is None
    if not book.fence(number).stood:
        book.change(number, lambda known: replace(known, stood=True))  # nothing more is waited for
    wait_until("the watcher ends", lambda: not book.is_watched(), seconds=20)


def test_a_topic_without_rules_keeps_its_readers(
    tmp_path: Path, start_cluster: Callable[..., EmbeddedCluster], target_cluster: EmbeddedCluster
) -> None:
    security = Security(
        authority=Authority(tmp_path / "ca"), authorizer=True, more={"allow.everyone.if.no.acl.found": "true"}
    )
    cluster = start_cluster(OLD_VERSION, security=security)
    topic = create_topic(cluster.bootstrap)
    copy = Migration(tmp_path, cluster, target_cluster, [topic], name=new_topic_name("fence"))
    assert write(producer_of(app_client(cluster)), topic, b"1") is None
    unsure = fence(copy, "put", "--kind", "acl")
    assert (unsure.exit_code, "--everyone-without-rules" in unsure.stderr) == (BLOCKED, True), unsure.output
    put = fence(copy, "put", "--kind", "acl", "--everyone-without-rules", "true")
    assert put.exit_code == 0, put.output
    assert isinstance(write(producer_of(app_client(cluster)), topic, b"2"), KafkaError)
    reader = read_all(app_client(cluster)["bootstrap.servers"], topic, config=app_client(cluster))
    assert [record.value for record in reader] == [b"1"]
    assert fence(copy, "lift").exit_code == 0
    assert Acls(cluster).list() == set()
    assert write(producer_of(app_client(cluster)), topic, b"3") is None


@pytest.mark.parametrize("before", [None, "1"])
def test_min_insync_replicas_makes_writers_wait(
    tmp_path: Path, old_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, before: str | None
) -> None:
    topic = create_topic(old_cluster.bootstrap, config={} if before is None else {MIN_ISR: before})
    copy = Migration(tmp_path, old_cluster, target_cluster, [topic], name=new_topic_name("fence"))
    assert fence(copy, "put", "--kind", "min-isr").exit_code == BLOCKED, "nobody said that all use acks=all"
    put = fence(copy, "put", "--kind", "min-isr", "--acks-all-attested")
    assert put.exit_code == 0, put.output
    outcome: list[KafkaError | None] = []
    settings = {"bootstrap.servers": old_cluster.bootstrap, "acks": "all", "enable.idempotence": True}
    producer = Producer(settings)
    producer.produce(topic, b"late", on_delivery=lambda error, _message: outcome.append(error))
    assert producer.flush(2) == 1, "it is refused, and tried again"
    assert values(old_cluster, topic) == []
    assert fence(copy, "lift").exit_code == 0
    assert own(old_cluster, topic) == before
    assert producer.flush(20) == 0
    assert (outcome, values(old_cluster, topic)) == ([None], [b"late"])


def test_newer_brokers_cap_min_insync_replicas_so_that_it_is_refused(
    tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    topic = create_topic(source_cluster.bootstrap, config={MIN_ISR: "1001"})
    assert produce(source_cluster.bootstrap, topic, [b"it passes"]) == [(0, 0)]
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("fence"))
    refused = fence(copy, "put", "--kind", "min-isr", "--acks-all-attested")
    assert (refused.exit_code, "Kafka 3.7 or newer" in refused.stderr) == (BLOCKED, True), refused.output
    without = fence(copy, "put", "--kind", "acl")
    assert (without.exit_code, "has no authorizer" in without.stderr) == (BLOCKED, True), without.output
    assert json.loads(fence(copy, "status", "-o", "json").stdout)["fences"] == []
