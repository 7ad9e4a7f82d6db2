"""A service moves by its scheme on real brokers: nothing lost, nothing twice, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import create_topic, new_topic_name
from tests.scenario.leading import Lead, Reader, Writer

pytestmark = pytest.mark.broker

Start = Callable[..., Migration]
PARTITIONS = 3


@pytest.fixture
def start(tmp_path: Path, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Start]:
    """Starts a migration that is led by a scheme, in the background."""
    made: list[Migration] = []

    def begin(scheme: str, topic: str, group: str, **spec: Any) -> Migration:
        wanted = {"scheme": scheme, "groups": {"include": [group]}} | spec
        made.append(
            Migration(tmp_path, source_cluster, target_cluster, [topic], name=new_topic_name("led"), spec=wanted)
        )
        made[-1].start()
        return made[-1]

    with closing_all(made):
        yield begin


class Service:
    """One writer and one reader, and what became of every record."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster) -> None:
        self.source, self.target = source, target
        self.topic = create_topic(source.bootstrap, partitions=PARTITIONS)
        self.group = new_topic_name("group")
        self.writer = Writer(self.topic, PARTITIONS)
        self.reader = Reader(self.group, self.topic)
        self.writer.start(source)
        self.reader.start(source)
        wait_until("the service runs", lambda: len(self.reader.read) > 100)

    def judge(self) -> None:
        """Everything acknowledged was read once, in order."""
        self.writer.stop()
        wanted = sorted(self.writer.acknowledged)
        wait_until("everything is read", lambda: len(self.reader.read) >= len(wanted))
        self.reader.stop()
        assert not self.writer.failed
        assert sorted(number for _, _, number in self.reader.read) == wanted
        for partition in range(PARTITIONS):
            mine = [(offset, number) for at, offset, number in self.reader.read if at == partition]
            assert mine == sorted(mine), f"partition {partition} was read out of order"


@pytest.fixture
def service(source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster) -> Iterator[Service]:
    made = Service(source_cluster, target_cluster)
    try:
        yield made
    finally:
        made.writer.stop()
        made.reader.stop()


def verify(migration: Migration) -> None:
    done = migration.command("verify")
    assert done.returncode == 0, done.stderr


def test_consumers_first_moves_a_service_without_a_trace(start: Start, service: Service) -> None:
    migration = start("consumers-first", service.topic, service.group)
    migration.wait_for_state("IN_SYNC")
    lead = Lead(migration)
    verify(migration)
    lead.leave("replicate")
    assert lead.next() == 5, "nobody has stopped the readers yet"
    service.reader.stop()
    lead.leave("stop-readers")
    service.reader.start(service.target)
    lead.leave("start-readers")
    verify(migration)
    lead.leave("stop-writers")
    service.writer.stop()
    lead.reach("start-writers")
    service.writer.start(service.target)
    lead.leave("start-writers")
    wait_until("the target takes records", lambda: len(service.writer.acknowledged) > 100)
    lead.leave("watch", command="finish")
    assert lead.status()["outcome"] == "finished"
    service.judge()
    assert migration.status()["held"] == []
