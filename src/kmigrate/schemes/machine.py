"""The machine: where a cutover stands × what happened → where it stands next, what is journaled, what is done first.

Rule: one function for every scheme; what differs stands in the tables. It decides and returns, and does nothing: the
caller journals `Decision.entry` with the cutover, and only then carries out `Decision.effect`, one at a time.

::

    WAITING ──next, gates open──▶ ACTING ──effects done──▶ WAITING at the next step, or OVER
       │                            │
       └─abort, deadline, a broken freeze─▶ RETURNING ──undone──▶ WAITING at an earlier step, or OVER

Whatever dies in between, the journaled cutover tells what is pending, and `resume` begins it again.
"""

from __future__ import annotations

from dataclasses import replace

from kmigrate.schemes.checks import examine
from kmigrate.schemes.commands import on_command
from kmigrate.schemes.cutover import Cutover, Done, Phase, Way
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.events import (
    ApprovalExpired,
    DeadlinePassed,
    EffectDone,
    EffectFailed,
    Event,
    FactsSeen,
    HoldReached,
    Refusal,
    RefusalKind,
    TimeEvent,
)
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.gates import View, some
from kmigrate.schemes.moving import Decision, decided, enter, leave, safe_stage, take_back, with_done


def decide(cutover: Cutover, event: Event, facts: WaveFacts, now: float) -> Decision | Refusal:
    """What follows from an event; a refusal changes nothing. `now` in seconds since the epoch."""
    match event:
        case FactsSeen():
            return _on_facts(cutover, facts, now)
        case EffectDone() | EffectFailed() if event.effect != cutover.next_effect:
            return Refusal(kind=RefusalKind.NOT_NOW, told=f"{event.effect} is not what is being done")
        case EffectDone():
            return _on_done(cutover, event, now)
        case EffectFailed():
            return _on_failed(cutover, event, now)
        case DeadlinePassed() | ApprovalExpired() | HoldReached():
            return _on_time(cutover, event, facts, now)
        case _:
            return on_command(cutover, event, facts, now)


def resume(cutover: Cutover) -> Decision:
    """What a process that has read the journal does first: what is pending, perhaps once more."""
    return Decision(cutover=replace(cutover, open_since=None))


def due(cutover: Cutover, facts: WaveFacts, now: float) -> tuple[TimeEvent, ...]:
    """The events of time that are due now, in the order in which they are to be posted."""
    found: list[TimeEvent] = []
    if _is_late(cutover, now):
        found.append(DeadlinePassed())
    if cutover.approval is not None and not _still_counts(cutover, now):
        found.append(ApprovalExpired())
    if _is_held(cutover, facts, now):
        found.append(HoldReached())
    return tuple(found)


# -- what happens by itself


def _on_facts(cutover: Cutover, facts: WaveFacts, now: float) -> Decision:
    broken = _broken_freeze(cutover, facts)
    if broken:
        return take_back(cutover, safe_stage(cutover), now, f"the freeze was broken: {broken}")
    if cutover.phase is not Phase.WAITING:
        return Decision(cutover=cutover)
    is_open = all(result.is_open for result in examine(View(cutover=cutover, facts=facts, now=now)))
    since = (now if cutover.open_since is None else cutover.open_since) if is_open else None
    return Decision(cutover=replace(cutover, open_since=since))


def _broken_freeze(cutover: Cutover, facts: WaveFacts) -> str:
    """Partitions that are not where they were frozen, on the side that is; empty if there are none."""
    if not cutover.is_frozen or cutover.phase is Phase.RETURNING:
        return ""
    is_back = cutover.way is Way.BACK
    ends = cutover.ends_of(EffectKind.FREEZE_TARGET if is_back else EffectKind.FREEZE)
    found = []
    for place, frozen in ends.items():
        seen = facts.partitions.get(place)
        end = None if seen is None else seen.target_end if is_back else seen.source_end
        if end is not None and end > frozen and place.topic in cutover.at.move.topics:
            found.append(f"{place} ends at {end:,}, was frozen at {frozen:,}")
    return some(found) if found else ""


def _on_time(cutover: Cutover, event: TimeEvent, facts: WaveFacts, now: float) -> Decision | Refusal:
    early = Refusal(kind=RefusalKind.NOT_NOW, told="it is not time for that")
    match event:
        case DeadlinePassed() if _is_late(cutover, now):
            seconds = cutover.wave.limits.freeze_seconds
            return take_back(
                cutover, safe_stage(cutover), now, f"{cutover.at.step.name}: not done within {seconds:g} s"
            )
        case ApprovalExpired() if cutover.approval is not None and not _still_counts(cutover, now):
            return decided(replace(cutover, approval=None), "the approval expired")
        case HoldReached() if _is_held(cutover, facts, now):
            return leave(cutover, facts, now, "by itself")
        case _:
            return early


def _is_late(cutover: Cutover, now: float) -> bool:
    is_on_its_way = cutover.phase in (Phase.WAITING, Phase.ACTING)
    return cutover.deadline_at is not None and now >= cutover.deadline_at and is_on_its_way


def _still_counts(cutover: Cutover, now: float) -> bool:
    given = cutover.approval
    return given is not None and now < given.at_seconds + cutover.wave.limits.approval_seconds


def _is_held(cutover: Cutover, facts: WaveFacts, now: float) -> bool:
    """Whether the step is taken by itself now: always inside a freeze, elsewhere only where that was asked for."""
    step = cutover.at.step
    if cutover.phase is not Phase.WAITING or (step.is_last and cutover.way is Way.FORWARD):
        return False
    if step.asks_ahead or not (step.is_frozen or cutover.is_auto):
        return False  # to leave a step that begins a freeze is the operator's word that applications are stopped
    seconds = 0.0 if step.is_frozen else cutover.wave.limits.auto_hold_seconds
    if cutover.open_since is None or now - cutover.open_since < seconds:
        return False
    return all(result.is_open for result in examine(View(cutover=cutover, facts=facts, now=now)))


# -- effects end


def _on_done(cutover: Cutover, event: EffectDone, now: float) -> Decision:
    effect, rest = event.effect, cutover.pending[1:]
    done = Done(effect=effect, way=cutover.way, stage=cutover.stage, ends=event.ends)
    moved = replace(cutover, pending=rest, in_force=with_done(cutover.in_force, done), trouble="", open_since=None)
    if cutover.phase is Phase.RETURNING:
        moved = replace(moved, trouble=cutover.trouble)
    if not rest:
        moved = enter(moved, moved.then, now)
    return decided(moved, f"{effect}: done{_left_behind(event)}")


def _left_behind(event: EffectDone) -> str:
    """What stays on the source, for the journal and the report; empty for all other effects."""
    if event.effect.kind is not EffectKind.FORGO_LATE:
        return ""
    left = [f"{end.place} from source offset {end.offset:,} on" for end in event.ends]
    return f", neither appended nor compared: {', '.join(left)}"


def _on_failed(cutover: Cutover, event: EffectFailed, now: float) -> Decision:
    told = f"{event.effect}: {event.reason}"
    if event.is_final and cutover.is_frozen and cutover.phase is Phase.ACTING:
        return take_back(cutover, safe_stage(cutover), now, told)
    if told == cutover.trouble:
        return Decision(cutover=cutover)
    return decided(replace(cutover, trouble=told), told)
