"""How a cutover moves: it leaves a step, enters another, or takes back what was done since one.

Rule: the last step before a freeze is safe, as writers are free there. Effects are taken back in the reverse order;
what is pending first may have been done, so its undo comes before them. While writers wait their fence comes first, as
soon as nothing is handed over and no end is final any more: the rest may wait for a cluster that is silent, and writers
must not. What was in force before is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kmigrate.schemes.checks import examine
from kmigrate.schemes.cutover import OVER, Cutover, Done, Outcome, Phase, Way
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.events import Refusal, RefusalKind
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.gates import GateResult, View
from kmigrate.schemes.steps import Gate
from kmigrate.schemes.tables import Stage

_FENCES = frozenset({EffectKind.PUT_UP_FENCE, EffectKind.PUT_UP_TARGET_FENCE, EffectKind.LIFT_TARGET_FENCE})
_FREEING = frozenset({EffectKind.LIFT_FENCE, EffectKind.LIFT_TARGET_FENCE})
_BEFORE_FREEING = frozenset(
    {
        *(EffectKind.DEMOTE, EffectKind.CLOSE_OVERLAP, EffectKind.TAKE_AGAIN),
        *(EffectKind.UNFREEZE, EffectKind.UNFREEZE_TARGET),
    }
)
"""What no cluster is asked for, and must be so before writers come back."""
_REVERSE = frozenset({EffectKind.BEGIN_REVERSE_COPY, EffectKind.END_REVERSE_COPY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from an event. `entry` None: nothing was decided, and nothing is journaled.

    `effect` is what the caller has to carry out now, None if nothing.
    """

    cutover: Cutover
    entry: str | None = None

    @property
    def effect(self) -> Effect | None:
        return self.cutover.next_effect


def leave(cutover: Cutover, facts: WaveFacts, now: float, by: str) -> Decision | Refusal:
    """Leaves a step, if its gates are open now."""
    stage = cutover.at
    closed = [each for each in examine(View(cutover=cutover, facts=facts, now=now)) if not each.is_open]
    if closed and not _only_unapproved(closed):
        return _closed(closed)
    if closed or (stage.step.asks_ahead and not cutover.is_approved(now)):
        ahead = cutover.approval_stage()
        assert ahead is not None, "a step that needs an approval has one ahead"
        told = f"step {cutover.stages[ahead].number}, {cutover.stages[ahead].step.name}, is not approved"
        return Refusal(kind=RefusalKind.UNAPPROVED, told=told, way="type the migration's name")
    then = cutover.stage + 1
    is_over = then == len(cutover.stages)
    ends = Outcome.FINISHED if cutover.way is Way.FORWARD else Outcome.ROLLED_BACK
    moved = replace(
        cutover,
        then=OVER if is_over else then,
        outcome=ends if is_over else None,
        phase=Phase.ACTING,
        pending=_planned(cutover, stage),
        trouble="",
        open_since=None,
    )
    if not is_over and cutover.stages[then].step.is_frozen and moved.deadline_at is None:
        moved = replace(moved, deadline_at=now + cutover.wave.limits.freeze_seconds)
    if not moved.pending:
        moved = enter(moved, moved.then, now)
    return decided(moved, signed(f"left step {stage.number}, {stage.step.name}", by))


def _only_unapproved(closed: Sequence[GateResult]) -> bool:
    return all(each.gate is Gate.APPROVED for each in closed)


def _closed(closed: Sequence[GateResult]) -> Refusal:
    told = "; ".join(f"{each.gate.value}: {each.told}" for each in closed)
    return Refusal(kind=RefusalKind.CLOSED, told=told, way=closed[0].way)


def _planned(cutover: Cutover, stage: Stage) -> tuple[Effect, ...]:
    """The effects of leaving a step that this wave has: fences and a reverse copy only where it wants them.

    A fence is lifted for just those topics that it was put up for.
    """
    wave = cutover.wave
    unwanted = frozenset() if wave.is_fenced else _FENCES
    if not wave.has_way_back:
        unwanted |= _REVERSE
    planned: list[Effect] = []
    for kind in stage.step.effects:
        if kind is EffectKind.LIFT_FENCE:
            up = [each.effect.scope for each in cutover.in_force if each.effect.kind is EffectKind.PUT_UP_FENCE]
            planned += [Effect(kind=kind, scope=scope) for scope in up]
        elif kind not in unwanted:
            planned.append(Effect(kind=kind, scope=stage.move.name))
    return tuple(planned)


def take_back(cutover: Cutover, stage: int, now: float, reason: str) -> Decision:
    """Takes back what was done from a stage on; OVER is all of this way."""
    moved = replace(
        cutover,
        phase=Phase.RETURNING,
        pending=planned_undo(cutover, stage),
        then=stage,
        approval=None,
        deadline_at=None,
        trouble=reason,
        open_since=None,
        outcome=cutover.outcome if stage == OVER else None,
    )
    if not moved.pending:
        moved = enter(moved, stage, now)
    return decided(moved, reason)


def enter(cutover: Cutover, stage: int, now: float) -> Cutover:
    if stage == OVER and cutover.outcome is None:  # a way back that was given up: on where it began
        cutover, stage = replace(cutover, way=Way.FORWARD, stage=cutover.came_from), cutover.came_from
    if stage == OVER:
        return replace(cutover, phase=Phase.OVER, then=OVER, entered_at=now, deadline_at=None, approval=None)
    entered = replace(cutover, stage=stage, then=stage, phase=Phase.WAITING, entered_at=now, open_since=None)
    if not entered.at.step.is_frozen:
        entered = replace(entered, deadline_at=None)
    given = entered.approval
    if given is not None and (given.way, given.stage) != (entered.way, entered.approval_stage()):
        entered = replace(entered, approval=None)
    return entered


def safe_stage(cutover: Cutover) -> int:
    """The last step, at or before this one, at which no writer is kept waiting."""
    return next(index for index in range(cutover.stage, -1, -1) if not cutover.stages[index].step.is_frozen)


def planned_undo(cutover: Cutover, stage: int) -> tuple[Effect, ...]:
    """The undos that lead back to a stage of this way, or to before its first one."""
    first = 0 if stage == OVER else stage
    done = [each.effect for each in cutover.in_force if each.way is cutover.way and each.stage >= first]
    maybe = cutover.next_effect
    if maybe is not None and cutover.phase is Phase.ACTING and maybe not in [each.effect for each in cutover.in_force]:
        done.append(maybe)
    undos = [undo for each in reversed(done) if (undo := each.undo) is not None]
    return tuple(_writers_first(undos) if cutover.is_frozen else undos)


def _writers_first(undos: Sequence[Effect]) -> list[Effect]:
    """The same, but writers that wait are let go as soon as their topics are nobody else's, and no end is final."""
    up_again = {(each.kind, each.scope) for each in undos}

    def rank(undo: Effect) -> int:
        if undo.kind in _BEFORE_FREEING:
            return 0
        frees = undo.kind in _FREEING and (undo.undoes, undo.scope) not in up_again
        return 1 if frees else 2

    return sorted(undos, key=rank)


def with_done(in_force: tuple[Done, ...], done: Done) -> tuple[Done, ...]:
    """What is in force once an effect was done: an undo takes its effect out; what is in force already stays."""
    effect = done.effect
    same = [each for each in in_force if each.effect.scope == effect.scope]
    if effect.undoes is not None:
        taken = next((each for each in reversed(same) if each.effect.kind is effect.undoes), None)
        return tuple(each for each in in_force if each is not taken)
    if not done.ends and any(each.effect.kind is effect.kind for each in same):
        return in_force
    return (*(each for each in in_force if each.effect != effect), done)


def decided(cutover: Cutover, entry: str) -> Decision:
    return Decision(cutover=replace(cutover, number=cutover.number + 1), entry=entry)


def signed(told: str, by: str) -> str:
    return f"{told} ({by})" if by else told
