"""A service with an application in the middle: it reads what the writer writes, and the reader reads what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.java import start_java
from tests.kafka_tools import create_topic, new_topic_name
from tests.scenario.leading import Application, ClientOf, Reader, Service, plain_client

ENDING_SECONDS = 20.0


class RelayedService(Service):
    """The application is called `relay`; what it reads, writes and commits is one transaction."""

    def __init__(
        self,
        source: EmbeddedCluster,
        target: EmbeddedCluster,
        *,
        partitions: int = 3,
        client_of: ClientOf = plain_client,
    ) -> None:
        super().__init__(source, target, partitions=partitions, client_of=client_of)
        self.bills = create_topic(source.bootstrap, partitions=partitions)
        self.relay_group = new_topic_name("relay")
        self.relay = Relay(self.relay_group, self.topic, self.bills, client_of=client_of)
        self.reader, self.newer = (Reader(self.group, self.bills, client_of=client_of) for _ in range(2))
        self.topics, self.groups = (self.topic, self.bills), (self.group, self.relay_group)

    def start(self) -> None:
        self.relay.start(self.source)
        super().start()

    def close(self) -> None:
        self.relay.stop()
        super().close()

    def spec(self) -> dict[str, Any]:
        relay = {"name": "relay", "groups": [self.relay_group], "reads": [self.topic], "writes": [self.bills]}
        return {**super().spec(), "applications": [relay]}


def make_service(
    source: EmbeddedCluster, target: EmbeddedCluster, *, has_application: bool, client_of: ClientOf = plain_client
) -> Service:
    """A service with or without an application in the middle."""
    kind = RelayedService if has_application else Service
    return kind(source, target, client_of=client_of)


class Relay(Application):
    """Hands records on from one topic to the same partition of another, in a process of its own.

    One that does not end when it is told to is killed, as a supervisor does: librdkafka's
    `send_offsets_to_transaction` may wait for ever where a broker came back (its issue 5456), whatever its time-out.
    """

    def __init__(self, group: str, reads: str, writes: str, *, client_of: ClientOf = plain_client) -> None:
        super().__init__(client_of)
        self._names = {"group": group, "reads": reads, "writes": writes}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: EmbeddedCluster) -> None:
        settings = json.dumps({**self._names, "client": dict(self._client_of(cluster))})
        self._process = start_java(
            [sys.executable, "-m", "tests.scenario.relay_process", settings], output=Path(os.devnull)
        )

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
