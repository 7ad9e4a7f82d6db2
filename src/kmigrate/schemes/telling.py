"""What the operator is told: where a wave stands, who has to do what, the evidence, and what the way back is.

Rule: every state and every set of facts gives a sentence and a next step; what is not known is named as such, with what
is being done about it. What cannot be taken back is listed before the step that makes it so is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmigrate.kafka_types import TopicPartition
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.checks import ASKS_NAME, examine
from kmigrate.schemes.cutover import Cutover, Outcome, Phase, Way
from kmigrate.schemes.effects import EFFECTS
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.gates import GateResult, View, partitions_of
from kmigrate.schemes.invariants import ways_out
from kmigrate.schemes.rows import NO_WAY_BACK
from kmigrate.schemes.steps import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One wave as a person reads it; times in seconds.

    `number` of `count`: the step, from 1 on. `sentence` is where it stands, `who` has to act, `todo` what is to be done
    next. `evidence` are the step's gates. `commands` lead out of here. `cannot_be_undone` is what leaving this step, or
    the next that needs an approval, makes so. `left_seconds` is until writers that wait are free, None if none wait.
    `warnings` are seen whatever the step is.
    """

    wave: str
    number: int
    count: int
    sentence: str
    who: str
    todo: str
    evidence: tuple[GateResult, ...]
    commands: tuple[str, ...]
    undo: str
    cannot_be_undone: tuple[str, ...]
    warnings: tuple[str, ...]
    elapsed_seconds: float
    left_seconds: float | None


def tell(cutover: Cutover, facts: WaveFacts, now: float) -> Situation:
    """What there is to say about a cutover now."""
    stage = cutover.at
    evidence = examine(View(cutover=cutover, facts=facts, now=now)) if cutover.phase is Phase.WAITING else ()
    sentence, who, todo = _words(cutover, evidence, now)
    ahead = cutover.approval_stage() if cutover.phase is not Phase.OVER else None
    return Situation(
        wave=cutover.wave.name,
        number=stage.number,
        count=len(cutover.stages),
        sentence=sentence,
        who=who,
        todo=todo,
        evidence=evidence,
        commands=ways_out(cutover),
        undo=_undo(cutover),
        cannot_be_undone=()
        if ahead is None
        else tuple(map(cutover.stages[ahead].words, cutover.stages[ahead].step.cannot_be_undone)),
        warnings=tuple(_warnings(cutover, facts)),
        elapsed_seconds=max(0.0, now - cutover.entered_at),
        left_seconds=None if cutover.deadline_at is None else max(0.0, cutover.deadline_at - now),
    )


def _undo(cutover: Cutover) -> str:
    """What the way back is, in words."""
    undo = cutover.at.step.undo
    if cutover.phase is Phase.OVER:
        return "none: it is over"
    if cutover.is_opened and not cutover.is_frozen:
        return NO_WAY_BACK
    if cutover.way is Way.FORWARD and not cutover.wave.has_way_back and "rollback" in undo:
        return "abort until the first record on the target, then none" if "abort" in undo else "none: none was planned"
    return undo


def _words(cutover: Cutover, evidence: tuple[GateResult, ...], now: float) -> tuple[str, str, str]:
    """Where it stands, who has to act, and what is to be done next."""
    stage, effect = cutover.at, cutover.next_effect
    back = " of the way back" if cutover.way is Way.BACK else ""
    title = f"step {stage.number} of {len(cutover.stages)}{back}: {stage.words(stage.step.title)}"
    trouble = f"; {cutover.trouble}" if cutover.trouble else ""
    nobody = "nobody"
    if cutover.phase is Phase.OVER:
        ended = _ENDS[cutover.outcome] if cutover.outcome is not None else ""
        return f"wave {cutover.wave.name}: {ended}", nobody, "nothing"
    if effect is not None:
        doing = "being taken back" if cutover.phase is Phase.RETURNING else "being done"
        sentence = f"{title}; {doing}: {EFFECTS[effect.kind].words}{trouble}"
        if cutover.phase is Phase.ACTING and cutover.trouble:
            return (
                sentence,
                Actor.OPERATOR.value,
                f"mend it: it is tried again by itself, or at once by `next`{trouble}",
            )
        return sentence, Actor.KMIGRATE.value, f"wait until {EFFECTS[effect.kind].words}"
    closed = [each for each in evidence if not each.is_open]
    if closed:
        todo = f"{stage.words(stage.step.todo)}. Missing: {closed[0].gate.value}: {closed[0].told}; {closed[0].way}"
        who = stage.step.actor.value
    elif stage.step.asks_ahead and not cutover.is_approved(now):
        todo, who = f"{stage.words(stage.step.todo)}: {ASKS_NAME.format(command='next')}", Actor.OPERATOR.value
    elif stage.step.is_frozen:
        todo, who = "wait: it goes on by itself", Actor.KMIGRATE.value
    elif cutover.is_at_end:
        needed = "the way back is not needed any more" if cutover.wave.has_way_back else "nothing is missing any more"
        todo, who = f"`kmigrate cutover finish -f FILE` once {needed}", Actor.OPERATOR.value
    elif cutover.is_auto and not stage.step.asks_ahead:
        todo, who = "wait: it goes on by itself", Actor.KMIGRATE.value
    else:
        todo = "every gate is open: go on with `kmigrate cutover next -f FILE`"
        who = Actor.OPERATOR.value
    return f"{title}{trouble}", who, todo


_ENDS = {
    Outcome.FINISHED: "the service is on the target, and the way back has ended",
    Outcome.ABORTED: "the cutover was aborted: the service is on the source, as before, and the copy goes on",
    Outcome.ROLLED_BACK: "the service is back on the source, with everything that was written to the target",
}


def _warnings(cutover: Cutover, facts: WaveFacts) -> Iterator[str]:
    """What must be noticed at every step."""
    promoted = cutover.promoted_topics
    for place, seen in partitions_of(facts, cutover.wave.topics):
        if stop := seen.late_stop or seen.stop:
            yield f"{place}: its copy is stopped as {stop}"
        topic = place.topic if isinstance(place, TopicPartition) else place
        if seen.application_records and topic not in promoted:
            yield f"{place}: {seen.application_records:,} records on the target that nobody should have written yet"
        if seen.late_records and topic in promoted and cutover.phase is not Phase.OVER:
            yield f"{place}: {seen.late_records:,} records came late to the source"
    for name in cutover.wave.groups:
        group = facts.groups.get(name)
        if (
            group is not None
            and group.source_members
            and group.target_members
            and cutover.wave.scheme is not Scheme.PRODUCERS_LATER
        ):
            yield (
                f"group {name} has members on both clusters: {group.source_members:,} on the source, "
                f"{group.target_members:,} on the target"
            )
