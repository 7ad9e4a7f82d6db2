"""The cutover as a plan shows it: what each wave moves, in which order, by which steps.  (pure)

Rule: as in `document.py`: keys are only ever added. Steps are told with the names of a few topics and groups; `moves`
have all of them. A wave that its scheme cannot lead has no steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ConfigDict, with_config
from pydantic.alias_generators import to_camel

from kmigrate.manifest import Ending, FenceChoice, History, Scheme, WaveWish
from kmigrate.schemes.gates import some
from kmigrate.schemes.order import wave_problems
from kmigrate.schemes.steps import Actor, Writers
from kmigrate.schemes.tables import Stage, stages_of
from kmigrate.schemes.wave import Move, MoveKind, Wave

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

NO_SCHEME = "no cutover is planned: the manifest has no scheme"


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class MovePlan:
    """Applications that change sides in the same steps; `number` from 1 on, in the order in which they move.

    `attested`: whether they stopped and started is the operator's word.
    """

    number: int
    name: str
    kind: MoveKind
    topics: tuple[str, ...]
    groups: tuple[str, ...]
    attested: bool


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step; `move` is the number of its move, null for the whole wave.

    `frozen`: writers wait, with a deadline. `approval`: the migration's name must be typed before it is left.
    """

    number: int
    name: str
    title: str
    move: int | None
    actor: Actor
    writers: Writers
    frozen: bool
    approval: bool
    undo: str
    cannot_be_undone: tuple[str, ...]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class WavePlan:
    """One wave. `history` is null with consumers-first, `ending` with the other schemes."""

    name: str
    scheme: Scheme
    history: History | None
    ending: Ending | None
    fence: FenceChoice
    way_back: bool
    topics: tuple[str, ...]
    groups: tuple[str, ...]
    moves: tuple[MovePlan, ...]
    steps: tuple[StepPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoverPlan:
    """All waves in order, what speaks against them with the way to mend it, and what moves with none of them."""

    waves: tuple[WavePlan, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    topics_outside: tuple[str, ...] = ()
    groups_outside: tuple[str, ...] = ()


def plan_cutover(
    wishes: Sequence[WaveWish],
    waves: Sequence[Wave],
    *,
    problems: Iterable[tuple[str, str]] = (),
    topics_outside: Iterable[str] = (),
    groups_outside: Iterable[str] = (),
) -> CutoverPlan:
    """What there is to show; `waves` are those of `wishes`, in the same order."""
    return CutoverPlan(
        waves=tuple(_wave(wish, wave) for wish, wave in zip(wishes, waves, strict=True)),
        problems=tuple(problems),
        topics_outside=tuple(topics_outside),
        groups_outside=tuple(groups_outside),
    )


def _wave(wish: WaveWish, wave: Wave) -> WavePlan:
    is_consumers_first = wave.scheme is Scheme.CONSUMERS_FIRST
    numbers = {move.name: number for number, move in enumerate(wave.moves, 1)}
    is_led = not any(wave_problems(wave))
    return WavePlan(
        name=wave.name,
        scheme=wave.scheme,
        history=None if is_consumers_first else wave.history,
        ending=wave.ending if is_consumers_first else None,
        fence=wish.fence,
        way_back=wave.has_way_back,
        topics=wave.topics,
        groups=wave.groups,
        moves=tuple(_move(number, move) for number, move in enumerate(wave.moves, 1)),
        steps=tuple(_step(stage, numbers.get(stage.move.name)) for stage in stages_of(wave)) if is_led else (),
    )


def _move(number: int, move: Move) -> MovePlan:
    return MovePlan(
        number=number,
        name=move.name,
        kind=move.kind,
        topics=move.topics,
        groups=move.groups,
        attested=move.is_attested,
    )


def _step(stage: Stage, move: int | None) -> StepPlan:
    step = stage.step
    return StepPlan(
        number=stage.number,
        name=step.name,
        title=_words(stage, step.title),
        move=move,
        actor=step.actor,
        writers=step.writers,
        frozen=step.is_frozen,
        approval=step.is_irreversible or step.asks_ahead,
        undo=step.undo,
        cannot_be_undone=tuple(_words(stage, each) for each in step.cannot_be_undone),
    )


def _words(stage: Stage, template: str) -> str:
    """The step's words, of many topics and groups with the first few: a wave may have thousands."""
    move = stage.move
    return template.format(
        topics=some([*move.topics]) or "no topic",
        groups=some([*move.groups]) or "its readers",
        name=move.name or "the wave",
    )
