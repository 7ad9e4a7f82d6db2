"""Orders go out when they differ, and say of a partition's past what was known when it was given."""

from __future__ import annotations

from kmigrate.copy.orders import Orders, PipelineKey, Remembered
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.rates import RateLimits, Rates
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.runner.dispatch import Dispatcher, End, Past, Wanted

TP = TopicPartition(TopicName("t"), Partition(0))
OTHER = TopicPartition(TopicName("t"), Partition(1))
BROKERS = {BrokerId(n): BrokerAddress(BrokerId(n), "b", 9000 + n) for n in (1, 2)}


def wanted(*, source: int = 1, target: int = 1, epoch: int = 0, revision: int = 0) -> Wanted:
    return Wanted(
        End(TopicId("s"), BrokerId(source), LeaderEpoch(epoch)),
        End(TopicId("t"), BrokerId(target), LeaderEpoch(0)),
        revision,
    )


class Workers:
    """Takes Orders, unless it is told not to."""

    def __init__(self) -> None:
        self.settled = True
        self.dead: set[int] = set()
        self.got: list[tuple[int, Orders]] = []

    def order(self, worker: int, orders: Orders) -> bool:
        if worker in self.dead:
            return False
        self.got.append((worker, orders))
        return True

    def last(self, worker: int) -> Orders:
        return [orders for number, orders in self.got if number == worker][-1]


class Owner:
    def __init__(self, workers: int = 1) -> None:
        self.workers = Workers()
        self.memory: Remembered | None = None
        self.dispatcher = Dispatcher(workers=workers, lanes=1, past=self.past)

    def past(self, partition: TopicPartition, is_first: bool) -> Past:
        return Past(self.memory, is_first)

    def tell(self, partitions: dict[TopicPartition, Wanted], *, paused: bool = False, rate: int | None = None) -> bool:
        return self.dispatcher.dispatch(
            self.workers, partitions, BROKERS, BROKERS, paused=paused, limits=RateLimits(rate)
        )

    def release(self, key: PipelineKey, number: int, *partitions: TopicPartition) -> None:
        self.dispatcher.on_progress(
            PipelineProgress(
                key=key, orders=number, partitions=(), released=partitions, source_trouble="", target_trouble=""
            )
        )


def test_the_same_orders_are_sent_once() -> None:
    owner = Owner(workers=2)
    assert owner.tell({TP: wanted()})
    assert owner.tell({TP: wanted()})
    assert len(owner.workers.got) == 2
    owner.tell({TP: wanted()}, paused=True)
    assert len(owner.workers.got) == 4
    owner.tell({TP: wanted(epoch=1)}, paused=True)
    assert len(owner.workers.got) == 5


def test_a_limit_is_shared_by_the_workers() -> None:
    owner = Owner(workers=2)
    owner.tell({TP: wanted()}, rate=1001)
    assert [orders.rates for _, orders in owner.workers.got] == 2 * [Rates.together(1001)], "they count together"


def test_nothing_is_decided_while_orders_are_on_their_way() -> None:
    owner = Owner()
    owner.workers.settled = False
    assert not owner.tell({TP: wanted()})
    assert owner.dispatcher.number == 0


def test_a_moved_leader_takes_the_partition_along_after_its_release() -> None:
    owner = Owner()
    owner.tell({TP: wanted(), OTHER: wanted()})
    before = owner.dispatcher.holder(TP)
    assert before is not None
    owner.memory = Remembered(TopicId("s"), TopicId("t"), LeaderEpoch(0), Offset(10))
    owner.tell({TP: wanted(target=2), OTHER: wanted()})
    (pipeline,) = owner.workers.last(0).pipelines
    assert [part.partition for part in pipeline.partitions] == [OTHER]
    owner.release(before, owner.dispatcher.number, TP)
    owner.tell({TP: wanted(target=2), OTHER: wanted()})
    orders = {part.partition: part for each in owner.workers.last(0).pipelines for part in each.partitions}
    assert orders[TP].remembered == owner.memory
    assert not orders[TP].fresh
    assert orders[OTHER].remembered is None
    assert orders[OTHER].fresh
    assert owner.dispatcher.holder(TP) == before._replace(target=2)


def test_a_new_worker_is_told_everything_and_nothing_is_fresh_any_more() -> None:
    owner = Owner()
    owner.tell({TP: wanted()})
    owner.dispatcher.on_worker_changed(0)
    owner.workers.dead = {0}
    owner.tell({TP: wanted()})
    owner.workers.dead = set()
    owner.dispatcher.on_worker_changed(0)
    owner.tell({TP: wanted()})
    assert len(owner.workers.got) == 2
    ((part,),) = (pipeline.partitions for pipeline in owner.workers.last(0).pipelines)
    assert not part.fresh


def test_a_partition_whose_leader_has_no_address_waits() -> None:
    owner = Owner()
    owner.tell({TP: wanted(source=7)})
    assert owner.workers.last(0).pipelines == ()


def test_work_that_is_to_change_hands_is_released_first() -> None:
    owner = Owner()
    owner.tell({TP: wanted()})
    before = owner.dispatcher.holder(TP)
    assert before is not None
    to = before._replace(lane=1)
    owner.dispatcher.scale(1, 2, {TP: to})
    owner.tell({TP: wanted()})
    assert owner.workers.last(0).pipelines == (), "nobody has it until it is released"
    owner.release(before, owner.dispatcher.number, TP)
    owner.tell({TP: wanted()})
    assert owner.dispatcher.holder(TP) == to
    owner.dispatcher.scale(1, 1, {})
    owner.tell({TP: wanted()})
    owner.release(to, owner.dispatcher.number, TP)
    owner.tell({TP: wanted()})
    assert owner.dispatcher.holder(TP) == before, "that lane is no more"


def test_a_partition_without_leaders_does_not_change_hands() -> None:
    owner = Owner()
    owner.dispatcher.scale(1, 2, {TP: PipelineKey(0, BrokerId(1), BrokerId(1), 1)})
    owner.tell({TP: wanted()})
    holder = owner.dispatcher.holder(TP)
    assert holder is not None
    assert holder.lane == 0
