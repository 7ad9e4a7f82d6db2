"""What `cutover status` shows: every wave's step, its gates with their evidence, who has to do what, and the way back.

Rule: the JSON is a contract; what a person reads is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.schemes.commands import late_stops
from kmigrate.schemes.cutover import Cutover, Phase
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.telling import tell

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatus:
    """One gate: open, or closed with what is missing and the way to open it."""

    gate: str
    open: bool
    told: str
    way: str = ""


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """A step of a wave; `number` from 1 on, `done` if it is behind."""

    number: int
    name: str
    title: str
    move: str
    topics: tuple[str, ...]
    groups: tuple[str, ...]
    done: bool = False


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class WaveStatus:
    """Where one wave stands; times in seconds. `number` counts decisions: a command names the one that it saw.

    `begun` is false before the first decision. `needs_approval`: the next command must come with the migration's name.
    `late_records` came to the source behind the end of the copy and are settled by nothing yet, counted in offsets, of
    which transactions take more (null: not known); `late_appended` are the records that lie on the target.
    """

    wave: str
    scheme: str
    way: str
    phase: str
    outcome: str | None
    begun: bool
    number: int
    auto: bool
    step: StepStatus
    steps: tuple[StepStatus, ...]
    sentence: str
    who: str
    todo: str
    evidence: tuple[GateStatus, ...]
    needs_approval: bool
    commands: tuple[str, ...]
    undo: str
    cannot_be_undone: tuple[str, ...]
    warnings: tuple[str, ...]
    late_records: int | None
    late_appended: int
    late_stopped: tuple[str, ...] = ()
    """The partitions whose late records cannot be appended, and why: `next --late list` gives them up."""
    elapsed_seconds: float
    left_seconds: float | None
    seen_seconds: float | None
    """How old the facts are; null if nothing was seen yet."""

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> WaveStatus:
        """What JSON told."""
        return _wave().validate_python(value)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class CutoverDocument:
    """All waves of a migration. `live`: an owner runs and looks.

    `client_properties`: what applications are to use on the target, as the manifest says; secrets are `***`.
    """

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Cutover"] = "Cutover"
    name: str
    live: bool
    waves: tuple[WaveStatus, ...] = ()
    problems: tuple[str, ...] = ()
    client_properties: dict[str, str] = field(default_factory=dict)

    def to_value(self) -> dict[str, Any]:
        """The document as what JSON and YAML are made of."""
        value: dict[str, Any] = _document().dump_python(self, mode="json", by_alias=True)
        return value

    def to_json(self) -> str:
        return _document().dump_json(self, by_alias=True).decode()

    @classmethod
    def from_json(cls, text: str) -> CutoverDocument:
        return _document().validate_json(text)


def show_wave(cutover: Cutover, facts: WaveFacts | None, now: float) -> WaveStatus:
    """One wave as it stands now."""
    seen = WaveFacts(at_seconds=now) if facts is None else facts
    told = tell(cutover, seen, now)
    behind = cutover.stage if cutover.phase is not Phase.OVER else len(cutover.stages)
    steps = tuple(
        StepStatus(
            number=stage.number,
            name=stage.step.name,
            title=stage.words(stage.step.title),
            move=stage.move.name,
            topics=stage.move.topics,
            groups=stage.move.groups,
            done=index < behind,
        )
        for index, stage in enumerate(cutover.stages)
    )
    partitions = [each for tp, each in seen.partitions.items() if tp.topic in cutover.wave.topics]
    step = cutover.at.step
    asks = step.is_irreversible or step.asks_ahead
    return WaveStatus(
        wave=cutover.wave.name,
        scheme=cutover.wave.scheme.value,
        way=cutover.way.value,
        phase=cutover.phase.value,
        outcome=None if cutover.outcome is None or cutover.phase is not Phase.OVER else cutover.outcome.value,
        begun=cutover.number > 0,
        number=cutover.number,
        auto=cutover.is_auto,
        step=steps[cutover.stage],
        steps=steps,
        sentence=told.sentence,
        who=told.who,
        todo=told.todo,
        evidence=tuple(
            GateStatus(gate=each.gate.value, open=each.is_open, told=each.told, way=each.way) for each in told.evidence
        ),
        needs_approval=cutover.phase is Phase.WAITING and asks and not cutover.is_approved(now),
        commands=told.commands,
        undo=told.undo,
        cannot_be_undone=told.cannot_be_undone,
        warnings=told.warnings,
        late_records=_sum(each.late_records for each in partitions),
        late_appended=sum(each.late_appended for each in partitions),
        late_stopped=tuple(
            f"{place}: {why}" for place, why in sorted(late_stops(seen, cutover.promoted_topics).items())
        ),
        elapsed_seconds=round(told.elapsed_seconds, 1),
        left_seconds=None if told.left_seconds is None else round(told.left_seconds, 1),
        seen_seconds=None if facts is None else round(max(0.0, now - facts.at_seconds), 1),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """All together; None if one of them is not known."""
    known = list(counts)
    return None if None in known else sum(each for each in known if each is not None)


@cache
def _wave() -> TypeAdapter[WaveStatus]:
    return TypeAdapter(WaveStatus)


@cache
def _document() -> TypeAdapter[CutoverDocument]:
    return TypeAdapter(CutoverDocument)
