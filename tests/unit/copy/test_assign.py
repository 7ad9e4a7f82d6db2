"""Partitions are spread evenly, stay where they are, and never have two holders."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.assign import Handover, Leaders, assign
from kmigrate.copy.orders import PipelineKey
from kmigrate.kafka_types import BrokerId, Partition, TopicName, TopicPartition

WORKERS = 2


def partition(number: int) -> TopicPartition:
    return TopicPartition(TopicName("t"), Partition(number))


def leaders(source: int | None, target: int | None) -> Leaders:
    return Leaders(None if source is None else BrokerId(source), None if target is None else BrokerId(target))


broker_ids = st.one_of(st.none(), st.integers(0, 3))
clusters = st.dictionaries(st.integers(0, 40).map(partition), st.builds(leaders, broker_ids, broker_ids))


@given(clusters, st.integers(1, 4), st.integers(1, 3))
def test_every_partition_with_two_leaders_has_a_pipeline_between_them(
    cluster: dict[TopicPartition, Leaders], workers: int, lanes: int
) -> None:
    assigned = assign(cluster, {}, workers=workers, lanes=lanes)
    assert set(assigned) == {p for p, (source, target) in cluster.items() if None not in (source, target)}
    for p, key in assigned.items():
        assert (key.source, key.target) == cluster[p]
        assert 0 <= key.worker < workers
        assert 0 <= key.lane < lanes


@given(st.integers(0, 60), st.integers(1, 4), st.integers(1, 3))
def test_partitions_of_one_pair_are_spread_evenly(count: int, workers: int, lanes: int) -> None:
    cluster = {partition(number): leaders(1, 2) for number in range(count)}
    sizes = Counter(assign(cluster, {}, workers=workers, lanes=lanes).values())
    assert max(sizes.values(), default=0) <= -(-count // (workers * lanes))
    loads = Counter(key.worker for key in sizes.elements())
    assert max(loads.values(), default=0) <= -(-count // workers)


def test_pairs_with_one_partition_each_are_spread_over_the_workers() -> None:
    cluster = {partition(number): leaders(number, number) for number in range(8)}
    loads = Counter(key.worker for key in assign(cluster, {}, workers=4, lanes=2).values())
    assert set(loads.values()) == {2}


@given(clusters, clusters)
def test_a_partition_keeps_its_pipeline_while_its_leaders_stay(
    before: dict[TopicPartition, Leaders], after: dict[TopicPartition, Leaders]
) -> None:
    previous = assign(before, {}, workers=WORKERS, lanes=2)
    assigned = assign(after, previous, workers=WORKERS, lanes=2)
    for p, key in previous.items():
        if after.get(p) == before[p]:
            assert assigned[p] == key


@dataclass
class ModelPipeline:
    """What a real pipeline may do: see some of the Orders, hold what it adopted, and release it late."""

    holds: set[TopicPartition] = field(default_factory=set)
    wanted: set[TopicPartition] = field(default_factory=set)
    skipped: set[TopicPartition] = field(default_factory=set)
    adopted: int = 0


class Model:
    """An owner with two workers whose messages are under way for as long as chance wants."""

    def __init__(self) -> None:
        self.handover = Handover()
        self.number = 0
        self.sent: dict[int, deque[tuple[int, dict[PipelineKey, set[TopicPartition]]]]] = {}
        self.reports: dict[int, deque[tuple[PipelineKey, int, set[TopicPartition]]]] = {}
        self.pipelines: dict[int, dict[PipelineKey, ModelPipeline]] = {}
        for worker in range(WORKERS):
            self.restart(worker)

    def restart(self, worker: int) -> None:
        self.sent[worker] = deque()
        self.reports[worker] = deque()
        self.pipelines[worker] = {}

    def order(self, desired: dict[TopicPartition, PipelineKey]) -> None:
        self.number += 1
        by_key: dict[PipelineKey, set[TopicPartition]] = {}
        for p, key in self.handover.decide(desired, self.number).items():
            by_key.setdefault(key, set()).add(p)
        for worker in range(WORKERS):
            mine = {key: parts for key, parts in by_key.items() if key.worker == worker}
            self.sent[worker].append((self.number, mine))

    def receive(self, worker: int) -> None:
        """The worker reads one Orders; a pipeline sees only the newest when its turn comes."""
        if self.sent[worker]:
            number, pipelines = self.sent[worker].popleft()
            for key in set(pipelines) | set(self.pipelines[worker]):
                pipeline = self.pipelines[worker].setdefault(key, ModelPipeline())
                pipeline.skipped |= pipeline.wanted - pipeline.holds
                pipeline.wanted = pipelines.get(key, set())
                pipeline.adopted = number

    def take_turn(self, worker: int, release: bool) -> None:
        """Every pipeline adopts what it was ordered, and gives up the rest now or later."""
        for key, pipeline in self.pipelines[worker].items():
            released = pipeline.skipped - pipeline.wanted - pipeline.holds
            pipeline.skipped = set()
            pipeline.holds |= pipeline.wanted
            if release:
                released |= pipeline.holds - pipeline.wanted
                pipeline.holds = set(pipeline.wanted)
            if released:
                self.reports[worker].append((key, pipeline.adopted, released))

    def hear(self, worker: int) -> None:
        if self.reports[worker]:
            self.handover.on_released(*self.reports[worker].popleft())

    def die(self, worker: int) -> None:
        self.restart(worker)
        self.handover.on_worker_died(worker)

    def holders(self) -> Counter[TopicPartition]:
        pipelines = [p for worker in self.pipelines.values() for p in worker.values()]
        return Counter(p for pipeline in pipelines for p in pipeline.holds)


keys = st.builds(
    PipelineKey,
    st.integers(0, WORKERS - 1),
    st.just(BrokerId(1)),
    st.integers(1, 2).map(BrokerId),
    st.just(0),
)
wishes = st.dictionaries(st.integers(0, 3).map(partition), keys)
workers = st.integers(0, WORKERS - 1)
steps = st.one_of(
    st.tuples(st.just("order"), wishes),
    st.tuples(st.just("receive"), workers),
    st.tuples(st.just("take_turn"), workers, st.booleans()),
    st.tuples(st.just("hear"), workers),
    st.tuples(st.just("die"), workers),
)


@given(st.lists(steps, max_size=60), wishes)
def test_no_partition_ever_has_two_holders_and_every_wish_comes_true(
    story: list[tuple[object, ...]], wish: dict[TopicPartition, PipelineKey]
) -> None:
    model = Model()
    for name, *arguments in story:
        getattr(model, str(name))(*arguments)
        assert max(model.holders().values(), default=0) <= 1
    for _round in range(4):  # withdraw, release, order, adopt
        model.order(wish)
        for worker in range(WORKERS):
            while model.sent[worker]:
                model.receive(worker)
            model.take_turn(worker, True)
            while model.reports[worker]:
                model.hear(worker)
    held = {p: key for w in model.pipelines.values() for key, pipe in w.items() for p in pipe.holds}
    assert held == wish


def test_a_withdrawn_partition_waits_for_its_release_also_in_its_old_pipeline() -> None:
    handover = Handover()
    key = PipelineKey(0, BrokerId(1), BrokerId(1), 0)
    assert handover.decide({partition(0): key}, 1) == {partition(0): key}
    assert handover.decide({}, 2) == {}
    assert handover.decide({partition(0): key}, 3) == {}
    assert handover.on_released(key, 3, [partition(0)])
    assert handover.decide({partition(0): key}, 4) == {partition(0): key}


def test_a_release_under_older_orders_frees_nothing() -> None:
    handover = Handover()
    key = PipelineKey(0, BrokerId(1), BrokerId(1), 0)
    handover.decide({partition(0): key}, 7)
    handover.decide({}, 8)
    assert not handover.on_released(key, 7, [partition(0)])
    assert handover.holder(partition(0)) == key


def test_only_the_first_holder_is_the_first() -> None:
    handover = Handover()
    key = PipelineKey(0, BrokerId(1), BrokerId(1), 0)
    handover.decide({partition(0): key}, 1)
    handover.decide({partition(0): key}, 2)
    assert handover.is_first(partition(0))
    assert handover.given_at(partition(0)) == 1
    handover.on_worker_died(0)
    handover.decide({partition(0): key}, 3)
    assert not handover.is_first(partition(0))
    assert handover.given_at(partition(0)) == 3
