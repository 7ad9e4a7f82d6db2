"""Two modelled clusters, and a way to read them as the commands do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kmigrate.kafka_types import Side, TopicName, TopicPartition
from kmigrate.query.places import Places, assumed_identical
from kmigrate.query.sides import ClusterSide, known_partitions
from kmigrate.wire.calls import READ_COMMITTED
from tests.simulation.log import PartitionLog
from tests.simulation.readers import ReadersClient, new_log


@dataclass
class Clusters:
    """The logs of both sides; a partition that is asked for is there."""

    logs: dict[Side, dict[TopicPartition, PartitionLog]] = field(
        default_factory=lambda: {Side.SOURCE: {}, Side.TARGET: {}}
    )
    places: dict[TopicPartition, Places] = field(default_factory=dict)
    brokers: int = 2

    def log(self, side: Side, partition: TopicPartition) -> PartitionLog:
        return self.logs[side].setdefault(partition, new_log())

    def both(self, partition: TopicPartition) -> tuple[PartitionLog, PartitionLog]:
        return self.log(Side.SOURCE, partition), self.log(Side.TARGET, partition)

    def places_of(self, partition: TopicPartition) -> Places:
        return self.places.get(partition) or assumed_identical()

    def side(self, side: Side, isolation_level: int = READ_COMMITTED) -> ClusterSide:
        return ClusterSide(side, ReadersClient(self.logs[side], self.brokers), isolation_level)  # type: ignore[arg-type]

    def sides(self) -> list[ClusterSide]:
        return [self.side(side) for side in (Side.SOURCE, Side.TARGET)]

    def partitions(self, sides: list[ClusterSide], topic: str = "orders") -> Mapping[Side, list[TopicPartition]]:
        return known_partitions(sides, [TopicName(topic)])


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    monkeypatch.setattr("kmigrate.query.sides._AGAIN_SECONDS", 0.0)
    return Clusters()
