"""The observer asks leaders and then coordinators, seldom, and goes on without what it may not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from kafka.protocol.admin.transactions import (
    DescribeProducersRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest,
)

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.progress import PartitionProgress
from kmigrate.errors import BrokerRefused, Unreachable
from kmigrate.kafka_types import (
    NO_TOPIC_ID,
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    ProducerId,
    Side,
    TopicName,
    TopicPartition,
)
from kmigrate.runner import transaction_observer
from kmigrate.runner.open_transactions import HELD_SECONDS, NOT_NAMED
from kmigrate.runner.status import OpenTransaction
from kmigrate.runner.transaction_observer import EVERY_SECONDS, TransactionObserver
from kmigrate.wire.call import Call
from kmigrate.wire.calls import ClusterMetadata, PartitionMetadata, Producers, ProducerState, TopicMetadata
from kmigrate.wire.transaction_calls import DescribedTransaction, ListedTransaction, ListedTransactions
from tests.unit.copy.fake_worker import position

ORDERS = TopicName("orders")
A, B, C = (TopicPartition(ORDERS, Partition(number)) for number in range(3))
ONE, TWO = BrokerId(1), BrokerId(2)
BILLING = ProducerId(4)
START_MS = 1_790_000_000_000
OPEN = OpenTransaction(
    producer_id=4,
    producer_epoch=2,
    first_offset=50,
    transactional_id="billing",
    since=START_MS,
    state="Ongoing",
    timeout_ms=60_000,
    hanging=False,
)


class Source:
    """Two brokers: 1 leads A and C, 2 leads B and coordinates `billing`, whose transaction is open on A and B."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, object]] = []
        self.fail: dict[tuple[str, int], Exception] = {}
        self.leaders = {A: ONE, B: TWO, C: ONE}
        self.errors: dict[TopicPartition, int] = {}
        self.producers = {
            A: [(ProducerId(9), 80), (BILLING, 50)],
            B: [(BILLING, 50)],
            C: [(ProducerId(8), -1)],
        }
        self.topic_error = 0
        self.list_error = 0
        self.described = DescribedTransaction(
            error=0,
            state="Ongoing",
            timeout_ms=60_000,
            start_ms=START_MS,
            producer_id=BILLING,
            producer_epoch=2,
            partitions=frozenset({A, B}),
        )

    def metadata(self, topics: list[TopicName]) -> ClusterMetadata:
        self._ask("Metadata", -1, topics)
        parts = {
            tp.partition: PartitionMetadata(error=0, leader=leader, leader_epoch=LeaderEpoch(0), replicas=(leader,))
            for tp, leader in self.leaders.items()
        }
        return ClusterMetadata(
            cluster_id="c",
            controller=ONE,
            brokers={each: BrokerAddress(each, "broker", 9092) for each in (ONE, TWO)},
            topics={
                ORDERS: TopicMetadata(error=self.topic_error, topic_id=NO_TOPIC_ID, is_internal=False, partitions=parts)
            },
        )

    def broker(self, broker: BrokerId, call: Call[Any]) -> object:
        request = call.build(0)
        match request:
            case DescribeProducersRequest():
                wanted = [TopicPartition(t.name, p) for t in request.topics for p in t.partition_indexes]
                self._ask(call.what, broker, wanted)
                return {each: self._producers(each, broker) for each in wanted}
            case ListTransactionsRequest():
                self._ask(call.what, broker, request.producer_id_filters)
                known = [ListedTransaction("billing", BILLING, "Ongoing")] if broker == TWO else []
                return ListedTransactions(self.list_error, tuple(known))
            case DescribeTransactionsRequest():
                self._ask(call.what, broker, request.transactional_ids)
                return dict.fromkeys(request.transactional_ids, self.described)
        raise AssertionError(f"{call.what} is not for asking")

    def _producers(self, partition: TopicPartition, broker: BrokerId) -> Producers:
        assert broker == self.leaders[partition], "only the leader knows"
        states = (ProducerState(each, 2, 9, 1_000, 0, Offset(start)) for each, start in self.producers[partition])
        return Producers(self.errors.get(partition, 0), tuple(states))

    def _ask(self, what: str, broker: int, about: object) -> None:
        self.asked.append((what, broker, about))
        if (what, broker) in self.fail:
            raise self.fail[what, broker]


class DoneErrand:
    """An errand that is done when it has begun."""

    done = True

    def __init__(self, work: Callable[[], object], name: str) -> None:
        try:
            self._result, self._failure = work(), None
        except Unreachable as error:
            self._failure = error

    def result(self) -> object:
        if self._failure is not None:
            raise self._failure
        return self._result


class World:
    """An observer, its source, and partitions that are held back at 50."""

    def __init__(self) -> None:
        self.source = Source()
        self.observer = TransactionObserver(cast(ClusterClient, self.source))
        self.latest: dict[TopicPartition, PartitionProgress] = {}

    def hold(self, *partitions: TopicPartition, held_back: int = 7) -> None:
        for each in partitions:
            self.latest[each] = position(each, 50)._replace(source_end=Offset(50), held_back=held_back)

    def step(self, now: float) -> Mapping[TopicPartition, OpenTransaction] | None:
        return self.observer.step(self.latest, now)

    def learn(self) -> Mapping[TopicPartition, OpenTransaction] | None:
        """The first round of questions, and what is known then."""
        self.step(1.0)
        assert self.step(1.0 + HELD_SECONDS) is None, "nothing is known before the answer was collected"
        return self.step(2.0 + HELD_SECONDS)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(transaction_observer, "Errand", DoneErrand)
    return World()


def unsupported(what: str) -> BrokerRefused:
    return BrokerRefused(what, code=35, name="UNSUPPORTED_VERSION", side=Side.SOURCE, broker="b:1")


def test_leaders_are_asked_for_producers_and_brokers_for_their_transactions(world: World) -> None:
    world.hold(A, B, C)
    assert world.learn() == {A: OPEN, B: OPEN}
    assert world.source.asked == [
        ("Metadata", -1, [ORDERS]),
        ("DescribeProducers", 1, [A, C]),
        ("DescribeProducers", 2, [B]),
        ("ListTransactions", 1, [BILLING]),
        ("ListTransactions", 2, [BILLING]),
        ("DescribeTransactions", 2, ["billing"]),
    ]
    assert world.observer.notices == ()


def test_nobody_is_asked_while_nothing_is_held_or_again_too_soon(world: World) -> None:
    world.hold(A, held_back=0)
    assert world.learn() is None
    assert world.source.asked == []
    world.hold(A)
    world.step(100.0)
    for now in range(101, 100 + int(HELD_SECONDS + EVERY_SECONDS)):
        world.step(float(now))
    rounds = [what for what, _, _ in world.source.asked if what == "Metadata"]
    assert len(rounds) == 1
    world.step(100.0 + HELD_SECONDS + EVERY_SECONDS)
    assert [what for what, _, _ in world.source.asked].count("Metadata") == 2


def test_what_is_known_is_told_once_and_its_end_too(world: World) -> None:
    world.hold(A)
    assert world.learn() == {A: OPEN}
    assert world.step(20.0) is None
    world.hold(A, held_back=0)
    assert world.step(21.0) == {}
    assert world.step(22.0) is None


def test_a_transaction_that_ended_before_it_was_asked_about_is_not_told(world: World) -> None:
    world.source.producers[A] = [(BILLING, -1), (ProducerId(9), 80)]
    world.hold(A)
    assert world.learn() is None
    assert "ListTransactions" not in [what for what, _, _ in world.source.asked]


def test_an_old_source_tells_the_producer_only(world: World) -> None:
    for broker in (1, 2):
        world.source.fail["ListTransactions", broker] = unsupported("ListTransactions")
    world.hold(A)
    (told,) = (world.learn() or {}).values()
    assert (told.producer_id, told.producer_epoch, told.first_offset) == (4, 2, 50)
    assert (told.transactional_id, told.since, told.hanging) == (None, None, None)
    assert told.note.startswith("not readable: ")
    assert "ListTransactions: UNSUPPORTED_VERSION (35)" in told.note


def test_one_silent_broker_does_not_hide_what_another_tells(world: World) -> None:
    world.source.fail["ListTransactions", 1] = Unreachable("connection refused", side=Side.SOURCE, broker="b:1")
    world.hold(A)
    assert world.learn() == {A: OPEN}


def test_a_list_with_an_error_is_not_taken_for_the_whole(world: World) -> None:
    world.source.list_error = 14
    world.source.producers[A] = [(ProducerId(77), 50)]
    world.hold(A)
    (told,) = (world.learn() or {}).values()
    assert told.note == "not readable: ListTransactions of broker 1: COORDINATOR_LOAD_IN_PROGRESS"
    world.source.list_error = 0
    world.step(1.0 + HELD_SECONDS + EVERY_SECONDS)
    (told,) = (world.step(2.0 + HELD_SECONDS + EVERY_SECONDS) or {}).values()
    assert told.note == NOT_NAMED


@pytest.mark.parametrize("refused", [True, False])
def test_details_that_may_not_be_read_are_left_out(world: World, refused: bool) -> None:
    if refused:
        world.source.fail["DescribeTransactions", 2] = unsupported("DescribeTransactions")
    else:
        world.source.described = DescribedTransaction(
            error=53,
            state="",
            timeout_ms=0,
            start_ms=-1,
            producer_id=ProducerId(-1),
            producer_epoch=-1,
            partitions=frozenset(),
        )
    world.hold(A)
    (told,) = (world.learn() or {}).values()
    assert (told.transactional_id, told.state, told.since, told.hanging) == ("billing", "Ongoing", None, None)
    expected = "UNSUPPORTED_VERSION" if refused else "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
    assert told.note.startswith("not readable: ")
    assert expected in told.note


def test_producers_that_may_not_be_read_are_a_notice_until_nothing_is_held(world: World) -> None:
    world.source.errors = {A: 29}
    world.source.fail["DescribeProducers", 2] = unsupported("DescribeProducers")
    world.hold(A, B, C)
    assert world.learn() is None
    (notice,) = world.observer.notices
    assert notice == (
        "who holds partitions back on the source is not readable: "
        "DescribeProducers of orders-0: TOPIC_AUTHORIZATION_FAILED"
    )
    world.hold(A, B, C, held_back=0)
    world.step(50.0)
    assert world.observer.notices == ()


def test_a_topic_that_may_not_be_described_is_a_notice(world: World) -> None:
    world.source.topic_error, world.source.leaders = 29, {}
    world.hold(A)
    assert world.learn() is None
    (notice,) = world.observer.notices
    assert notice.endswith("is not readable: Metadata of orders: TOPIC_AUTHORIZATION_FAILED")


def test_a_leader_that_moved_is_asked_again_without_a_word(world: World) -> None:
    world.source.errors = {A: 6}
    world.hold(A)
    assert world.learn() is None
    assert world.observer.notices == ()
    world.source.errors = {}
    world.step(1.0 + HELD_SECONDS + EVERY_SECONDS)
    assert world.step(2.0 + HELD_SECONDS + EVERY_SECONDS) == {A: OPEN}


def test_a_source_that_is_away_leaves_what_is_known(world: World) -> None:
    world.hold(A)
    assert world.learn() == {A: OPEN}
    world.source.fail["Metadata", -1] = Unreachable("connection refused", side=Side.SOURCE, broker="b:1")
    world.step(1.0 + HELD_SECONDS + EVERY_SECONDS)
    assert world.step(2.0 + HELD_SECONDS + EVERY_SECONDS) is None
    (notice,) = world.observer.notices
    assert "connection refused" in notice


def test_a_partition_without_a_leader_is_not_asked_about(world: World) -> None:
    world.source.leaders = {A: BrokerId(-1)}
    world.hold(A, B)
    assert world.learn() is None
    assert [what for what, _, _ in world.source.asked] == ["Metadata"]
