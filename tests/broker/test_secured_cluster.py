"""The secured clusters of these tests are secured: librdkafka, the witness, gets in with the right secret only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import OLD_VERSION, SOURCE_VERSION, TARGET_VERSION
from tests.kafka_tools import TIMEOUT_SECONDS, create_topic
from tests.secured.certificates import Authority
from tests.secured.cluster import MTLS, PASSWORDS, Security

pytestmark = pytest.mark.broker


def witness(
    cluster: EmbeddedCluster, security: Security, listener: str, mechanism: str = "", **more: str
) -> AdminClient:
    settings = {
        "bootstrap.servers": cluster.bootstrap_of(listener),
        "security.protocol": "SSL" if listener == MTLS else listener,
        "ssl.ca.location": str(security.authority.certificate),
        "log_level": 0,
    }
    if mechanism:
        settings |= {"sasl.mechanism": mechanism, "sasl.username": "copier", "sasl.password": PASSWORDS["copier"]}
    return AdminClient(settings | {key.replace("_", "."): value for key, value in more.items()})


@pytest.mark.parametrize("version", [OLD_VERSION, SOURCE_VERSION, TARGET_VERSION])
def test_a_secured_cluster_lets_in_who_has_the_secret(
    tmp_path: Path, start_cluster: Callable[..., EmbeddedCluster], version: str
) -> None:
    security = Security(authority=Authority(tmp_path / "ca"), authorizer=True)
    cluster = start_cluster(version, security=security)
    topic = create_topic(cluster.bootstrap)
    rule = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:copier",
        "*",
        AclOperation.DESCRIBE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.create_acls([rule])[rule].result(TIMEOUT_SECONDS)

    pair = security.user_certificate("copier")
    clients = [
        witness(cluster, security, listener, mechanism)
        for listener in ("SASL_PLAINTEXT", "SASL_SSL")
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    ]
    mine = {"ssl_certificate_location": str(pair.certificate), "ssl_key_location": str(pair.key)}
    clients.append(witness(cluster, security, MTLS, **mine))
    for client in clients:
        assert set(client.list_topics(timeout=TIMEOUT_SECONDS).topics) == {topic}, "it may see the one topic"
    anonymous = witness(cluster, security, "SSL")
    assert topic in anonymous.list_topics(timeout=TIMEOUT_SECONDS).topics

    for wrong in (
        witness(cluster, security, "SASL_SSL", "PLAIN", sasl_password="wrong"),
        witness(cluster, security, "SASL_SSL", "SCRAM-SHA-512", sasl_password="wrong"),
        witness(cluster, security, MTLS),
    ):
        with pytest.raises(KafkaException):
            wrong.list_topics(timeout=3)
