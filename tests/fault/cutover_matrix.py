"""The crash matrix of the cutover: every step and every effect of every scheme that can be led, as its table has them.

Rule: nothing of it is written down by hand. A step or an effect that is new in `schemes/` is a new cell of the fault
tests; a variant of a scheme that does the same at the same steps as another one is that one. Faults of the same course
share cells: a service is led through several of them, which takes less time than to lead one through each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import load_manifest
from kmigrate.manifest.model import Scheme
from kmigrate.runner.cutover.planning import plan_waves
from kmigrate.schemes.cutover import OVER, Cutover, Done, Phase, Way, begin
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.moving import planned, planned_undo, with_done
from kmigrate.schemes.tables import TABLES
from kmigrate.schemes.wave import Wave

MANIFEST = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: matrix}
spec:
  source: {properties: {bootstrap.servers: "a:1"}}
  target: {properties: {bootstrap.servers: "b:1"}}
  scheme: %s
  %s: %s
  fence: %s
"""
APPLICATION = "  applications: [{name: relay, groups: [relay], reads: [orders], writes: [bills]}]\n"
ORDERS, BILLS = TopicName("orders"), TopicName("bills")
TOGETHER = 4
"""How many faults of a course one service goes through at most."""


class Course(StrEnum):
    """Which way a wave goes in a cell."""

    FORWARD = "forward"
    ABORT = "abort"
    """Everything is taken back from the last step, where no application has written to the target."""
    LATE = "deadline"
    """What is done while writers wait takes too long, and is taken back by itself."""
    BACK = "rollback"
    LATE_BACK = "deadline of the rollback"


class Story(NamedTuple):
    """A scheme with its history or its ending; perhaps with an application that reads and writes."""

    scheme: str
    variant: str
    has_application: bool = False

    def spec(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"scheme": self.scheme, _word(self.scheme): self.variant}

    def __str__(self) -> str:
        return f"{self.scheme} {self.variant}{', with an application' if self.has_application else ''}"


class Moment(NamedTuple):
    """An effect, and the step at which it is carried out: when leaving it, or when something is taken back there."""

    story: Story
    course: Course
    step: str
    effect: str

    def death(self, when: str) -> str:
        """What the owner is told so that it dies then; `when` is `before` or `after`."""
        return f"{when} {self.effect} at {self.step}"

    def named(self) -> dict[str, str]:
        """For the result of a cell."""
        return {"scheme": str(self.story), "course": self.course.value, "step": self.step, "effect": self.effect}


class Place(NamedTuple):
    """A step of a way."""

    story: Story
    course: Course
    step: str

    def named(self) -> dict[str, str]:
        """For the result of a cell."""
        return {"scheme": str(self.story), "course": self.course.value, "step": self.step}


def stories() -> tuple[Story, ...]:
    """Every one that can be led, without those that do the same at the same steps."""
    found: dict[object, Story] = {}
    for scheme, variant in TABLES:
        story = Story(scheme.value, variant.value)
        wave = _wave(story, is_fenced=True)
        if wave is not None:
            found[scheme, tuple((at.at.step.name, planned(at, at.at)) for at in _walk(begin(wave, 0.0)))] = story
    return tuple(found.values())


def moments() -> tuple[Moment, ...]:
    """Every effect that is carried out, with a fence and a way back wherever they can be had.

    With an application there are only those that there are not without it. It writes to the target what it reads there,
    so that nothing can be taken back.
    """
    found: list[Moment] = []
    for story in stories():
        for course, step, kind in dict.fromkeys(_effects(_begun(story))):
            found.append(Moment(story, course, step, kind.value))
        for relayed in _relayed(story):
            more = [Moment(relayed, course, step, kind.value) for course, step, kind in _effects(_begun(relayed))]
            found += [
                each
                for each in dict.fromkeys(more)
                if each._replace(story=story) not in found and each.course in (Course.FORWARD, Course.BACK)
            ]
    return tuple(found)


def last_frozen_moment(taken_back: Moment) -> Moment:
    """What is not done in time where an effect is taken back because of that."""
    is_back = taken_back.course is Course.LATE_BACK
    way = _walk_back(_begun(taken_back.story)) if is_back else _walk(_begun(taken_back.story))
    at = [each for each in way if each.at.step.is_frozen][-1]
    return taken_back._replace(step=at.at.step.name, effect=planned(at, at.at)[-1].kind.value)


def places() -> tuple[Place, ...]:
    """Every step, forward and back; with an application only those that there are not without it."""
    found: list[Place] = []
    for story in stories():
        for each in (story, *_relayed(story)):
            for course, way in ((Course.FORWARD, _walk(_begun(each))), (Course.BACK, _walk_back(_begun(each)))):
                steps = dict.fromkeys(at.at.step.name for at in way)
                found += [Place(each, course, step) for step in steps if Place(story, course, step) not in found]
    return tuple(found)


F = TypeVar("F", Moment, Place)


def in_a_row(faults: Sequence[F]) -> tuple[tuple[F, ...], ...]:
    """Neighbours of a course, in the order in which they come."""

    def cut(course: Sequence[F]) -> Iterator[tuple[F, ...]]:
        return (tuple(course[first : first + TOGETHER]) for first in range(0, len(course), TOGETHER))

    return _by_course(faults, cut)


def far_apart(faults: Sequence[F]) -> tuple[tuple[F, ...], ...]:
    """Of a course those that are not neighbours, wherever there are enough."""

    def cut(course: Sequence[F]) -> Iterator[tuple[F, ...]]:
        parts = -(-len(course) // TOGETHER)
        stride = min(len(course), max(parts, 3))
        return (tuple(course[first::stride]) for first in range(stride))

    return _by_course(faults, cut)


def _by_course(faults: Sequence[F], cut: Callable[[Sequence[F]], Iterator[tuple[F, ...]]]) -> tuple[tuple[F, ...], ...]:
    courses = dict.fromkeys((each.story, each.course) for each in faults)
    return tuple(
        part
        for story, course in courses
        for part in cut([each for each in faults if (each.story, each.course) == (story, course)])
    )


def _relayed(story: Story) -> tuple[Story, ...]:
    """The same with an application, where it can be led."""
    relayed = story._replace(has_application=True)
    return () if _wave(relayed, is_fenced=True) is None else (relayed,)


def is_order_kept(story: Story) -> bool:
    """Whether a scheme promises the order of each partition."""
    return story.scheme != Scheme.PRODUCERS_LATER.value and story.variant != "overlap"


# -- what the tables say


def _word(scheme: str) -> str:
    return "ending" if scheme == Scheme.CONSUMERS_FIRST.value else "history"


@cache
def _wave(story: Story, *, is_fenced: bool) -> Wave | None:
    """The wave that kmigrate makes of it; None if it cannot be led."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "matrix.yaml"
        text = MANIFEST % (story.scheme, _word(story.scheme), story.variant, "acl" if is_fenced else "none")
        topics, groups = [ORDERS], {"billing": {ORDERS}}
        if story.has_application:
            text += APPLICATION
            topics, groups = [ORDERS, BILLS], {"billing": {BILLS}, "relay": {ORDERS}}
        file.write_text(text, encoding="utf-8")
        (wave,), problems = plan_waves(load_manifest(file, environ={}), topics, groups)
    return None if problems else wave


def _begun(story: Story) -> Cutover:
    wave = _wave(story, is_fenced=True)
    assert wave is not None, f"{story} can be led"
    return begin(wave, 0.0)


def _walk(cutover: Cutover) -> Iterator[Cutover]:
    """A cutover at each of its steps, with all that was done before; it is left with what the last one does."""
    for index in range(len(cutover.stages)):
        cutover = replace(cutover, stage=index)
        yield cutover
        cutover = _do(cutover, len(planned(cutover, cutover.at)))


def _do(cutover: Cutover, count: int) -> Cutover:
    """The first effects of leaving its step are done."""
    for effect in planned(cutover, cutover.at)[:count]:
        done = Done(effect=effect, way=cutover.way, stage=cutover.stage)
        cutover = replace(cutover, in_force=with_done(cutover.in_force, done))
    return cutover


def _walk_back(cutover: Cutover) -> Iterator[Cutover]:
    """The same for a way back that begins at the last step; nothing where there is none."""
    *_, last = _walk(cutover)
    if cutover.wave.has_way_back:
        yield from _walk(replace(last, way=Way.BACK, came_from=last.stage, stage=0))


def _effects(cutover: Cutover) -> Iterator[tuple[Course, str, EffectKind]]:
    """(course, step, effect) of everything that is carried out."""
    forward, back = list(_walk(cutover)), list(_walk_back(cutover))
    yield from _carried(Course.FORWARD, forward)
    last = forward[-1]
    if not last.is_mixed:
        yield from _taken_back(Course.ABORT, last, OVER)
    yield from _too_late(Course.LATE, forward)
    yield from _carried(Course.BACK, back)
    yield from _too_late(Course.LATE_BACK, back)


def _carried(course: Course, way: list[Cutover]) -> Iterator[tuple[Course, str, EffectKind]]:
    for at in way:
        for effect in planned(at, at.at):
            yield course, at.at.step.name, effect.kind


def _too_late(course: Course, way: list[Cutover]) -> Iterator[tuple[Course, str, EffectKind]]:
    """What is taken back where the last effect of the last frozen step is not done in time."""
    frozen = [at for at in way if at.at.step.is_frozen]
    if not frozen:
        return
    at = frozen[-1]
    effects = planned(at, at.at)
    safe = max(index for index in range(at.stage) if not at.stages[index].step.is_frozen)
    late = replace(_do(at, len(effects) - 1), phase=Phase.ACTING, pending=effects[-1:], deadline_at=0.0)
    yield from _taken_back(course, late, safe)


def _taken_back(course: Course, at: Cutover, stage: int) -> Iterator[tuple[Course, str, EffectKind]]:
    for effect in planned_undo(at, stage):
        yield course, at.at.step.name, effect.kind
