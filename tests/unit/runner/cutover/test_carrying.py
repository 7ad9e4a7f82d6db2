"""One effect at a time, each to its end; what is no longer wanted brings nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from kmigrate.cluster.cord import Cord, current_cord
from kmigrate.errors import KmigrateError, Refused
from kmigrate.runner.cutover.carrying import (
    AGAIN_SECONDS,
    FAILED_SECONDS,
    GRACE_SECONDS,
    Carried,
    Carrier,
    Handler,
    Waits,
)
from kmigrate.schemes.cutover import Cutover, Phase, begin
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.events import EffectDone, EffectFailed
from tests.unit.schemes.examples import CLEAN

FREEZE = Effect(kind=EffectKind.FREEZE, scope="")
COPY_TAIL = Effect(kind=EffectKind.COPY_TAIL, scope="")


def at(*effects: Effect, wave: str = "one") -> Cutover:
    """A cutover that has these effects to carry out."""
    return replace(begin(replace(CLEAN, name=wave), 0.0), phase=Phase.ACTING, pending=effects)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def until(carrier: Carrier, cutover: Cutover) -> EffectDone | EffectFailed | None:
    """Steps until what is under way is done; what came of it."""
    for _ in range(500):
        outcome = carrier.step(cutover)
        if outcome is not None:
            return outcome
        if carrier._under_way is None:
            return None
        time.sleep(0.002)
    raise AssertionError("it did not end")


def make(handler: Handler) -> tuple[Carrier, Clock]:
    clock = Clock()
    return Carrier({EffectKind.FREEZE: handler, EffectKind.COPY_TAIL: handler}, monotonic_seconds=clock), clock


def test_what_is_done_is_told_with_what_it_found() -> None:
    carrier, _ = make(lambda cutover, effect: Carried())
    assert until(carrier, at(FREEZE)) == EffectDone(effect=FREEZE)
    assert carrier.step(at()) is None


def test_what_waits_is_tried_again_a_moment_later() -> None:
    answers: list[Carried | Waits] = [Waits("not yet"), Carried()]
    carrier, clock = make(lambda cutover, effect: answers.pop(0))
    assert until(carrier, at(FREEZE)) is None
    assert carrier.waits == {"one": "not yet"}
    assert carrier.step(at(FREEZE)) is None, "too early"
    clock.now += AGAIN_SECONDS
    assert until(carrier, at(FREEZE)) == EffectDone(effect=FREEZE)
    assert not carrier.waits


@pytest.mark.parametrize(
    ("error", "is_final", "told"),
    [
        (KmigrateError("the target is away", hint="wait"), False, "the target is away; wait"),
        (Refused("no such setting"), True, "no such setting"),
        (ValueError("x"), False, "ValueError: x"),
    ],
)
def test_what_fails_says_why_and_is_tried_again_later(error: Exception, is_final: bool, told: str) -> None:
    def fail(cutover: Cutover, effect: Effect) -> Carried | Waits:
        raise error

    carrier, clock = make(fail)
    assert until(carrier, at(FREEZE)) == EffectFailed(effect=FREEZE, reason=told, is_final=is_final)
    assert until(carrier, at(FREEZE)) is None, "too early"
    clock.now += FAILED_SECONDS
    assert until(carrier, at(FREEZE)) is not None


def test_an_effect_that_nobody_can_carry_out_fails_for_good() -> None:
    outcome = Carrier({}).step(at(FREEZE))
    assert isinstance(outcome, EffectFailed)
    assert outcome.is_final


def test_what_is_no_longer_wanted_comes_to_its_end_before_anything_else_begins() -> None:
    go, begun = threading.Event(), []

    def handler(cutover: Cutover, effect: Effect) -> Carried | Waits:
        begun.append(effect)
        assert go.wait(10.0)
        return Carried()

    carrier, _ = make(handler)
    assert carrier.step(at(FREEZE)) is None
    assert carrier.step(at(COPY_TAIL)) is None
    go.set()
    assert until(carrier, at(COPY_TAIL)) is None, "what froze is not told as copied"
    assert until(carrier, at(COPY_TAIL)) == EffectDone(effect=COPY_TAIL)
    assert begun == [FREEZE, COPY_TAIL]


def test_waves_take_turns() -> None:
    begun: list[str] = []

    def handler(cutover: Cutover, effect: Effect) -> Carried | Waits:
        begun.append(cutover.wave.name)
        return Carried()

    carrier, _ = make(handler)
    one, two = at(FREEZE), at(FREEZE, wave="two")
    assert carrier.step(one) is None
    while not carrier._under_way or not carrier._under_way.errand.done:
        time.sleep(0.002)
    assert carrier.step(two) is None, "what another wave began is not its"
    assert until(carrier, one) == EffectDone(effect=FREEZE)
    assert until(carrier, two) == EffectDone(effect=FREEZE)
    assert begun == ["one", "two"]


def test_what_is_in_the_way_of_writers_that_wait_is_cut_off_and_tried_again_later() -> None:
    cords: list[Cord] = []

    def handler(cutover: Cutover, effect: Effect) -> Carried | Waits:
        if cutover.wave.name == "one":
            cord = current_cord()
            assert cord is not None
            cords.append(cord)
            while not cord.is_cut:
                time.sleep(0.002)
            cord.check()
        return Carried()

    carrier, clock = make(handler)
    one, two = at(FREEZE), replace(at(FREEZE, wave="two"), phase=Phase.RETURNING)
    assert carrier.step(one) is None
    assert carrier.step(two) is None
    while not cords:
        time.sleep(0.002)
    assert not cords[0].is_cut, "it has a moment to end by itself"
    clock.now += GRACE_SECONDS
    assert carrier.step(two) is None
    while not carrier._under_way or not carrier._under_way.errand.done:
        time.sleep(0.002)
    assert carrier.step(one) is None, "it has not failed: it was in the way"
    assert until(carrier, two) == EffectDone(effect=FREEZE)
    clock.now += FAILED_SECONDS
    assert carrier.step(one) is None
    assert carrier._under_way is not None, "it is tried again"
    carrier._under_way.cord.cut()


def test_what_is_wanted_now_does_not_rest_for_what_failed_before_it() -> None:
    def handler(cutover: Cutover, effect: Effect) -> Carried | Waits:
        if effect == FREEZE:
            raise KmigrateError("the target is away")
        return Carried()

    carrier, _ = make(handler)
    assert carrier.step(at(FREEZE)) is None
    assert until(carrier, at(COPY_TAIL)) is None
    assert until(carrier, at(COPY_TAIL)) == EffectDone(effect=COPY_TAIL)


def test_a_decision_is_secured_once_before_anything_is_done_about_it() -> None:
    said: list[str] = []
    answers: list[Carried | Waits] = [Waits("not yet"), Carried()]

    def handler(cutover: Cutover, effect: Effect) -> Carried | Waits:
        said.append("done")
        return answers.pop(0)

    clock = Clock()
    carrier = Carrier({EffectKind.FREEZE: handler}, secure=lambda: said.append("secured"), monotonic_seconds=clock)
    assert until(carrier, at(FREEZE)) is None
    clock.now += AGAIN_SECONDS
    assert until(carrier, at(FREEZE)) == EffectDone(effect=FREEZE)
    assert said == ["secured", "done", "done"]
