"""Bounds come from the leaders; whoever cannot be asked is told as such, and holds nobody up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Unreachable
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    Side,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.preflight.bounds import NO_TIMES, Bounds, Unseen, by_leader, read_bounds
from kmigrate.wire.calls import READ_COMMITTED, ClusterMetadata, OffsetAnswer, PartitionMetadata, TopicMetadata
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import Record, make_batch
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog

TOPIC = TopicName("orders")
ONE, TWO, THREE = (TopicPartition(TOPIC, Partition(number)) for number in range(3))


def metadata(leaders: Mapping[TopicPartition, int]) -> ClusterMetadata:
    """A cluster of the brokers 0 and 1."""
    return ClusterMetadata(
        cluster_id="c",
        controller=BrokerId(0),
        brokers={BrokerId(n): BrokerAddress(BrokerId(n), "b", 9000 + n) for n in range(2)},
        topics={
            TOPIC: TopicMetadata(
                error=0,
                topic_id=TopicId("ab" * 16),
                is_internal=False,
                partitions={
                    tp.partition: PartitionMetadata(
                        error=0, leader=BrokerId(leader), leader_epoch=LeaderEpoch(0), replicas=()
                    )
                    for tp, leader in leaders.items()
                },
            )
        },
    )


def filled(records: int, *, start: int = 0) -> PartitionLog:
    log = PartitionLog("ab" * 16)
    log.write(make_batch([Record(1, None, b"v")] * records))
    log.delete_records(start)
    return log


class Brokers:
    """A client whose broker 0 leads some logs and whose broker 1 does not answer."""

    def __init__(self, link: LogLink) -> None:
        self.link = link

    def broker(self, broker: BrokerId, call: Any) -> Any:
        if broker == 1:
            raise Unreachable("connection refused", side=Side.SOURCE, broker="b:9001 (id 1)")
        return self.link.call(call)


class Failing(LogLink):
    """Answers ListOffsets for partition 1 with an error."""

    def error(self, what: str, partition: TopicPartition) -> int:
        return ErrorCode.NOT_LEADER_OR_FOLLOWER if (what, partition) == ("ListOffsets", TWO) else 0


def read(link: LogLink, leaders: Mapping[TopicPartition, int], *wanted: TopicPartition) -> dict[TopicPartition, Any]:
    return read_bounds(cast(ClusterClient, Brokers(link)), metadata(leaders), wanted)


def test_the_bounds_of_a_log() -> None:
    log = filled(10, start=4)
    log.freeze()
    log.write(make_batch([Record(1, None, b"v")] * 5))  # no follower has it yet
    link = LogLink({ONE: log})
    assert read(link, {ONE: 0}, ONE) == {ONE: Bounds(4, 15, 10, 10)}  # type: ignore[arg-type]
    assert link.asked == ["ListOffsets", "ListOffsets", "ListOffsets", "OffsetForLeaderEpoch"]


class Busy(LogLink):
    """A record arrives before every question."""

    def before(self, what: str) -> None:
        for log in self.logs.values():
            log.write(make_batch([Record(1, None, b"v")]))


def test_records_that_arrive_meanwhile_are_no_open_transaction() -> None:
    found = read(Busy({ONE: filled(10)}), {ONE: 0}, ONE)[ONE]
    assert found.high_watermark < found.last_stable < found.end


class ByTime(LogLink):
    """Answers for a time, and only there, with an error or an offset."""

    def __init__(self, log: PartitionLog, error: int, offset: int) -> None:
        super().__init__({ONE: log})
        self.found = OffsetAnswer(error, Offset(offset), -1)
        self.levels: list[int] = []

    def call(self, call: Any) -> Any:
        request = call.build(5) if call.what == "ListOffsets" else None
        if request is None or request.topics[0].partitions[0].timestamp < 0:
            return super().call(call)
        self.levels.append(request.isolation_level)
        return {ONE: self.found}


@pytest.mark.parametrize(
    ("error", "offset", "seen"),
    [
        (0, 6, Bounds(Offset(4), Offset(10), Offset(10), Offset(10), Offset(6))),
        (0, -1, Bounds(Offset(4), Offset(10), Offset(10), Offset(10), None)),
        (ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, -1, NO_TIMES),
        (
            ErrorCode.OFFSET_NOT_AVAILABLE,
            -1,
            Unseen("its records cannot be looked up by time: OFFSET_NOT_AVAILABLE"),
        ),
    ],
)
def test_the_first_decided_record_since_a_time(error: int, offset: int, seen: Bounds | Unseen) -> None:
    link = ByTime(filled(10, start=4), error, offset)
    assert read_bounds(cast(ClusterClient, Brokers(link)), metadata({ONE: 0}), [ONE], 1_000) == {ONE: seen}
    assert link.levels == [READ_COMMITTED]
    assert link.asked == ["ListOffsets", "ListOffsets", "ListOffsets", "OffsetForLeaderEpoch"]


def test_one_error_hurts_one_partition() -> None:
    found = read(Failing({ONE: filled(3), TWO: filled(3)}), {ONE: 0, TWO: 0}, ONE, TWO)
    assert found == {ONE: Bounds(0, 3, 3, 3), TWO: Unseen("its log cannot be read: NOT_LEADER_OR_FOLLOWER")}  # type: ignore[arg-type]


def test_a_broker_that_does_not_answer_hurts_its_own_partitions() -> None:
    found = read(LogLink({ONE: filled(3)}), {ONE: 0, TWO: 1}, ONE, TWO, THREE)
    assert isinstance(found[ONE], Bounds)
    assert "connection refused" in found[TWO].reason
    assert found[THREE] == Unseen("it has no leader now")


def test_partitions_without_a_known_leader_are_told_apart() -> None:
    led, leaderless = by_leader(metadata({ONE: 1, TWO: -1}), [ONE, TWO, THREE])
    assert led == {1: [ONE]}
    assert leaderless == [TWO, THREE]
