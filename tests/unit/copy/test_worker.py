"""A worker follows its newest orders, tells what it gave up, and ends with its connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from kmigrate.cluster.connection import RealNetwork
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy.orders import (
    LeaseGrant,
    Orders,
    PartitionOrder,
    PipelineKey,
    PipelineOrder,
    WorkerSettings,
)
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.tally import LATENCY_SECONDS, Latencies
from kmigrate.copy.worker import Worker, merge
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Partition,
    ProducerId,
    Side,
    Term,
    TopicId,
    TopicName,
    TopicPartition,
)
from tests.unit.copy.fake_worker import FakePipeline, position

BROKER = BrokerAddress(BrokerId(1), "localhost", 9092)
KEY = PipelineKey(0, BrokerId(1), BrokerId(1), 0)
OTHER = KEY._replace(lane=1)
MEMORY_BYTES = 24 << 20
SETTINGS = WorkerSettings(
    worker=0,
    links=dict.fromkeys(Side, ConnectionSettings(client_id="test", request_timeout_ms=1000)),
    producer_id=ProducerId(2**62),
    memory_bytes=MEMORY_BYTES,
    expiration_ms=86_400_000,
)


def partition(topic: str, number: int = 0) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(number))


def make_orders(number: int, pipelines: dict[PipelineKey, list[TopicPartition]], *, paused: bool = False) -> Orders:
    return Orders(
        number=number,
        paused=paused,
        pipelines=tuple(
            PipelineOrder(
                key=key,
                source=BROKER,
                target=BROKER,
                partitions=tuple(
                    PartitionOrder(each, TopicId("1"), LeaderEpoch(0), TopicId("2"), LeaderEpoch(0), None, True, 0)
                    for each in partitions
                ),
            )
            for key, partitions in pipelines.items()
        ),
    )


class Owner:
    """The other end of a worker that runs in a thread of this process."""

    def __init__(self) -> None:
        self.connection: Connection
        self.connection, theirs = Pipe()
        self.pipelines: list[FakePipeline] = []
        self.failed = threading.Event()
        self.worker = Worker(SETTINGS, theirs, RealNetwork({}), self._make, self.failed.set)
        self.thread = threading.Thread(target=self.worker.run, daemon=True)
        self.thread.start()

    def _make(self, *arguments: object) -> FakePipeline:
        self.pipelines.append(FakePipeline(*arguments))  # type: ignore[arg-type]
        return self.pipelines[-1]

    def hear_until(self, wanted: Callable[[PipelineProgress], bool]) -> PipelineProgress:
        while self.connection.poll(10):
            for progress in self.connection.recv():
                if wanted(progress):
                    return progress
        raise AssertionError("no such report came")


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.connection.close()
    owner.thread.join(10)
    assert not owner.thread.is_alive()


def test_a_pipeline_is_told_the_newest_orders_and_the_newest_grant(owner: Owner) -> None:
    owner.connection.send(LeaseGrant(term=Term(5), deadline_seconds=1e9))
    owner.connection.send(make_orders(1, {KEY: [partition("a")]}))
    first = owner.hear_until(lambda p: p.orders == 1)
    assert [(each.partition, each.position) for each in first.partitions] == [(partition("a"), 5)]
    owner.connection.send(LeaseGrant(term=Term(6), deadline_seconds=1e9))
    owner.hear_until(lambda p: p.partitions[0].position == 6)


def test_what_is_withdrawn_is_reported_released_and_an_empty_pipeline_ends(owner: Owner) -> None:
    owner.connection.send(make_orders(1, {KEY: [partition("a"), partition("b")], OTHER: [partition("c")]}))
    owner.hear_until(lambda p: p.key == KEY and p.orders == 1)
    owner.connection.send(make_orders(2, {OTHER: [partition("c")]}))
    released = owner.hear_until(lambda p: p.key == KEY and p.orders == 2)
    assert set(released.released) == {partition("a"), partition("b")}
    owner.connection.send(make_orders(3, {KEY: [partition("a")], OTHER: [partition("c")]}))
    owner.hear_until(lambda p: p.key == KEY and p.orders == 3)
    assert sum(pipeline.closed for pipeline in owner.pipelines) == 1


def test_orders_that_a_pipeline_never_saw_are_released_all_the_same(owner: Owner) -> None:
    owner.connection.send(make_orders(1, {KEY: [partition("hang")]}))
    owner.connection.send(make_orders(2, {KEY: [partition("hang")], OTHER: [partition("b")]}))
    owner.connection.send(make_orders(3, {KEY: [partition("hang")]}))
    released = owner.hear_until(lambda p: partition("b") in p.released)
    assert released.orders == 3


def test_buffers_share_the_memory(owner: Owner) -> None:
    owner.connection.send(make_orders(1, {KEY: [partition("a")]}))
    owner.hear_until(lambda p: p.orders == 1)
    owner.connection.send(make_orders(2, {KEY: [partition("a")], OTHER: [partition("b")]}))
    owner.hear_until(lambda p: p.key == OTHER)
    assert [pipeline.buffer_bytes for pipeline in owner.pipelines] == [16 << 20, 8 << 20]


def test_a_pipeline_that_raises_ends_the_process(owner: Owner) -> None:
    owner.connection.send(make_orders(1, {KEY: [partition("raise")]}))
    assert owner.failed.wait(10)


def test_merged_reports_keep_the_last_word_and_every_release() -> None:
    def report(number: int, positions: dict[str, int], released: list[str], trouble: str) -> PipelineProgress:
        return PipelineProgress(
            key=KEY,
            orders=number,
            partitions=tuple(position(partition(topic), offset) for topic, offset in positions.items()),
            released=tuple(partition(topic) for topic in released),
            source_trouble=trouble,
            target_trouble="",
        )

    merged = merge(report(2, {"a": 1, "b": 1}, ["c"], "gone"), report(2, {"b": 2}, ["a"], ""))
    assert merged == report(2, {"a": 1, "b": 2}, ["c", "a"], "gone")


def test_what_merged_reports_counted_is_added_up() -> None:
    """However long the owner reads nothing, a report has one count for each topic."""
    once = Latencies((1, *[0] * len(LATENCY_SECONDS)), 3)
    word = PipelineProgress(
        key=KEY,
        orders=1,
        partitions=(),
        released=(),
        source_trouble="",
        target_trouble="",
        latencies=((TopicName("t"), once),),
    )
    merged = word
    for _ in range(9):
        merged = merge(merged, word)
    assert merged.latencies == ((TopicName("t"), Latencies((10, *[0] * len(LATENCY_SECONDS)), 30)),)
