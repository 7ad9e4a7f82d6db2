"""The handle of the copy back: what is begun is written down first, and begun once, whoever comes after a crash."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.copy.states import Stop, StopKind
from kmigrate.errors import Blocked, KmigrateError, Refused
from kmigrate.kafka_types import UNKNOWN_EPOCH, Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.manifest import Manifest, load_manifest
from kmigrate.runner import back as room
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.back_manifest import SWAPPED, derive
from kmigrate.runner.back_messages import BackSettings, Word
from kmigrate.runner.effects import RESTORE_HOLD
from kmigrate.runner.folder import MigrationFolder
from kmigrate.state.store import Store
from kmigrate.topics.alter import Altered, AlterOutcome
from kmigrate.topics.create import Failed
from kmigrate.topics.intended import Intended, Origin

ORDERS, PAY = TopicName("orders.eu-1"), TopicName("pay")
O0, P0 = TopicPartition(ORDERS, Partition(0)), TopicPartition(PAY, Partition(0))
ENDS = {O0: Offset(50)}
MANIFEST = """
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: shop}
spec:
  source: {clusterId: s, properties: {bootstrap.servers: "a:1"}}
  target:
    clusterId: t
    properties: {bootstrap.servers: "b:1", security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN,
      sasl.username: me, sasl.password: "secret"}
  scheme: consumers-first
  start: latest
  limits: {bytesPerSecond: 7}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    return load_manifest(path, environ={})


# ── the manifest ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_derived_manifest_swaps_the_clusters_and_names_its_topics(manifest: Manifest) -> None:
    derived = derive(manifest, [PAY, ORDERS])
    assert (derived.name, derived.lease_group) == ("shop-back", "kmigrate-shop-back")
    assert (derived.source, derived.target) == (manifest.target, manifest.source)
    assert (derived.start, derived.scheme, derived.limits) == ("earliest", None, manifest.limits)
    assert derived.literal_topics() == (ORDERS, PAY)
    assert [name for name in (ORDERS, PAY, "ordersXeu-1", "pay2") if derived.topic_selected(name)] == [ORDERS, PAY]
    assert not derived.groups.selects("any")


def test_the_derived_manifest_goes_through_a_pipe(manifest: Manifest) -> None:
    settings = BackSettings(manifest=derive(manifest, [PAY]), folder=manifest.path)
    arrived = pickle.loads(pickle.dumps(settings))
    assert arrived.manifest.source.security == manifest.target.security
    assert arrived.manifest.topic_selected(PAY)


# ── the handle ────────────────────────────────────────────────────────────────────────────────────────────────────


class Child:
    """A process that does nothing but live."""

    def __init__(self, settings: BackSettings) -> None:
        self.topics = {TopicName(re.sub(r"\\", "", each)) for each in settings.manifest.topics.include}
        self.is_alive = True
        self.pid = 7
        self.trouble = "", ""
        self.state = "IN_SYNC", ""
        self.said: dict[TopicPartition, Word] = {}

    def words(self) -> dict[TopicPartition, Word]:
        return self.said if self.is_alive else {}

    def end(self) -> None:
        self.is_alive = False


@dataclass
class World:
    """A migration's folder, and what the handle started and was told."""

    folder: MigrationFolder
    store: Store
    manifest: Manifest
    started: list[Child] = field(default_factory=list)
    looked: list[Sequence[TopicName]] = field(default_factory=list)
    refuses: str = ""
    outcomes: list[AlterOutcome] = field(default_factory=list)
    restored: list[TopicName] = field(default_factory=list)

    def open(self) -> ReverseCopy:
        return ReverseCopy(self.manifest, self.folder, self.store)

    def start(self, settings: BackSettings) -> Child:
        self.started.append(Child(settings))
        return self.started[-1]

    def look(self, manifest: Manifest, topics: Sequence[TopicName]) -> dict[TopicName, Intended]:
        self.looked.append(topics)
        if self.refuses:
            raise Blocked(self.refuses)
        return {name: Intended(origin=Origin.TARGET, settings={"retention.ms": "5"}) for name in topics}

    @property
    def child(self) -> Child:
        return self.started[-1]

    def back_store(self) -> Store:
        return Store.open(self.folder.path / "back")


@pytest.fixture
def world(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    folder = MigrationFolder(tmp_path / "state", "shop")
    store = Store.open(folder.path)
    ids = TopicId("a" * 32), TopicId("b" * 32), UNKNOWN_EPOCH
    store.remember({O0: Remembered(*ids, Offset(50)), P0: Remembered(*ids, Offset(9))})
    world = World(folder, store, manifest)

    class Restoring:
        """Effects of which one is known."""

        def __init__(self, store: Store, *_: object) -> None:
            self._store = store

        def restore_hold(self, topic: TopicName) -> AlterOutcome:
            outcome = world.outcomes.pop(0) if world.outcomes else Altered(())
            if isinstance(outcome, Altered):
                world.restored.append(topic)
                self._store.end_effect(self._store.plan_effect(RESTORE_HOLD, topic, {}), ends_hold=True)
            return outcome

    @contextlib.contextmanager
    def granted(*_: object) -> Iterator[Callable[[], bool]]:
        yield lambda: True

    monkeypatch.setattr(room, "BackChild", world.start)
    monkeypatch.setattr(room, "look_back", world.look)
    monkeypatch.setattr(room, "Effects", Restoring)
    monkeypatch.setattr(room, "short_lease", granted)
    yield world
    store.close()


def test_begun_is_written_down_before_the_process_starts_and_not_begun_twice(world: World) -> None:
    back = world.open()
    back.begin(ENDS, even_ms=5)
    with contextlib.closing(world.back_store()) as store:
        assert store.remembered()[O0].even_ms == 5
    back.begin(ENDS)
    assert ([each.topics for each in world.started], world.looked) == ([{ORDERS}], [[ORDERS]])


def test_another_end_is_refused(world: World) -> None:
    back = world.open()
    back.begin(ENDS)
    with pytest.raises(Refused, match="from offset 50 on, not from 49"):
        back.begin({O0: Offset(49)})
    assert world.child.is_alive


def test_whoever_comes_after_a_crash_begins_it_again(world: World) -> None:
    world.open().begin(ENDS)
    after = world.open()
    assert not after.is_running
    after.begin(ENDS)
    assert (len(world.started), len(world.looked), after.is_running) == (2, 1, True)
    world.child.is_alive = False
    after.begin({})
    assert (len(world.started), len(world.looked)) == (3, 1)


def test_a_topic_that_is_added_takes_the_others_along(world: World) -> None:
    back = world.open()
    back.begin(ENDS)
    back.begin({P0: Offset(9)})
    assert [(each.topics, each.is_alive) for each in world.started] == [({ORDERS}, False), ({ORDERS, PAY}, True)]


def test_what_speaks_against_a_topic_changes_nothing_for_others(world: World) -> None:
    back = world.open()
    back.begin(ENDS)
    world.refuses = "WRITE is missing"
    with pytest.raises(Blocked, match="WRITE is missing"):
        back.begin({P0: Offset(9)})
    assert [(each.topics, each.is_alive) for each in world.started] == [({ORDERS}, True)]
    with pytest.raises(Refused, match="beyond 8"):
        back.begin({P0: Offset(8)})
    assert world.child.is_alive


def test_the_end_restores_and_lets_others_go_on(world: World) -> None:
    back = world.open()
    back.end([ORDERS])
    assert not (world.folder.path / "back").exists(), "nothing was ever begun"
    back.begin({**ENDS, P0: Offset(9)})
    back.end([ORDERS])
    assert (world.restored, world.child.topics, world.child.is_alive) == ([ORDERS], {PAY}, True)
    back.end([ORDERS])
    assert (world.restored, len(world.started)) == ([ORDERS], 2), "a second time nothing is done"
    back.end([PAY])
    assert (world.restored, back.is_running) == ([ORDERS, PAY], False)
    back.begin(ENDS)
    assert world.child.topics == {ORDERS}, "it may be begun again"


@pytest.mark.parametrize("crashed", [False, True])
def test_an_end_that_did_not_succeed_is_tried_again(world: World, crashed: bool) -> None:
    back = world.open()
    back.begin({**ENDS, P0: Offset(9)})
    world.outcomes = [Failed("no right")]
    with pytest.raises(KmigrateError, match=r"orders\.eu-1: no right"):
        back.end([ORDERS])
    assert (world.child.topics, world.child.is_alive) == ({PAY}, True)
    with pytest.raises(Refused, match="not restored yet"):
        back.begin(ENDS)
    assert world.child.is_alive
    if crashed:
        back.close()
        back = world.open()
    back.end([ORDERS])
    assert (world.restored, back.is_running) == ([ORDERS], True)


def test_positions_and_stops_are_what_a_living_process_said(world: World) -> None:
    back = world.open()
    assert (back.positions(), back.stops(), back.state, back.trouble, back.pid) == ({}, {}, ("", ""), "", None)
    back.begin({**ENDS, P0: Offset(9)})
    stop = Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(50), evidence="somebody wrote")
    world.child.said = {O0: Word(None, stop), P0: Word(Offset(12), None)}
    assert back.positions() == {P0: 12}
    assert back.stops()[O0].evidence == f"somebody wrote ({SWAPPED})"
    world.child.is_alive = False
    world.child.trouble = "it ended", "try again"
    assert (back.positions(), back.stops(), back.trouble) == ({}, {}, "it ended (try again)")


def test_to_close_ends_the_process_and_nothing_else(world: World) -> None:
    back = world.open()
    back.begin(ENDS)
    back.close()
    back.close()
    assert not world.child.is_alive
    with contextlib.closing(world.back_store()) as store:
        assert store.held() == (ORDERS,)
