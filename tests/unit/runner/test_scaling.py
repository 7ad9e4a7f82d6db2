"""Workers and lanes are added where they help, work goes where there is none, and nothing is done for little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.spending import NOTHING_SPENT, Spent
from kmigrate.kafka_types import BrokerId, Partition, TopicName, TopicPartition
from kmigrate.runner.scaling import FEW_PAIRS, FIRST_LANES, MOST_LANES, STEP_SECONDS, Behind, Scale, Scaling

MUCH = 100_000_000


def key(worker: int = 0, lane: int = 0, source: int = 1) -> PipelineKey:
    return PipelineKey(worker, BrokerId(source), BrokerId(1), lane)


def place(number: int) -> TopicPartition:
    return TopicPartition(TopicName("orders"), Partition(number))


class World:
    """Steps of a migration in which every pipeline spends its time in the same way."""

    def __init__(self, *, workers: int | None = None, lanes: int | None = None, cores: int = 4) -> None:
        self.scaling = Scaling(workers=workers, lanes=lanes, cores=cores, pairs=FEW_PAIRS + 1)
        self.spent: dict[PipelineKey, Spent] = {}
        self.now = 0.0
        self.copied = 0
        assert self.step({}, (), 0) is None

    def step(self, each: Mapping[PipelineKey, Spent], behind: Iterable[Behind], copied: int) -> Scale | None:
        for pipeline, more in each.items():
            self.spent[pipeline] = self.spent.get(pipeline, NOTHING_SPENT).plus(more)
            self.scaling.observe(pipeline, self.spent[pipeline])
        self.copied += copied
        self.now += STEP_SECONDS
        return self.scaling.step(self.now, self.copied, behind)


def on(pipeline: PipelineKey, count: int, left: int = MUCH, first: int = 0) -> list[Behind]:
    return [Behind(place(first + number), pipeline, left) for number in range(count)]


def test_a_worker_that_is_limited_by_its_core_gets_another_beside_it() -> None:
    world = World(cores=2)
    busy = {key(): Spent(own=9.6, target=0.4)}
    assert world.step(busy, on(key(), 4), 1_000_000) == Scale(2, 1, {}), "it is not of use yet"
    moved = world.step({}, on(key(), 4), 1_000_000)
    assert moved is not None
    assert moved == Scale(2, 1, dict.fromkeys([place(0), place(1)], key(worker=1)))
    assert world.step(busy, [*on(key(), 2), *on(key(worker=1), 2, first=2)], 1_000_000) is None, "there are two cores"


def test_a_few_pairs_of_brokers_begin_with_two_lanes_unless_told_otherwise() -> None:
    few = Scaling(workers=None, lanes=None, cores=4, pairs=FEW_PAIRS)
    assert few.lanes == FIRST_LANES
    assert Scaling(workers=None, lanes=None, cores=4, pairs=FEW_PAIRS + 1).lanes == 1
    assert Scaling(workers=None, lanes=1, cores=4, pairs=1).lanes == 1


def test_a_single_partition_needs_one_pipeline() -> None:
    world = World()
    assert world.step({key(): Spent(own=10.0)}, on(key(), 1), 1_000_000) is None
    assert world.step({key(): Spent(target=10.0)}, on(key(), 1), 1_000_000) is None


def test_a_pair_that_keeps_waiting_is_tried_with_another_lane_that_goes_if_it_brings_nothing() -> None:
    world = World()
    waiting = {key(): Spent(own=2.0, target=8.0)}
    found = world.step(waiting, on(key(), 4), 1_000_000)
    assert found == Scale(1, 2, dict.fromkeys([place(0), place(1)], key(lane=1)))
    spread = [*on(key(), 2), *on(key(lane=1), 2, first=2)]
    assert world.step(waiting, spread, 10_000) is None, "what changes hands stands still for a moment"
    assert world.step(waiting, spread, 1_010_000) == Scale(1, 1, {})
    assert world.step(waiting, on(key(), 4), 1_000_000) is None, "it is not tried again"


def test_lanes_grow_while_each_brings_something() -> None:
    world = World()
    speed = 1_000_000
    for lanes in range(2, MOST_LANES + 1):
        waiting = {key(lane=lane): Spent(target=10.0) for lane in range(lanes - 1)}
        parts = [each for lane in range(lanes - 1) for each in on(key(lane=lane), 6, first=6 * lane)]
        found = world.step(waiting, parts, speed)
        assert found is not None
        assert found.lanes == lanes
        spread = [each for lane in range(lanes) for each in on(key(lane=lane), 6, first=6 * lane)]
        assert world.step({}, spread, 0) is None
        speed *= 2
    parts = [each for lane in range(MOST_LANES) for each in on(key(lane=lane), 6, first=6 * lane)]
    assert world.step({key(): Spent(target=10.0)}, parts, speed) is None


def test_what_limits_hold_back_gets_no_lane() -> None:
    world = World()
    for held in (Spent(target=7.0, limit=3.0), Spent(target=7.0, target_quota=3.0), Spent(target=7.0, lease=3.0)):
        assert world.step({key(): held}, on(key(), 4), 1_000_000) is None


def test_numbers_that_were_given_stay() -> None:
    world = World(workers=1, lanes=1)
    assert world.step({key(): Spent(own=10.0)}, on(key(), 4), 1_000_000) is None
    assert world.step({key(): Spent(target=10.0)}, on(key(), 4), 1_000_000) is None


def test_little_work_is_left_where_it_is() -> None:
    world = World(lanes=2)
    assert world.step({key(): Spent(own=10.0)}, on(key(), 4, left=1_000), 1_000_000) is None


def test_an_idle_pipeline_takes_half_of_what_the_busiest_one_has() -> None:
    world = World(lanes=2, workers=1)
    parts = [Behind(place(0), key(), 6 * MUCH), *on(key(), 3, first=1), Behind(place(9), key(source=2), MUCH)]
    found = world.step({}, parts, 1_000_000)
    assert found is not None
    assert found.moves == dict.fromkeys([place(1), place(2), place(3)], key(lane=1)) or found.moves == {
        place(1): key(lane=1),
        place(2): key(lane=1),
    }
    assert all(to.source == 1 for to in found.moves.values()), "a partition stays between its brokers"


def test_between_pipelines_with_much_the_same_nothing_moves() -> None:
    world = World(lanes=2, workers=1)
    parts = [*on(key(), 2), *on(key(lane=1), 2, left=MUCH - 1_000, first=2)]
    assert world.step({}, parts, 1_000_000) is None


def test_work_goes_to_a_new_worker_before_there_is_yet_another() -> None:
    world = World(cores=8)
    busy = {key(): Spent(own=9.6, target=0.4)}
    assert world.step(busy, on(key(), 4), 1_000_000) == Scale(2, 1, {})
    moved = dict.fromkeys([place(0), place(1)], key(worker=1))
    assert world.step(busy, on(key(), 4), 1_000_000) == Scale(2, 1, moved)
    both = [*on(key(), 2), *on(key(worker=1), 2, first=2)]
    assert world.step(busy | {key(worker=1): Spent(own=9.9)}, both, 1_000_000) == Scale(3, 1, {})


def test_of_two_partitions_the_smaller_one_moves() -> None:
    world = World(lanes=2, workers=1)
    found = world.step({}, [Behind(place(0), key(), MUCH + 1), Behind(place(1), key(), MUCH)], 1_000_000)
    assert found is not None
    assert found.moves == {place(1): key(lane=1)}
