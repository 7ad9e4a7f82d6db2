"""A topic's settings are changed, and what is written is seen to follow: brokers obey a moment after they agreed."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Place
from tests.kafka_tools import TIMEOUT_SECONDS, SentRecord, produce


def alter_topic(
    cluster: EmbeddedCluster, topic: str, name: str, value: str, *, probe: SentRecord, obeyed: Callable[[Place], bool]
) -> list[Place]:
    """Changes one setting and writes the probe until the last one shows that; returns where all probes lie."""
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_SECONDS)
    places: list[Place] = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        places += produce(cluster.direct_bootstrap, topic, [probe])
        if obeyed(places[-1]):
            return places
    raise AssertionError(f"{topic} does not come to have {name}={value}")
