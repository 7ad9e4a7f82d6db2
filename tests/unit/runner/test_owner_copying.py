"""An answer to a stop is handed on once both clusters were looked at again; until then it holds up the end of a run."""

from __future__ import annotations

import queue
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from kmigrate.copy.engine import Engine, ProgressReceived, WorkerDied, WorkerStarted
from kmigrate.copy.guard import QUIET_SECONDS
from kmigrate.copy.orders import Limit, Orders, PartitionOrder, Remembered, Saved, SavedMaps
from kmigrate.copy.progress import PipelineProgress
from kmigrate.copy.states import Choice, PartitionState, Stop, StopKind
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
from kmigrate.manifest import load_manifest
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.preflight.bounds import Bounds, Unseen
from kmigrate.runner.cleaning import CleaningSeen, CleaningWatch
from kmigrate.runner.copying import START_SECONDS, Copying, Observation
from kmigrate.runner.desk import Desk
from kmigrate.runner.effects import Effects
from kmigrate.runner.limits import Limits
from kmigrate.runner.observe import ClusterView, Looked, Watch
from kmigrate.runner.positions import Positions
from kmigrate.runner.provision import Provisioner
from kmigrate.runner.scaling import Behind, Scale
from kmigrate.runner.status import MigrationState, PartitionStatus, StatusDocument, StopStatus
from kmigrate.state.store import Store
from kmigrate.topics.intended import Intended, Origin
from kmigrate.wire.calls import ClusterMetadata, PartitionMetadata, TopicMetadata
from tests.unit.copy.fake_worker import position
from tests.unit.topics.settings_cluster import SettingsCluster

ORDERS = TopicName("orders")
COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": "100"}
PLACE = TopicPartition(ORDERS, Partition(0))
STOP = Stop(kind=StopKind.SOURCE_DELETED, offset=Offset(10), evidence="it is gone")
MANIFEST = """
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source: {properties: {bootstrap.servers: "a:1"}}
  target: {properties: {bootstrap.servers: "b:1"}}
"""


def metadata(topic_id: str) -> ClusterMetadata:
    part = PartitionMetadata(error=0, leader=BrokerId(1), leader_epoch=LeaderEpoch(0), replicas=(BrokerId(1),))
    topic = TopicMetadata(error=0, topic_id=TopicId(topic_id), is_internal=False, partitions={Partition(0): part})
    return ClusterMetadata(
        cluster_id="c",
        controller=BrokerId(1),
        brokers={BrokerId(1): BrokerAddress(BrokerId(1), "broker", 9092)},
        topics={ORDERS: topic},
    )


class QuietWatch:
    """Counts how often it was asked to look."""

    def __init__(self) -> None:
        self.pokes = 0

    def follow(self, topics: Collection[TopicName]) -> None:
        pass

    def poke(self) -> None:
        self.pokes += 1


class Workers:
    """Takes every order."""

    settled = True

    def __init__(self) -> None:
        self.got: list[Orders] = []
        self.saved: list[SavedMaps] = []
        self.added: list[int] = []

    def add(self, worker: int) -> None:
        self.added.append(worker)

    def order(self, worker: int, orders: Orders) -> bool:
        self.got.append(orders)
        return True

    def tell_saved(self, worker: int, saved: SavedMaps) -> None:
        self.saved.append(saved)


class IdleProvisioner:
    """Never has anything to do."""

    def __init__(self) -> None:
        self.busy = False
        self.failures: dict[TopicName, str] = {}
        self.refused: set[TopicName] = set()

    def collect(self, now: float) -> None:
        return None

    def resting(self, now: float) -> set[TopicName]:
        return set()

    def resting_is_over(self, now: float) -> bool:
        return False

    def begin(self, provision: object) -> None:
        raise AssertionError(f"nothing is to be provided: {provision}")


class World:
    """A migration of one partition; unless told otherwise it was begun before, and has stopped."""

    def __init__(self, store: Store, folder: Path, *, spec: str = "", begun: bool = True) -> None:
        manifest = folder / "orders.yaml"
        manifest.write_text(MANIFEST + spec)
        self.bounds: Bounds | Unseen = Unseen("nobody is asked here")
        self.desk = Desk(store, lambda: None)
        self.looks: queue.SimpleQueue[Looked] = queue.SimpleQueue()
        self.watches = {side: QuietWatch() for side in Side}
        self.workers = Workers()
        self.target = SettingsCluster({ORDERS: {}})
        store.record_intended({ORDERS: Intended(origin=Origin.SOURCE, settings={})})
        self.effects = Effects(store, SettingsCluster({}).client, self.target.client, lambda: True)
        self.cleaning = CleaningWatch(SettingsCluster({}).client, CleaningSeen(1, {ORDERS: COMPACTED}))
        views = {side: ClusterView() for side in Side}
        for side, view in views.items():
            view.adopt(metadata(f"{side}-1"), time.monotonic())
        memory = Remembered(TopicId("source-1"), TopicId("target-1"), LeaderEpoch(0), Offset(10))
        self.copying = Copying(
            load_manifest(manifest, environ={}),
            store,
            self.desk,
            cast(Engine, self.workers),
            Observation(views, cast(dict[Side, Watch], self.watches), self.looks),
            cast(Provisioner, IdleProvisioner()),
            Positions({PLACE: memory} if begun else {}),
            cleared=[ORDERS],
            first_term=False,
            cluster_ids=dict.fromkeys(Side, "c"),
            classes={},
            beginnings={},
            look=lambda wanted, _: dict.fromkeys(wanted, self.bounds),
            cleaning=self.cleaning,
            limits=Limits(self.effects, ()),
            begun_ms=5,
            ended={},
        )
        self.copying.on_view_changed()
        self.copying.on_event(WorkerStarted(0, 77), 0)
        if not begun:
            return
        self.turn()
        self.hear(PartitionState.STOPPED, STOP)
        stop = StopStatus.of(STOP, ORDERS, 0)
        stopped = PartitionStatus(topic=ORDERS, partition=0, state=PartitionState.STOPPED, stop=stop)
        self.desk.publish(StatusDocument(name="orders", state=MigrationState.STOPPED, partitions=(stopped,)))

    def turn(self) -> None:
        self.copying.adopt_looks()
        self.copying.step(time.monotonic(), 0)

    def ask(self) -> None:
        """The source is asked for where the log begins, and its answer is taken up."""
        self.turn()
        errand = self.copying._beginnings._errand
        assert errand is not None
        errand[1].wait(10.0)
        self.turn()

    def order(self) -> PartitionOrder:
        """What the worker was told last of the partition."""
        ((order,),) = [pipeline.partitions for pipeline in self.workers.got[-1].pipelines]
        return order

    def hear(self, state: PartitionState, stop: Stop | None, **change: object) -> None:
        progress = position(PLACE, 10)._replace(state=state, stop=stop, **change)
        orders = self.workers.got[-1]
        report = PipelineProgress(
            key=orders.pipelines[0].key,
            orders=orders.number,
            partitions=(progress,),
            released=(),
            source_trouble="",
            target_trouble="",
        )
        self.copying.on_event(ProgressReceived(0, report), 0)

    def look(self, side: Side, *, asked_at: float, topic_id: str | None = None, trouble: str = "") -> None:
        found = None if trouble else metadata(topic_id or f"{side}-1")
        self.looks.put(Looked(side, found, asked_at, time.monotonic(), trouble))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store.open(tmp_path)
    yield World(store, tmp_path)
    store.close()


def test_an_answer_waits_for_a_look_at_both_clusters_that_began_after_it(world: World) -> None:
    before = time.monotonic()
    world.desk.answer(ORDERS, 0, Choice.RESUME)
    world.turn()
    assert world.order().revision == 0
    assert all(watch.pokes for watch in world.watches.values())
    for side in Side:
        world.look(side, asked_at=before)
    world.turn()
    assert world.order().revision == 0, "asked before the answer was given"
    world.look(Side.SOURCE, asked_at=time.monotonic(), topic_id="source-2")
    world.look(Side.TARGET, asked_at=time.monotonic(), trouble="it does not answer")
    world.turn()
    assert world.order().revision == 0, "the target was not seen"
    world.look(Side.TARGET, asked_at=time.monotonic())
    world.turn()
    assert (world.order().revision, world.order().source_topic_id) == (1, "source-2")


def test_an_answered_stop_does_not_end_a_run_before_it_was_taken_up(world: World) -> None:
    assert world.copying.is_stopped(PLACE)
    world.desk.answer(ORDERS, 0, Choice.RESUME)
    world.turn()
    world.hear(PartitionState.STOPPED, STOP)  # said under the old orders
    assert not world.copying.is_stopped(PLACE)
    for side in Side:
        world.look(side, asked_at=time.monotonic())
    world.turn()
    assert not world.copying.is_stopped(PLACE)
    world.hear(PartitionState.STOPPED, replace(STOP, evidence="it is still gone"))
    assert world.copying.is_stopped(PLACE)


def test_answers_of_an_earlier_run_are_in_the_first_orders(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first = World(store, tmp_path)
    first.desk.answer(ORDERS, 0, Choice.RESUME)
    assert World(store, tmp_path).order().revision == 1
    store.close()


def test_an_ignored_partition_is_taken_away_at_once(world: World) -> None:
    world.desk.answer(ORDERS, 0, Choice.IGNORE)
    world.turn()
    assert world.workers.got[-1].pipelines == ()
    assert world.copying.is_waived(PLACE)


# -- where it begins ---------------------------------------------------------------------------------------------------

BOUNDS = Bounds(Offset(7), Offset(60), Offset(60), Offset(50))


def test_nothing_is_ordered_before_it_is_decided_where_it_begins(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.record_beginnings({PLACE: Beginning(TopicId("source-1"), None)})
    world = World(store, tmp_path, spec="  start: latest\n", begun=False)
    world.ask()
    assert world.workers.got[-1].pipelines == ()
    assert (
        world.copying.board.document(0, StatusDocument(name="orders", state=MigrationState.WAITING))
        .partitions[0]
        .reason.endswith("nobody is asked here")
    )

    other = World(store, tmp_path, spec="  start: latest\n", begun=False)
    other.bounds = BOUNDS
    other.ask()
    order = other.order()
    assert (order.start, order.offset_class, order.pad_budget) == (50, OffsetClass.IDENTICAL, 2_000_000_000)
    assert store.beginnings() == {PLACE: Beginning(TopicId("source-1"), Offset(50), 50)}


def test_what_must_be_identical_gets_no_filler_where_none_is_left(tmp_path: Path) -> None:
    world = World(
        Store.open(tmp_path), tmp_path, spec="  offsets: {class: identical, padBudgetTotal: 6}\n", begun=False
    )
    world.bounds = BOUNDS
    world.ask()
    assert (world.order().start, world.order().pad_budget) == (0, 0)


def test_a_target_that_is_ours_from_some_offset_on_is_never_decided_anew(tmp_path: Path) -> None:
    """Neither where nothing is there yet, nor where the source is another topic now: that stops."""
    store = Store.open(tmp_path)
    beginning = Beginning(TopicId("source-0"), Offset(3), 0, Offset(0))
    store.decide_classes({PLACE: OffsetClass.IDENTICAL}, {}, {PLACE: beginning})
    store.remember({PLACE: Remembered(TopicId("source-0"), TopicId("target-1"), LeaderEpoch(-1), Offset(0))})
    world = World(store, tmp_path, begun=False)
    world.turn()
    assert (world.order().own_from, world.order().start, store.beginnings()) == (0, 3, {PLACE: beginning})


def test_another_source_topic_before_anything_was_begun_is_decided_anew(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    replaced = Beginning(TopicId("source-0"), Offset(40), 40)
    store.decide_classes({PLACE: OffsetClass.IDENTICAL}, {}, {PLACE: replaced})
    world = World(store, tmp_path, spec="  start: latest\n", begun=False)
    world.bounds = BOUNDS
    world.ask()
    assert (world.order().start, store.beginnings()[PLACE]) == (0, Beginning(TopicId("source-1"), Offset(0), 7))


def test_a_limit_that_a_partition_wishes_for_is_raised_and_told(world: World) -> None:
    assert world.order().limit == Limit()
    world.hear(PartitionState.WAITING, None, limit_wish_bytes=5_000_000)
    world.turn()
    errand = world.copying._limits._under_way
    assert errand is not None
    assert errand[1].wait(10)
    world.turn()
    assert world.order().limit == Limit(5_000_000)
    assert world.target.topics[ORDERS] == {"max.message.bytes": "5000000"}
    world.desk.answer(ORDERS, 0, Choice.RESUME)
    world.turn()
    errand = world.copying._limits._under_way
    assert errand is not None, "whoever still waits is remembered"
    assert errand[1].wait(10)
    world.turn()
    assert world.order().limit == Limit(5_000_000)


def test_now_and_then_it_is_told_where_the_log_of_a_mapped_partition_should_start(world: World) -> None:
    world.copying.maps.change({PLACE: True}, OffsetClass.MAPPED)
    world.copying.on_view_changed()
    world.turn()
    key = world.workers.got[-1].pipelines[0].key
    seen = position(PLACE, 10)._replace(
        state=PartitionState.IN_SYNC, target_end=Offset(10), source_start=Offset(4), life=world.order().life
    )
    report = PipelineProgress(
        key=key,
        orders=world.workers.got[-1].number,
        partitions=(seen,),
        released=(),
        source_trouble="",
        target_trouble="",
    )
    world.copying.on_event(ProgressReceived(0, report), 0)
    now = time.monotonic()
    world.copying.step(now, 0)
    assert world.workers.saved == []
    world.copying.step(now + START_SECONDS, 0)
    world.copying.step(now + 2 * START_SECONDS, 0)
    assert world.workers.saved == [{PLACE: Saved(world.order().life, 0, Offset(4))}]


def test_orders_say_how_long_tombstones_are_kept_and_since_when(world: World) -> None:
    assert (world.order().delete_retention_ms, world.order().free_from_ms) == (100, -1)
    world.cleaning.adopt(CleaningSeen(50, {ORDERS: COMPACTED | {"cleanup.policy": "delete"}}))
    world.copying.on_view_changed()
    world.turn()
    assert (world.order().delete_retention_ms, world.order().free_from_ms) == (None, -1)
    world.cleaning.adopt(CleaningSeen(90, {ORDERS: COMPACTED}))
    world.copying.on_view_changed()
    world.turn()
    assert (world.order().delete_retention_ms, world.order().free_from_ms) == (100, 50)


def test_what_holds_everything_up_pauses_it_until_it_is_over(world: World) -> None:
    assert not world.workers.got[-1].paused
    world.copying.hold_up("TARGET_FULL: broker 1 …")
    world.turn()
    assert world.workers.got[-1].paused
    world.desk.resume_all()
    world.turn()
    assert world.workers.got[-1].paused, "no operator's answer makes room"
    world.copying.hold_up("")
    world.turn()
    assert not world.workers.got[-1].paused


def test_what_is_accepted_counts_from_the_answer_in_every_run(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    world = World(store, tmp_path)
    late = Stop(kind=StopKind.TOMBSTONES_MAY_BE_LOST, offset=Offset(10), evidence="it is late")
    stopped = PartitionStatus(
        topic=ORDERS, partition=0, state=PartitionState.STOPPED, stop=StopStatus.of(late, ORDERS, 0)
    )
    world.desk.publish(StatusDocument(name="orders", state=MigrationState.STOPPED, partitions=(stopped,)))
    before_ms = time.time_ns() // 1_000_000
    world.desk.answer(ORDERS, 0, Choice.ACCEPT)
    again = World(store, tmp_path)
    assert (again.order().revision, again.order().even_from_ms >= before_ms) == (1, True)
    (partition,) = again.copying.board.document(
        0, StatusDocument(name="orders", state=MigrationState.RUNNING)
    ).partitions
    assert partition.accepted is not None
    assert (partition.accepted.offset, partition.accepted.evidence) == (10, "it is late")
    store.close()


def test_a_begun_partition_waits_until_the_source_told_how_it_cleans(world: World) -> None:
    world.cleaning._known.clear()
    assert dict(world.copying._wanted()) == {}
    assert "how it cleans" in world.copying._reason_to_wait(PLACE)
    world.cleaning.adopt(CleaningSeen(1, {ORDERS: None}))
    assert dict(world.copying._wanted())[PLACE].delete_retention_ms is None


def test_what_is_not_remembered_was_not_copied_before_the_first_run(world: World) -> None:
    world.copying.positions.forget(ORDERS)
    assert world.copying._past(PLACE, True).even_from_ms == 5


def test_a_class_that_nobody_asked_for_is_decided_anew_where_nothing_was_begun(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.decide_classes({PLACE: OffsetClass.IDENTICAL}, {}, {PLACE: Beginning(TopicId("source-1"), Offset(0), 0)})
    world = World(store, tmp_path, spec="  offsets: {padBudgetTotal: 6}\n", begun=False)
    world.bounds = BOUNDS
    world.ask()
    assert world.order().offset_class is OffsetClass.SHIFTED, "its log starts at 7 by now"


def test_a_class_that_was_chosen_while_no_owner_ran_counts_for_the_next_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    World(store, tmp_path)
    between = Desk(store, lambda: None)
    stop = StopStatus.of(replace(STOP, kind=StopKind.CLASS_QUESTION), ORDERS, 0)
    asking = PartitionStatus(topic=ORDERS, partition=0, state=PartitionState.STOPPED, stop=stop)
    between.publish(StatusDocument(name="orders", state=MigrationState.ENDED, partitions=(asking,)))
    between.save()
    assert between.answered_classes() == {}
    between.answer(ORDERS, 0, Choice.MAPPED)
    assert between.answered_classes() == {PLACE: OffsetClass.MAPPED}
    other = World(store, tmp_path)
    assert other.copying.maps.class_of(PLACE) is OffsetClass.MAPPED
    assert other.order().offset_class is OffsetClass.MAPPED
    assert store.offset_classes() == {PLACE: OffsetClass.MAPPED}
    between.publish(StatusDocument(name="orders", state=MigrationState.ENDED, partitions=(replace(asking, stop=None),)))
    assert between.answered_classes() == {}, "what the last owner carried out is over"


def test_whose_copy_a_new_partition_is_stands_in_the_store_before_anything_is_copied(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    world = World(store, tmp_path, begun=False)
    world.bounds = BOUNDS
    world.copying._fresh.add(PLACE)
    world.ask()
    memory = store.remembered()[PLACE]
    assert memory[:4] == (TopicId("source-1"), TopicId("target-1"), -1, 0)
    assert world.order().remembered == memory
    (tmp_path / "other").mkdir()
    other = World(Store.open(tmp_path / "other"), tmp_path, begun=False)
    other.bounds = BOUNDS
    other.ask()
    assert other.order().remembered is None, "a topic that was there before may hold anything"


# -- workers and lanes -------------------------------------------------------------------------------------------------


def test_what_is_behind_may_change_hands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.hear(PartitionState.CATCHING_UP, None, source_end=Offset(500))
    before = world.workers.got[-1].pipelines[0].key
    told: list[tuple[int, list[Behind]]] = []
    scaling = world.copying._scaling
    monkeypatch.setattr(scaling, "is_due", lambda _: not told)

    def step(now: float, copied: int, behind: Iterable[Behind]) -> Scale:
        told.append((copied, list(behind)))
        return Scale(2, 3, {PLACE: before._replace(worker=1, lane=2)})

    monkeypatch.setattr(scaling, "step", step)
    world.turn()
    assert told == [(10, [Behind(PLACE, before, 490)])]
    assert world.workers.added == [0, 1]
    assert all(orders.pipelines == () for orders in world.workers.got[-2:]), "its holder gives it up first"


def release(world: World) -> None:
    """The pipeline that had the partition says that nothing of it is under way any more."""
    key = next(orders.pipelines[0].key for orders in reversed(world.workers.got) if orders.pipelines)
    report = PipelineProgress(
        key=key,
        orders=world.workers.got[-1].number,
        partitions=(),
        released=(PLACE,),
        source_trouble="",
        target_trouble="",
    )
    world.copying.on_event(ProgressReceived(0, report), 0)


def is_ordered(world: World) -> bool:
    """Whether the worker has the partition, by what it was told last."""
    return any(each.partition == PLACE for pipeline in world.workers.got[-1].pipelines for each in pipeline.partitions)


def test_a_copy_ends_where_its_last_word_says_once_nothing_is_under_way(world: World) -> None:
    world.hear(PartitionState.IN_SYNC, None, target_end=Offset(10))
    world.copying.end_topics([ORDERS])
    world.turn()
    assert not is_ordered(world)
    assert world.copying.ends_of(ORDERS) is None, "something may be under way"
    release(world)
    world.turn()
    assert world.copying.ends_of(ORDERS) == {PLACE: Ends(Offset(10), Offset(10))}
    assert world.copying.latest[PLACE].state is PartitionState.HANDED_OVER
    world.copying.correct_ends(ORDERS, {PLACE: Ends(Offset(12), Offset(12))})
    world.turn()
    assert (world.copying.latest[PLACE].position, world.copying.latest[PLACE].target_end) == (12, 12)
    assert not is_ordered(world)


def test_after_a_lost_connection_or_a_death_the_target_must_stand_still_for_longer(world: World) -> None:
    brief = world.copying.quiet_seconds()
    assert brief == QUIET_SECONDS, "nobody was there before, and nothing was lost"
    world.copying.on_event(WorkerDied(0, 1, 9), 0)
    longest = world.copying.quiet_seconds()
    assert longest == QUIET_SECONDS + 4 * 20.0, "four requests before it, two thirds of request.timeout.ms for each"
    world.copying._lost_at -= longest + 1.0
    assert world.copying.quiet_seconds() == brief
    key = next(orders.pipelines[0].key for orders in reversed(world.workers.got) if orders.pipelines)
    trouble = PipelineProgress(
        key=key,
        orders=world.workers.got[-1].number,
        partitions=(),
        released=(),
        source_trouble="",
        target_trouble="the connection was lost",
    )
    world.copying.on_event(ProgressReceived(0, trouble), 0)
    assert world.copying.quiet_seconds() == longest


def test_a_copy_goes_on_where_it_ended(world: World) -> None:
    world.hear(PartitionState.IN_SYNC, None, target_end=Offset(10))
    world.copying.end_topics([ORDERS])
    world.turn()
    release(world)
    world.turn()
    world.copying.resume_topics([ORDERS])
    assert world.copying.ends_of(ORDERS) is None
    world.turn()
    assert is_ordered(world)
    assert world.order().remembered is not None


def test_who_copies_says_first_how_far_it_is(world: World) -> None:
    world.hear(PartitionState.WAITING, None, target_end=Offset(-1))
    world.copying.end_topics([ORDERS])
    world.turn()
    assert is_ordered(world), "nobody could tell afterwards"
    world.hear(PartitionState.IN_SYNC, None, target_end=Offset(10))
    world.turn()
    assert not is_ordered(world)
