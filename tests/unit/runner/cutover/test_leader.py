"""The leader waits for no cluster: whoever is silent, a deadline passes, and writers are free again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from kmigrate.manifest.model import Scheme
from kmigrate.runner.cutover.carrying import Carried, Carrier, Handler, Waits, carry_nothing
from kmigrate.runner.cutover.desk import CommandKind, CutoverDesk, Order
from kmigrate.runner.cutover.leader import Leader
from kmigrate.runner.cutover.observing import Observer
from kmigrate.schemes.cutover import Cutover, Phase
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.events import SetAuto
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.order import moves_of
from kmigrate.schemes.wave import Wave
from kmigrate.state.store import Store
from tests.unit.cluster.silent_broker import SilentBroker
from tests.unit.schemes.examples import END, GONE, MOVED, ORDERS, group
from tests.unit.schemes.examples import facts as facts_of

WAVE = Wave(
    name="clean",
    scheme=Scheme.CONSUMERS_FIRST,
    topics=(ORDERS,),
    groups=("billing",),
    moves=moves_of(Scheme.CONSUMERS_FIRST, [ORDERS], {"billing": [ORDERS]}),
    is_fenced=True,
)
PATIENCE_SECONDS = 30.0
K = EffectKind
STEPS = {"replicate": group(), "stop-readers": GONE, "start-readers": MOVED, "stop-writers": MOVED}
"""The steps before the freeze, and how the groups are when they are left."""


class Nothing:
    """Goes on beside the waves."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Watching:
    """An observer that sees what it is told to; while `is_silent` its clusters do not answer, until `go_on`."""

    def __init__(self) -> None:
        self.facts = facts_of(WAVE)
        self.looks = 0
        self.is_silent: Callable[[Collection[Cutover]], bool] = lambda _cutovers: False
        self.waits, self.go_on = threading.Event(), threading.Event()

    def look(self, cutovers: Collection[Cutover]) -> Mapping[str, WaveFacts]:
        self.looks += 1
        facts = replace(self.facts, at_seconds=time.time())
        if self.is_silent(cutovers):
            self.waits.set()
            assert self.go_on.wait(PATIENCE_SECONDS)
        return {each.wave.name: facts for each in cutovers}

    def close(self) -> None:
        return


class World:
    """A wave that is led; effects that are not named here are done at once. `late` moves the clock on."""

    def __init__(self, folder: Path, handlers: Mapping[EffectKind, Handler] | None = None) -> None:
        self.late = 0.0
        self.store = Store.open(folder)
        self.desk = CutoverDesk("orders", self.store, wall_seconds=lambda: time.time() + self.late)
        self.watching = Watching()
        self.done: list[EffectKind] = []
        made: dict[EffectKind, Handler] = {kind: self._noting(carry_nothing) for kind in EffectKind}
        made[K.FREEZE] = self._noting(lambda _cutover, _effect: Carried((End(ORDERS, self.partition, END),)))
        made |= {kind: self._noting(handler) for kind, handler in (handlers or {}).items()}
        self.leader = Leader(
            self.desk,
            cast(Observer, self.watching),
            Carrier(made),
            lambda: ([WAVE], ()),
            lambda _cutover: None,
            Nothing(),
        )

    partition = next(iter(facts_of(WAVE).partitions)).partition

    def _noting(self, handler: Handler) -> Handler:
        def noting(cutover: Cutover, effect: Effect) -> Carried | Waits:
            outcome = handler(cutover, effect)
            if isinstance(outcome, Carried):
                self.done.append(effect.kind)
            return outcome

        return noting

    @property
    def now(self) -> Cutover:
        return self.desk.cutovers()[WAVE.name]

    def freeze(self) -> None:
        """Leads the wave to where its writers wait."""
        self.leader.start()
        for step, seen in STEPS.items():
            self.until(partial(self.is_at, step))
            self.watching.facts = facts_of(WAVE, groups=seen)
            self.desk.command(Order(kind=CommandKind.NEXT, approved=step == "stop-writers"))

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"{self.now.at.step.name}, {self.now.phase}, {self.done}"
            time.sleep(0.005)

    def is_at(self, step: str) -> bool:
        return self.now.at.step.name == step and self.now.phase is Phase.WAITING

    def pass_the_deadline(self) -> None:
        self.late = WAVE.limits.freeze_seconds + 1

    def is_free(self) -> bool:
        return K.LIFT_FENCE in self.done and self.is_at("stop-writers")

    def close(self) -> None:
        self.watching.go_on.set()
        self.leader.stop()
        self.store.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(handlers: Mapping[EffectKind, Handler] | None = None) -> World:
        made.append(World(tmp_path, handlers))
        return made[-1]

    yield make
    for world in made:
        world.close()


def test_a_wave_is_led_through_its_freeze_by_itself(make: Callable[..., World]) -> None:
    world = make()
    world.freeze()
    world.until(lambda: world.is_at("start-writers"))
    assert world.done[-7:] == [
        K.PUT_UP_FENCE,
        K.FREEZE,
        K.COPY_TAIL,
        K.VERIFY_TAIL,
        K.END_COPY,
        K.LIFT_HOLDS,
        K.PROMOTE,
    ]


@pytest.mark.parametrize("kind", [K.VERIFY_TAIL, K.LIFT_HOLDS, K.PUT_UP_FENCE])
def test_writers_are_free_again_although_an_effect_waits_for_a_broker_that_is_silent(
    make: Callable[..., World], kind: EffectKind
) -> None:
    with SilentBroker() as broker:

        def ask(_cutover: Cutover, _effect: Effect) -> Carried | Waits:
            broker.client().metadata([])
            return Carried()

        world = make({kind: ask})
        world.freeze()
        broker.wait_for_a_request()
        assert world.now.next_effect is not None
        assert world.now.next_effect.kind is kind
        world.pass_the_deadline()
        world.until(world.is_free)
        assert kind not in world.done


def test_writers_are_free_again_although_what_they_wait_behind_cannot_be_taken_back(make: Callable[..., World]) -> None:
    """The target is silent: holds cannot be set there, and that is no reason to keep the source's writers away."""
    with SilentBroker() as broker:

        def ask(_cutover: Cutover, _effect: Effect) -> Carried | Waits:
            broker.client().metadata([])
            return Carried()

        world = make({K.LIFT_HOLDS: ask, K.SET_HOLDS: ask})
        world.freeze()
        broker.wait_for_a_request()
        world.pass_the_deadline()
        world.until(lambda: K.LIFT_FENCE in world.done)
        assert not {K.LIFT_HOLDS, K.SET_HOLDS, K.PROMOTE} & set(world.done)
        assert world.now.phase is Phase.RETURNING


def test_writers_are_free_again_although_nothing_can_be_seen(make: Callable[..., World]) -> None:
    world = make()
    world.watching.is_silent = lambda cutovers: any(each.is_frozen for each in cutovers)
    world.freeze()
    world.until(world.watching.waits.is_set)
    world.pass_the_deadline()
    world.until(world.is_free)


def test_what_was_seen_while_something_was_decided_is_not_used(make: Callable[..., World]) -> None:
    world = make()
    world.watching.is_silent = lambda _cutovers: not world.watching.go_on.is_set()
    world.leader.start()
    commanding = threading.Thread(target=lambda: world.desk.document(fresh=True), daemon=True)
    commanding.start()
    world.until(world.watching.waits.is_set)
    assert world.desk.post(WAVE.name, SetAuto(number=world.now.number, is_auto=True)) is None
    world.watching.go_on.set()
    commanding.join(PATIENCE_SECONDS)
    assert world.watching.looks >= 2, "what began before the decision tells nothing of what is so after it"
