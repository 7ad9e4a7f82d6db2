"""An effect is decided on the disk before it is carried out, and whoever dies in between, it comes to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ConnectionLost
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.effects import HOLD_AGAIN, RAISE_LIMIT, RESTORE_HOLD, Effects, restored_topics
from kmigrate.state.journal import EFFECT_WITHDRAWN
from kmigrate.state.store import Store
from kmigrate.topics.alter import Altered
from kmigrate.topics.create import Failed, Later
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.topics.intended import Intended, Origin
from tests.unit.topics.settings_cluster import DEFAULTS, SettingsCluster

T = TopicName("orders")
HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)
COMPACTED = {"cleanup.policy": "compact", "segment.ms": "5"}
FROM_SOURCE = Intended(origin=Origin.SOURCE, settings=COMPACTED)
BY_HAND = Intended(origin=Origin.TARGET, settings={"retention.ms": "5"})
LARGE = 5_000_000


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts the steps of a process and ends it at one of them."""

    def __init__(self, last: int) -> None:
        self.left = last
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if self.left == 0:
            raise Crash
        self.left -= 1


class World:
    """A target and a source, and processes that share a folder one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = SettingsCluster({T: COMPACTED})
        self.target = SettingsCluster({T: HOLD})
        self.may_write = True
        self.store = Store.open(folder)

    def effects(self) -> Effects:
        return Effects(self.store, self.source.client, self.target.client, lambda: self.may_write)

    def begin_process(self, steps: Steps | None = None) -> Effects:
        """A new process on the same folder; every step of it is told to `steps`."""
        self.store.close()
        self.store = Store.open(self.folder)
        self.target.step = steps or (lambda _name: None)
        if steps is not None:
            for name in ("plan_effects", "end_effects", "withdraw_effects"):
                step = name.removesuffix("_effects")
                setattr(self.store, name, _stepping(getattr(self.store, name), step, steps))
        return self.effects()

    def planned(self) -> list[str]:
        return [entry.kind for entry in self.store.effects() if not entry.is_done]

    def done(self) -> list[str]:
        return [entry.kind for entry in self.store.effects() if entry.is_done]


def _stepping(act: Any, name: str, steps: Steps) -> Any:
    def stepping(*args: Any, **options: Any) -> Any:
        steps(f"before {name}")
        result = act(*args, **options)
        steps(f"after {name}")
        return result

    return stepping


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


STEPS = [
    "before plan",
    "after plan",
    "describe",
    "described",
    "alter",
    "altered",
    "describe",
    "described",
    "before end",
    "after end",
]


def test_the_steps_are_decide_act_see_end(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    steps = Steps(last=100)
    assert isinstance(world.begin_process(steps).restore_hold(T), Altered)
    assert steps.names == STEPS


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_restoration_is_resumed_to_its_end_wherever_it_crashed(world: World, step: int) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    with pytest.raises(Crash):
        world.begin_process(Steps(last=step)).restore_hold(T)

    resumed = world.begin_process().resume()
    if step == 0:
        assert resumed == {}
        assert world.store.held() == (T,)
        assert world.target.topics[T] == HOLD
    else:
        assert world.planned() == []
        assert world.store.held() == ()
        assert world.target.topics[T] == COMPACTED
    assert isinstance(world.begin_process().restore_hold(T), Altered)
    assert (world.planned(), world.done(), world.store.held()) == ([], [RESTORE_HOLD], ())
    assert world.target.topics[T] == COMPACTED
    assert len(world.target.alterations) == 1


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_raise_is_resumed_to_its_end_wherever_it_crashed(world: World, step: int) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    with pytest.raises(Crash):
        world.begin_process(Steps(last=step)).raise_limit(T, LARGE)
    resumed = world.begin_process().resume()
    assert len(resumed) == (0 < step < len(STEPS) - 1)
    assert isinstance(world.begin_process().raise_limit(T, LARGE), Altered)
    assert world.planned() == []
    assert world.target.topics[T] == HOLD | {"max.message.bytes": str(LARGE)}
    assert world.store.held() == (T,)
    assert len(world.target.alterations) == 1


def test_a_restored_topic_is_its_owners(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.effects().restore_hold(T)
    assert restored_topics(world.store) == {T}
    world.target.topics[T] = {"retention.ms": "1"}
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert isinstance(world.effects().raise_limit(T, LARGE), Failed)
    assert world.effects().resume() == {}
    assert world.target.topics[T] == {"retention.ms": "1"}


def test_a_topic_that_is_held_again_can_be_restored_again(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.effects().restore_hold(T)
    world.store.record_intended({T: BY_HAND})
    world.target.topics[T] = dict(HOLD)
    assert restored_topics(world.store) == set()
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.target.topics[T] == {"retention.ms": "5"}
    assert world.done() == [RESTORE_HOLD, RESTORE_HOLD]


def test_a_topic_made_by_hand_gets_its_own_limit_back(world: World) -> None:
    world.target.topics[T] = {"retention.ms": "5"}
    world.store.record_intended({T: BY_HAND})
    assert isinstance(world.effects().raise_limit(T, LARGE), Altered)
    assert world.target.topics[T] == {"retention.ms": "5", "max.message.bytes": str(LARGE)}
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.target.topics[T] == {"retention.ms": "5"}


def test_a_raise_that_was_overtaken_by_the_restoration_is_dropped(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.may_write = False
    assert world.effects().raise_limit(T, LARGE) == Later(WAITING_FOR_LEASE)
    assert world.effects().restore_hold(T) == Later(WAITING_FOR_LEASE)
    assert world.planned() == [RAISE_LIMIT, RESTORE_HOLD]
    assert isinstance(world.effects().raise_limit(T, LARGE), Failed)
    world.may_write = True
    outcomes = world.effects().resume()
    assert all(isinstance(outcome, Altered) for outcome in outcomes.values())
    assert world.done() == [RAISE_LIMIT, RESTORE_HOLD]
    assert world.target.topics[T] == COMPACTED


def test_nothing_is_altered_without_the_lease(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.may_write = False
    assert world.effects().restore_hold(T) == Later(WAITING_FOR_LEASE)
    assert list(world.effects().resume().values()) == [Later(WAITING_FOR_LEASE)]
    assert world.target.topics[T] == HOLD
    assert (world.planned(), world.store.held()) == ([RESTORE_HOLD], (T,))


def test_what_was_decided_stands_even_if_the_record_changes(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.may_write = False
    world.effects().restore_hold(T)
    world.store.record_intended({T: BY_HAND})
    world.may_write = True
    world.effects().restore_hold(T)
    assert world.target.topics[T] == COMPACTED


@pytest.mark.parametrize("step", ["describe", "alter", "altered"])
def test_a_cluster_that_goes_away_is_come_back_to(world: World, step: str) -> None:
    world.store.record_intended({T: FROM_SOURCE})

    def go_away(name: str) -> None:
        if name == step:
            raise ConnectionLost("it broke", side=Side.TARGET)

    world.target.step = go_away
    assert isinstance(world.effects().restore_hold(T), Later)
    assert world.planned() == [RESTORE_HOLD]
    world.target.step = lambda _name: None
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.done() == [RESTORE_HOLD]
    assert len(world.target.alterations) == 1


def test_a_refused_restoration_stays_planned_and_held_until_the_cause_is_gone(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.target.refused = {"segment.ms"}
    assert isinstance(world.effects().restore_hold(T), Failed)
    assert (world.planned(), world.store.held()) == ([RESTORE_HOLD], (T,))
    world.target.topics[T]["segment.ms"] = "9"  # what the operator sets is kept
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.target.topics[T] == COMPACTED | {"segment.ms": "9"}
    assert world.done() == [RESTORE_HOLD]


# -- lost state: nothing is recorded, or not everything


def test_lost_settings_are_read_from_the_source_again(world: World) -> None:
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.target.topics[T] == COMPACTED
    (entry,) = world.store.effects()
    assert entry.payload == {"origin": "source", "settings": COMPACTED}


@pytest.mark.parametrize(
    ("recorded", "own", "says"),
    [
        (None, {"retention.ms": "5"}, "local state was lost"),
        (Intended(origin=Origin.LOST, settings=None), {}, "local state was lost"),
        (Intended(origin=Origin.TARGET, settings=None), HOLD, "made by hand"),
    ],
)
def test_what_nobody_can_tell_is_refused_and_nothing_is_altered(
    world: World, recorded: Intended | None, own: dict[str, str], says: str
) -> None:
    world.store.record_intended({} if recorded is None else {T: recorded})
    world.target.topics[T] = dict(own)
    outcome = world.effects().restore_hold(T)
    assert isinstance(outcome, Failed)
    assert says in outcome.reason
    assert "topic orders" in outcome.reason
    assert "cleanup.policy" in outcome.reason
    assert world.target.alterations == []
    assert world.store.effects() == []


def test_lost_settings_of_a_source_topic_that_is_gone_are_refused(world: World) -> None:
    world.source.topics.clear()
    outcome = world.effects().restore_hold(T)
    assert isinstance(outcome, Failed)
    assert "the source does not tell" in outcome.reason
    assert world.target.topics[T] == HOLD
    assert world.store.effects() == []


def test_a_source_that_cannot_be_asked_now_is_asked_later(world: World) -> None:
    def go_away(_name: str) -> None:
        raise ConnectionLost("it broke", side=Side.SOURCE)

    world.source.step = go_away
    assert isinstance(world.effects().restore_hold(T), Later)
    assert world.store.effects() == []
    world.source.step = lambda _name: None
    assert isinstance(world.effects().restore_hold(T), Altered)


def test_the_limit_of_a_topic_that_nothing_is_recorded_of_is_not_raised(world: World) -> None:
    outcome = world.effects().raise_limit(T, LARGE)
    assert isinstance(outcome, Failed)
    assert "not under hold" in outcome.reason
    assert world.target.topics[T] == HOLD
    assert world.store.effects() == []


def test_a_topic_goes_back_under_hold_and_can_be_restored_again(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.effects().restore_hold(T)
    assert isinstance(world.effects().hold_again(T), Altered)
    assert (DEFAULTS | world.target.topics[T]).items() >= HOLD.items()
    assert world.store.held() == (T,)
    assert world.store.intended()[T] == FROM_SOURCE
    assert isinstance(world.effects().hold_again(T), Altered), "it is under hold already"
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.target.topics[T] == COMPACTED
    assert world.done() == [RESTORE_HOLD, HOLD_AGAIN, RESTORE_HOLD]


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_hold_that_is_set_again_is_resumed_to_its_end_wherever_it_crashed(world: World, step: int) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.effects().restore_hold(T)
    with pytest.raises(Crash):
        world.begin_process(Steps(last=step)).hold_again(T)

    world.begin_process().resume()
    assert isinstance(world.begin_process().hold_again(T), Altered)
    assert (world.planned(), world.store.held()) == ([], (T,))
    assert world.store.intended()[T] == FROM_SOURCE
    assert (DEFAULTS | world.target.topics[T]).items() >= HOLD.items()


def test_a_restoration_that_was_decided_comes_before_the_hold(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.may_write = False
    assert isinstance(world.effects().restore_hold(T), Later)
    assert isinstance(world.effects().hold_again(T), Later)
    world.may_write = True
    assert isinstance(world.effects().hold_again(T), Altered)
    assert (world.planned(), world.store.held()) == ([], (T,))
    assert (DEFAULTS | world.target.topics[T]).items() >= HOLD.items()


def test_a_refused_restoration_is_withdrawn_when_the_topic_goes_back_under_hold(world: World) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.target.refused = {"segment.ms"}
    assert isinstance(world.effects().restore_hold(T), Failed)
    assert isinstance(world.effects().hold_again(T), Altered)
    assert (world.planned(), world.store.held()) == ([], (T,))
    assert world.store.intended()[T] == FROM_SOURCE
    assert (DEFAULTS | world.target.topics[T]).items() >= HOLD.items()
    assert EFFECT_WITHDRAWN in [entry.kind for entry in world.store.journal()]
    assert world.store.verify_journal().broken_at is None
    world.target.refused = set()
    assert isinstance(world.effects().restore_hold(T), Altered), "it can be restored once the cause is gone"
    assert world.target.topics[T] == COMPACTED
    assert world.store.held() == ()


@pytest.mark.parametrize("step", range(2 * len(STEPS)))
def test_a_refused_restoration_is_withdrawn_wherever_it_crashed(world: World, step: int) -> None:
    world.store.record_intended({T: FROM_SOURCE})
    world.target.refused = {"segment.ms"}
    assert isinstance(world.effects().restore_hold(T), Failed)
    with contextlib.suppress(Crash):
        world.begin_process(Steps(last=step)).hold_again(T)
    world.begin_process().resume()
    assert isinstance(world.begin_process().hold_again(T), Altered)
    assert (world.planned(), world.store.held()) == ([], (T,))


def test_a_topic_that_was_never_under_hold_is_not_put_under_one(world: World) -> None:
    assert isinstance(world.effects().hold_again(T), Failed)
    assert world.target.alterations == []


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_hold_is_put_to_its_end_wherever_it_crashed(world: World, step: int) -> None:
    world.target.topics[T] = dict(COMPACTED)
    world.store.record_intended({T: Intended(origin=Origin.TARGET, settings={"cleanup.policy": "compact"})})
    with pytest.raises(Crash):
        world.begin_process(Steps(last=step)).put_hold(T, LARGE)
    world.begin_process().resume()
    assert isinstance(world.begin_process().put_hold(T, LARGE), Altered)
    assert world.planned() == []
    in_force = DEFAULTS | world.target.topics[T]
    assert {key: in_force[key] for key in HOLD} == HOLD | {"max.message.bytes": str(LARGE)}
    assert isinstance(world.effects().restore_hold(T), Altered)
    assert world.target.topics[T] == COMPACTED
    assert isinstance(world.effects().put_hold(T, LARGE), Failed), "its hold has ended"
    assert world.target.topics[T] == COMPACTED


def test_many_topics_take_the_steps_of_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    topics = [TopicName(f"orders-{number}") for number in range(20)]
    world.target.topics = {topic: dict(HOLD) for topic in topics}
    world.store.record_intended(dict.fromkeys(topics, FROM_SOURCE))
    steps = Steps(last=100)
    outcomes = world.begin_process(steps).restore_holds(topics)
    assert steps.names == STEPS
    assert all(isinstance(outcome, Altered) for outcome in outcomes.values())
    assert list(outcomes) == topics
    assert world.store.held() == ()
    steps.names.clear()
    outcomes = world.effects().hold_all_again(topics)
    assert steps.names == STEPS
    assert all(isinstance(outcome, Altered) for outcome in outcomes.values())
    assert world.store.held() == tuple(sorted(topics))
    assert world.store.intended() == dict.fromkeys(topics, FROM_SOURCE)
    world.store.close()


def test_of_many_topics_each_has_an_outcome_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    good, gone, unknown, done = (TopicName(name) for name in ("good", "gone", "unknown", "done"))
    world.target.topics = {good: dict(HOLD), unknown: {"retention.ms": "5"}, done: dict(HOLD)}
    world.store.record_intended({good: FROM_SOURCE, gone: FROM_SOURCE, done: BY_HAND})
    world.effects().restore_hold(done)
    outcomes = world.effects().restore_holds([good, gone, unknown, done])
    assert isinstance(outcomes[good], Altered)
    assert not isinstance(outcomes[gone], Altered)
    assert isinstance(outcomes[unknown], Failed)
    assert outcomes[done] == Altered(())
    assert world.store.held() == (gone,)
    assert [entry.topic for entry in world.store.effects() if not entry.is_done] == [gone]
    world.store.close()
