"""The laws that every state of a cutover and every decision keep, as functions: what is broken, in words.

Rule: they know nothing of how the machine decides, only what must be so. An empty answer is a whole one. Tests walk all
events of all tables at random and ask after every one; the shell may ask before it journals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from kmigrate.schemes.cutover import Cutover, Outcome, Phase, Way
from kmigrate.schemes.effects import EFFECTS, EffectKind
from kmigrate.schemes.moving import Decision
from kmigrate.schemes.steps import Step, Writers
from kmigrate.schemes.tables import Stage

_LIFTED = {
    EffectKind.PUT_UP_FENCE: EffectKind.LIFT_FENCE,
    EffectKind.PUT_UP_TARGET_FENCE: EffectKind.LIFT_TARGET_FENCE,
    EffectKind.BEGIN_REVERSE_COPY: EffectKind.END_REVERSE_COPY,
    EffectKind.FREEZE_TARGET: EffectKind.UNFREEZE_TARGET,
}
"""What must not outlast a cutover, and what ends it."""
_HANDING_OVER = {EffectKind.PROMOTE, EffectKind.OPEN_OVERLAP, EffectKind.HAND_BACK}


def broken_in_table(stages: Sequence[Stage]) -> Iterator[str]:
    """The laws of a list of steps, before anything happens."""
    steps = [stage.step for stage in stages]
    if not steps or steps[0].is_frozen or not steps[-1].is_last or any(step.is_last for step in steps[:-1]):
        yield "it does not begin where writers are free, or does not end with its last step"
    for before, step in pairwise(steps):
        if step.is_frozen and not (before.is_frozen or before.asks_ahead):
            yield f"{step.name}: writers wait before anybody approved of what follows"
    for step in steps:
        yield from _broken_in_step(step)
    for topic in {topic for stage in stages for topic in stage.move.topics}:
        yield from _broken_order(topic, [s.step for s in stages if topic in s.move.topics])


def _broken_in_step(step: Step) -> Iterator[str]:
    if step.is_irreversible != bool(step.cannot_be_undone):
        yield f"{step.name}: what cannot be undone is not listed, or is listed for nothing"
    if step.is_frozen != (step.writers is Writers.NOBODY):
        yield f"{step.name}: writers wait without a deadline"
    for kind in step.effects:
        is_lasting = EFFECTS[kind].no_return and EFFECTS[kind].undo is None
        if is_lasting and not step.is_irreversible:
            yield f"{step.name}: {kind.value} cannot be taken back, and nobody is asked"
    if _HANDING_OVER & set(step.effects) and not step.is_irreversible:
        yield f"{step.name}: hands topics over without an approval"
    if not (step.title and step.todo and step.undo):
        yield f"{step.name}: the operator is not told enough"


def _broken_order(topic: str, steps: Sequence[Step]) -> Iterator[str]:
    """One writer at a time: a side is left before the other is entered, unless both are named."""
    sides = [step.writers for step in steps]
    for before, after in pairwise(sides):
        if {before, after} == {Writers.SOURCE, Writers.TARGET}:
            yield f"{topic}: writers go from the {before.value} to the {after.value} with nothing in between"


def broken_in_state(cutover: Cutover) -> Iterator[str]:
    """The laws of a state."""
    is_over = cutover.phase is Phase.OVER
    if bool(cutover.pending) != (cutover.phase in (Phase.ACTING, Phase.RETURNING)):
        yield f"{cutover.phase.value} with {len(cutover.pending)} effects pending"
    if cutover.phase is Phase.WAITING and cutover.at.step.is_frozen and cutover.deadline_at is None:
        yield f"{cutover.at.step.name}: writers wait without a deadline"
    if cutover.deadline_at is not None and cutover.phase in (Phase.RETURNING, Phase.OVER):
        yield "a deadline for writers that are free"
    if is_over and cutover.outcome is None:
        yield "it is over, and nobody can tell how"
    if is_over:
        yield from _broken_at_end(cutover)
    elif not ways_out(cutover):
        yield f"{cutover.at.step.name}: no way out"
    for topic in cutover.wave.topics:
        if cutover.writers_of(topic) is Writers.TARGET and topic not in cutover.promoted_topics and not is_over:
            yield f"{topic}: applications may write to the target, and it was not handed over"


def _broken_at_end(cutover: Cutover) -> Iterator[str]:
    for kind, lifted in _LIFTED.items():
        open_scopes = {d.effect.scope for d in cutover.in_force if d.effect.kind is kind}
        open_scopes -= {d.effect.scope for d in cutover.in_force if d.effect.kind is lifted}
        if open_scopes:
            yield f"{kind.value} outlasts it"
    if cutover.outcome is Outcome.ABORTED and any(each.effect.undo for each in cutover.in_force):
        yield "aborted, and not everything was taken back"
    if cutover.outcome is not Outcome.ABORTED:
        for topic in cutover.wave.topics:
            if not cutover.is_in_force(EffectKind.LIFT_HOLDS, topic):
                yield f"{topic}: the settings for copying outlast it"


def broken_by_decision(before: Cutover, decision: Decision, now: float) -> Iterator[str]:
    """The laws of one decision."""
    after = decision.cutover
    if after.number != before.number + (decision.entry is not None):
        yield f"number {before.number} became {after.number}, and the journal says {decision.entry!r}"
    if decision.entry is None and replace(before, open_since=None) != replace(after, open_since=None):
        yield "it changed, and the journal does not tell"
    added = [each for each in after.in_force if each not in before.in_force]
    if not {each.effect for each in added} <= {*before.begun}:
        yield f"{[str(each.effect) for each in added]} count as done, and were not decided before"
    gone = [each for each in before.in_force if each not in after.in_force]
    effect = before.next_effect
    for each in gone:
        is_undone = effect is not None and effect.undoes is each.effect.kind and effect.scope == each.effect.scope
        is_anew = any(other.effect == each.effect for other in added)
        if not (is_undone or is_anew):
            yield f"{each.effect} was forgotten"
    if before.phase is Phase.OVER and after != before:
        yield "it was over, and goes on"
    hands_over = any(each.kind in _HANDING_OVER for each in after.pending)
    if hands_over and (before.phase, after.phase) == (Phase.WAITING, Phase.ACTING) and not before.is_approved(now):
        yield f"{before.at.step.name}: hands over without an approval"
    deadlines = (before.deadline_at, after.deadline_at)
    if None not in deadlines and deadlines[0] != deadlines[1]:
        yield "the deadline of writers that wait was moved"
    yield from broken_in_state(after)


def ways_out(cutover: Cutover) -> tuple[str, ...]:
    """The commands that lead out of a state, once their gates are open: forward, or back."""
    if cutover.phase is Phase.OVER:
        return ()
    if cutover.phase is Phase.RETURNING:
        return ("next",)  # tries again what is being taken back
    found = []
    if cutover.is_at_end:
        found.append("finish")
    elif cutover.phase is Phase.WAITING or cutover.trouble:
        found.append("next")
    is_promoted = bool(cutover.promoted_topics)
    if cutover.way is Way.BACK:
        return (*found, *(() if cutover.at.step.is_last and cutover.phase is Phase.WAITING else ("abort",)))
    if cutover.is_frozen or not cutover.is_mixed:
        found.append("abort")
    if is_promoted and not cutover.is_frozen and cutover.wave.has_way_back and not cutover.is_opened:
        found.append("rollback")
    return tuple(found) or ("next",)  # it is being done: `next` tries again what fails
