"""A cutover is where one wave stands: one immutable value, which is all that a journal must keep of it.

Rule: every decision makes a new cutover with the next number, and is journaled before anything is done about it. Only
what is `in_force` was done to the clusters; `pending` is decided, and its first may have been done. The time since when
gates are open is an observation, not a decision: it is not journaled, and begins anew after a restart.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

from pydantic import TypeAdapter

from kmigrate.kafka_types import Offset, TopicName, TopicPartition
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.steps import Writers
from kmigrate.schemes.tables import Stage, stages_back, stages_of
from kmigrate.schemes.wave import Wave

OVER = -1
"""The stage behind the last one: the cutover has ended."""
APPENDING = frozenset({EffectKind.APPEND_LATE, EffectKind.CLOSE_OVERLAP})
"""What appends late records up to an end."""


class Way(enum.Enum):
    """Which way the service goes."""

    FORWARD = "forward"
    BACK = "back"


class Phase(enum.Enum):
    """What a cutover is doing."""

    WAITING = "waiting"
    """For the gates of its step to open, and for the operator."""
    ACTING = "acting"
    """The effects of leaving a step are carried out."""
    RETURNING = "returning"
    """Effects are taken back, the last one first."""
    OVER = "over"


class Outcome(enum.Enum):
    """How a cutover ended."""

    FINISHED = "finished"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An effect that is in force: when in the way it was done, and where logs ended, if that is what it found."""

    effect: Effect
    way: Way
    stage: int
    ends: tuple[End, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An operator's word for the irreversible step with this number, and when it was given."""

    stage: int
    way: Way
    at_seconds: float
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Cutover:
    """Where a wave stands. `number` counts decisions; a command names the one it saw.

    `stage` is an index into `stages`, `then` the one that is entered when nothing is pending any more. `deadline_at` is
    when frozen writers are free again, None where none are. `came_from` is the stage that a way back began at.
    `outcome` is decided with the last effects, and told when they are done. `trouble` is why the last effect failed or
    a step was taken back; empty if there is none. It has no slots, as what is asked of it often is kept.
    """

    wave: Wave
    number: int = 0
    way: Way = Way.FORWARD
    stage: int = 0
    phase: Phase = Phase.WAITING
    then: int = 0
    pending: tuple[Effect, ...] = ()
    in_force: tuple[Done, ...] = ()
    entered_at: float = 0.0
    deadline_at: float | None = None
    approval: Approval | None = None
    came_from: int = 0
    outcome: Outcome | None = None
    is_auto: bool = False
    trouble: str = ""
    open_since: float | None = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The steps of the way that it is on."""
        return _stages(self.wave, self.way)

    @property
    def may_begin_anew(self) -> bool:
        """An aborted cutover left everything as it was."""
        return self.phase is Phase.OVER and self.outcome is Outcome.ABORTED

    @property
    def at(self) -> Stage:
        """The step that it is at, also the last one when it is over."""
        return self.stages[self.stage]

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left but to finish it."""
        return self.way is Way.FORWARD and self.phase is Phase.WAITING and self.at.step.is_last

    @property
    def is_frozen(self) -> bool:
        """Whether writers are kept waiting."""
        return self.deadline_at is not None

    @property
    def next_effect(self) -> Effect | None:
        """What is to be carried out now, perhaps not for the first time."""
        return self.pending[0] if self.pending else None

    def topics_of(self, scope: str) -> tuple[TopicName, ...]:
        return self.wave.scope(scope).topics

    def is_in_force(self, kind: EffectKind, topic: TopicName | None = None) -> bool:
        """Whether an effect was done and not taken back: for this topic, or for any."""
        return any(
            each.effect.kind is kind and (topic is None or topic in self.topics_of(each.effect.scope))
            for each in self.in_force
        )

    @cached_property
    def promoted_topics(self) -> frozenset[TopicName]:
        """The topics that applications may write to on the target, or may be about to."""
        kinds = {EffectKind.PROMOTE, EffectKind.OPEN_OVERLAP}
        effects = [*(each.effect for each in self.in_force), *self.begun]
        return frozenset(
            topic
            for each in effects
            if each.kind in kinds or each.undoes in kinds
            for topic in self.topics_of(each.scope)
        )

    @property
    def begun(self) -> tuple[Effect, ...]:
        """Pending effects that may have been done, wholly or in part."""
        if self.phase is Phase.WAITING:
            return ()
        is_interrupted = any(each.kind is EffectKind.FORGO_LATE for each in self.pending[:1])
        return self.pending[:2] if is_interrupted else self.pending[:1]

    @cached_property
    def forgone(self) -> frozenset[TopicPartition]:
        """Partitions of which late records are not appended any more, and that no later effect has settled."""
        found: set[TopicPartition] = set()
        for each in self.in_force:
            places = {end.place for end in each.ends}
            if each.effect.kind is EffectKind.FORGO_LATE:
                found |= places
            elif each.effect.kind in APPENDING:
                found -= places
        return frozenset(found)

    @cached_property
    def is_opened(self) -> bool:
        """Whether applications write to the target beside what the source still gets, or may: nothing leads back."""
        return self._may_be_in_force(EffectKind.OPEN_OVERLAP)

    @cached_property
    def is_mixed(self) -> bool:
        """Whether records lie, or may lie, on the target that came late to the source: they stay there."""
        return self.is_opened or self._may_be_in_force(EffectKind.APPEND_LATE)

    def _may_be_in_force(self, kind: EffectKind) -> bool:
        return any(each.kind is kind for each in self.begun) or self.is_in_force(kind)

    def ends_of(self, kind: EffectKind) -> dict[TopicPartition, Offset]:
        """Where logs ended, as effects of a kind found them."""
        return {end.place: end.offset for each in self.in_force if each.effect.kind is kind for end in each.ends}

    def writers_of(self, topic: TopicName) -> Writers:
        """Where applications may write to a topic now: what its last step up to here says."""
        is_promoted = topic in self.promoted_topics
        if self.way is Way.BACK and not is_promoted:  # it never left the source: the way back stops nobody there
            return replace(self, way=Way.FORWARD, stage=self.came_from).writers_of(topic)
        if self.may_begin_anew:
            return Writers.SOURCE
        last = next((s for s in reversed(self.stages[: self.stage + 1]) if topic in s.move.topics), None)
        if last is None or last.step.writers is Writers.SOURCE:
            return Writers.SOURCE
        if (
            self.phase is Phase.RETURNING and last.number > self.then
        ):  # where it returns to is entered when all is undone
            return Writers.NOBODY
        return Writers.TARGET if last.step.writers is Writers.BOTH and last is not self.at else last.step.writers

    def approval_stage(self) -> int | None:
        """The next step that cannot be taken back, as an index; None if there is none any more."""
        ahead = range(self.stage, len(self.stages))
        return next((index for index in ahead if self.stages[index].step.is_irreversible), None)

    def is_approved(self, now: float) -> bool:
        """Whether the next step that cannot be taken back has a word that still counts."""
        given, seconds = self.approval, self.wave.limits.approval_seconds
        return (
            given is not None
            and (given.way, given.stage) == (self.way, self.approval_stage())
            and now < given.at_seconds + seconds
        )

    def groups_moved(self, kind: EffectKind) -> Iterator[str]:
        """The groups that an effect of this kind is in force for."""
        for each in self.in_force:
            if each.effect.kind is kind:
                yield from self.wave.scope(each.effect.scope).groups

    def to_value(self) -> dict[str, Any]:
        """What a journal keeps, made of what JSON is made of."""
        value: dict[str, Any] = _adapter().dump_python(replace(self, open_since=None), mode="json")
        return value

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> Cutover:
        """What `to_value` made; raises pydantic's ValidationError for anything else."""
        return _adapter().validate_python(value)


def begin(wave: Wave, now: float) -> Cutover:
    """A cutover at its first step; nothing is done yet."""
    return Cutover(wave=wave, entered_at=now)


@lru_cache(maxsize=1024)
def _stages(wave: Wave, way: Way) -> tuple[Stage, ...]:
    return stages_of(wave) if way is Way.FORWARD else stages_back(wave)


@cache
def _adapter() -> TypeAdapter[Cutover]:
    return TypeAdapter(Cutover)
