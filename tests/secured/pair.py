"""A secured source and a secured target with the same users, and migrations between their listeners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import BrokerAddress, BrokerId, Side
from kmigrate.manifest.security_properties import interpret_security
from kmigrate.manifest.settings import PropertyEntry
from tests.fault.harness import Migration
from tests.kafka_tools import SentRecord, create_topic, new_topic_name, produce
from tests.secured.cluster import Security, make_users


class Pair:
    """Two clusters; whoever makes it closes it."""

    def __init__(self, folder: Path, security: Security, source: str, target: str, **listeners: str) -> None:
        self.folder = folder
        self.security = security
        self.source, self.target = (
            EmbeddedCluster(
                version,
                listeners=security.listeners | listeners,
                hosts=security.hosts,
                properties=security.properties(version),
            )
            for version in (source, target)
        )

    def start(self) -> None:
        for cluster in (self.source, self.target):
            cluster.start()
            make_users(cluster)

    def close(self, *, failed: bool = False) -> None:
        for cluster in (self.source, self.target):
            cluster.close(failed=failed)

    def fill(self, count: int = 3000) -> str:
        """A topic of the source with records in three partitions."""
        topic = create_topic(self.source.bootstrap, partitions=3)
        produce(self.source.bootstrap, topic, (SentRecord(value=b"%d" % n * 50, partition=n % 3) for n in range(count)))
        return topic

    def migration(
        self, folder: Path, topic: str, source: Mapping[str, str], target: Mapping[str, str], **options: Any
    ) -> Migration:
        """A migration of one topic with these client properties for each side."""
        sides = {
            side: {"properties": {"request.timeout.ms": "5000", **properties}}
            for side, properties in (("source", source), ("target", target))
        }
        return Migration(folder, self.source, self.target, [topic], name=new_topic_name("sec"), spec=sides, **options)


def settings_of(properties: Mapping[str, str], **more: Any) -> ConnectionSettings:
    """What a process gets of these client properties."""
    entries = {
        key: PropertyEntry(key=key, written=value, value=value, secret=False, file="test", line=None)
        for key, value in properties.items()
    }
    found = interpret_security(entries)
    assert found.problems == (), found.problems
    assert found.security is not None
    defaults = {"client_id": "test", "request_timeout_ms": 5_000, "connect_timeout_ms": 3_000}
    return ConnectionSettings(security=found.security, **(defaults | more))


def connect(
    properties: Mapping[str, str], *, host: str = "127.0.0.1", port: int | None = None, **more: Any
) -> Connection:
    """One connection to the first broker of `bootstrap.servers`; `host` is what it is reached by."""
    own = int(properties["bootstrap.servers"].split(",")[0].rpartition(":")[2])
    return Connection(Side.SOURCE, BrokerAddress(BrokerId(1), host, port or own), settings_of(properties, **more))
