"""The target falls silent while writers wait behind a fence: they are free again on the source all the same."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.guarded import LISTENERS, client_properties, guarded_properties
from tests.fault.harness import LIVENESS_SECONDS, Migration, closing_all, wait_until
from tests.kafka_tools import new_topic_name
from tests.scenario.leading import Lead, Operator, Service

pytestmark = pytest.mark.broker

PASSWORD = "not-a-secret"
FREEZE_SECONDS = 60
"""Long enough for the fence to stand, on a machine that is busy with other things."""


@pytest.fixture
def guarded() -> Iterator[tuple[EmbeddedCluster, EmbeddedCluster]]:
    with (
        EmbeddedCluster("3.9.1", properties=guarded_properties(PASSWORD), listeners=LISTENERS) as source,
        EmbeddedCluster("4.3.1", properties=guarded_properties(PASSWORD), listeners=LISTENERS) as target,
    ):
        yield source, target


def test_writers_are_free_again_although_the_target_is_silent(
    guarded: tuple[EmbeddedCluster, EmbeddedCluster], tmp_path: Path
) -> None:
    source, target = guarded
    service = Service(source, target, partitions=2)
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    allow_everybody(source, service.topic)
    spec = {
        **{
            side: {"properties": client_properties(cluster, password) | {"request.timeout.ms": "5000"}}
            for side, cluster in (("source", source), ("target", target))
        },
        "scheme": "consumers-first",
        "groups": {"include": [service.group]},
        "fence": "acl",
        "wayBack": False,
        "cutover": {"freezeSeconds": FREEZE_SECONDS, "autoHoldSeconds": 1},
    }
    migration = Migration(tmp_path, source, target, [service.topic], name=new_topic_name("silent"), spec=spec)
    with contextlib.closing(service), closing_all([migration]):
        service.start()
        migration.start()
        migration.wait_for_state("IN_SYNC")
        lead = Lead(migration)
        operator = Operator(lead, service)
        operator.go_on(until="stop-writers")
        service.writer.stop()
        undecided = open_a_transaction(source, service.topic)
        wait_until("it can be left", lambda: lead.next() == 0, evidence=lead.evidence)
        wait_until("the fence stands", lambda: not is_writable(source, service.topic), evidence=lead.evidence)
        lead.reach("freeze")
        target.freeze(1)
        try:
            wait_until(
                "writers are free again",
                lambda: is_writable(source, service.topic),
                seconds=FREEZE_SECONDS + LIVENESS_SECONDS,
                evidence=migration.evidence,
            )
        finally:
            target.thaw(1)
        told = lead.reach("stop-writers")
        assert f"not done within {FREEZE_SECONDS} s" in told["sentence"]
        undecided.abort_transaction(30.0)
        operator.acts_no_more("stop-writers")
        operator.go_on()
        assert lead.status()["outcome"] == "finished"


def open_a_transaction(cluster: EmbeddedCluster, topic: str) -> Producer:
    """Until it is decided nothing that was written counts as final: the wave stays at its freeze."""
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "transactional.id": new_topic_name("undecided"),
            "transaction.timeout.ms": 300_000,
        }
    )
    producer.init_transactions(30.0)
    producer.begin_transaction()
    producer.produce(topic, b"0", partition=0)
    producer.flush(30.0)
    return producer


def is_writable(cluster: EmbeddedCluster, topic: str) -> bool:
    """Whether a producer that starts now gets a record acknowledged; one that was refused may not try again."""
    time.sleep(0.5)  # a process has no room for a thousand producers
    answers: list[bool] = []

    def note(error: object, _message: object) -> None:
        answers.append(error is None)

    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "enable.idempotence": False,
            "message.timeout.ms": 3_000,
            "log_level": 0,
        }
    )
    producer.produce(topic, b"0", on_delivery=note)
    producer.flush(10.0)
    return answers == [True]


def allow_everybody(cluster: EmbeddedCluster, topic: str) -> None:
    """Beside no rule at all a fence is refused."""
    rule = AclBinding(
        *(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*"),
        *(AclOperation.ALL, AclPermissionType.ALLOW),
    )
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for future in admin.create_acls([rule]).values():
        future.result(30.0)
