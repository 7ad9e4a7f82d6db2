"""A worker process whose pipelines copy nothing: topics' names say how they misbehave."""

from __future__ import annotations

import os
import sys
import time

from kmigrate.cluster.network import Network
from kmigrate.copy.orders import LeaseGrant, PipelineKey, PipelineOrder, SavedMaps, WorkerSettings
from kmigrate.copy.progress import PartitionProgress, PipelineProgress
from kmigrate.copy.states import PartitionState
from kmigrate.copy.throttle import Throttle
from kmigrate.copy.worker import main, partitions_of
from kmigrate.kafka_types import BrokerAddress, LeaderEpoch, Offset, TopicPartition


class FakePipeline:
    """Holds what it is ordered; its report shows the lease's term as the position."""

    def __init__(
        self,
        key: PipelineKey,
        settings: WorkerSettings,
        network: Network,
        source: BrokerAddress,
        target: BrokerAddress,
        buffer_bytes: int,
        meter: Throttle,
    ) -> None:
        self.key = key
        self.buffer_bytes = buffer_bytes
        self.holding: set[TopicPartition] = set()
        self.said: object = None
        self.closed = False

    def turn(
        self, order: PipelineOrder | None, orders_number: int, paused: bool, grant: LeaseGrant, _saved: SavedMaps
    ) -> PipelineProgress | None:
        wanted = partitions_of(order)
        for partition in wanted:
            match partition.topic:
                case "raise":
                    raise ZeroDivisionError
                case "die":
                    os._exit(3)
                case "hang":
                    time.sleep(3600)
        time.sleep(0.01)
        released = self.holding - wanted
        self.holding = wanted
        say = (orders_number, paused, grant.term, wanted)
        if say == self.said:
            return None
        self.said = say
        return PipelineProgress(
            key=self.key,
            orders=orders_number,
            partitions=tuple(position(each, grant.term) for each in sorted(wanted)),
            released=tuple(sorted(released)),
            source_trouble="",
            target_trouble="",
        )

    def close(self) -> None:
        self.closed = True


def position(partition: TopicPartition, offset: int) -> PartitionProgress:
    return PartitionProgress(
        partition=partition,
        state=PartitionState.WAITING,
        position=Offset(offset),
        source_start=Offset(0),
        source_end=Offset(0),
        source_epoch=LeaderEpoch(0),
        records=0,
        bytes=0,
        newest_ms=-1,
        crc_errors=0,
        reason="",
        stop=None,
    )


if __name__ == "__main__":
    main(sys.argv[1:], FakePipeline)
