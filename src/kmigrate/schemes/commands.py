"""What operators command, and what is refused: by name, with what to do instead.

Rule: a command names the number of the cutover that its operator saw. A refusal changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.schemes.cutover import APPENDING, OVER, Approval, Cutover, Done, Outcome, Phase, Way
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.events import (
    Abort,
    Approve,
    Command,
    Finish,
    LateChoice,
    Next,
    Refusal,
    RefusalKind,
    RollBack,
    SetAuto,
    SettleLate,
)
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.gates import partitions_of, some
from kmigrate.schemes.moving import Decision, decided, enter, leave, safe_stage, signed, take_back, with_done
from kmigrate.schemes.wave import WHOLE_WAVE


def on_command(cutover: Cutover, command: Command, facts: WaveFacts, now: float) -> Decision | Refusal:
    if cutover.phase is Phase.OVER:
        ended = "over" if cutover.outcome is None else cutover.outcome.value
        return Refusal(kind=RefusalKind.OVER, told=f"the cutover of wave {cutover.wave.name} is {ended}")
    if command.number != cutover.number:
        told = f"it was decided at number {command.number}, and the cutover is at {cutover.number}: somebody was faster"
        return Refusal(kind=RefusalKind.STALE, told=told, way="look at `kmigrate cutover status -f FILE` again")
    match command:
        case SetAuto():
            told = "steps are taken by themselves" if command.is_auto else "steps are no longer taken by themselves"
            return decided(replace(cutover, is_auto=command.is_auto, open_since=None), signed(told, command.by))
        case Approve():
            return _approve(cutover, command, now)
        case Abort():
            return _abort(cutover, facts, now, command.by)
        case RollBack():
            return _roll_back(cutover, now, command.by)
        case Next() if cutover.phase is not Phase.WAITING:
            return _try_again(cutover, command.by)
        case Finish() if not cutover.is_at_end:
            return Refusal(kind=RefusalKind.NOT_NOW, told="there are steps left", way="`kmigrate cutover next -f FILE`")
        case Next() if cutover.is_at_end:
            return Refusal(
                kind=RefusalKind.NOT_NOW,
                told="the last step is not left by `next`: it ends the way back",
                way="`kmigrate cutover finish -f FILE`",
            )
        case Next() | Finish():
            return leave(cutover, facts, now, command.by)
        case SettleLate():
            return _settle_late(cutover, command, facts)


def _try_again(cutover: Cutover, by: str) -> Decision | Refusal:
    if not cutover.trouble:
        return _busy(cutover)
    return decided(replace(cutover, trouble=""), signed(f"{cutover.next_effect}: tried again", by))


def _busy(cutover: Cutover) -> Refusal:
    return Refusal(kind=RefusalKind.NOT_NOW, told=f"being done: {cutover.next_effect}", way="wait")


def _approve(cutover: Cutover, command: Approve, now: float) -> Decision | Refusal:
    stage = cutover.approval_stage()
    if stage is None or cutover.phase is Phase.RETURNING:
        return Refusal(kind=RefusalKind.NOT_NOW, told="there is nothing to approve")
    approval = Approval(stage=stage, way=cutover.way, at_seconds=now, by=command.by)
    told = f"approved: step {cutover.stages[stage].number}, {cutover.stages[stage].step.name}"
    return decided(replace(cutover, approval=approval, open_since=None), signed(told, command.by))


def _settle_late(cutover: Cutover, command: SettleLate, facts: WaveFacts) -> Decision | Refusal:
    promoted = cutover.promoted_topics
    stopped = late_stops(facts, promoted)
    if stopped and command.choice is LateChoice.LIST and _may_append(cutover):
        return _forgo_late(cutover, stopped, command.by)
    late = sum(each.late_records or 0 for _, each in partitions_of(facts, promoted))
    if cutover.phase is not Phase.WAITING or cutover.is_frozen or cutover.way is Way.BACK:
        return Refusal(kind=RefusalKind.NOT_NOW, told="late records are settled between steps on the way forward")
    if not late:
        return Refusal(kind=RefusalKind.NOT_NOW, told="no record is known to have come late to the source")
    if cutover.at.step.name != "watch":
        told = "late records are settled when every group is on the target: until then some may read them on the source"
        return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="`kmigrate cutover next -f FILE`")
    there = [name for name in cutover.wave.groups if _may_read_on_source(facts, name)]
    if command.choice is LateChoice.APPEND and there:
        told = f"a group that reads on the source would read them twice, and these may: {some(there)}"
        return Refusal(kind=RefusalKind.CLOSED, told=told, way="stop their members on the source")
    kind = EffectKind.APPEND_LATE if command.choice is LateChoice.APPEND else EffectKind.LIST_LATE
    moved = replace(
        cutover,
        phase=Phase.ACTING,
        pending=(Effect(kind=kind, scope=WHOLE_WAVE),),
        then=cutover.stage,
        trouble="",
        open_since=None,
    )
    return decided(moved, signed(f"{late:,} late records: {command.choice.value}", command.by))


def _may_append(cutover: Cutover) -> bool:
    """Whether late records are being appended, or may be as they come."""
    if cutover.way is Way.BACK or cutover.is_frozen:
        return False
    effect = cutover.next_effect
    return cutover.phase is Phase.WAITING or (
        cutover.phase is Phase.ACTING and effect is not None and effect.kind in APPENDING
    )


def late_stops(facts: WaveFacts, topics: Iterable[TopicName]) -> dict[TopicPartition, str]:
    """The partitions of these topics whose late records are stopped, and why."""
    return {
        place: each.late_stop
        for place, each in partitions_of(facts, topics)
        if isinstance(place, TopicPartition) and each.late_stop
    }


def _forgo_late(cutover: Cutover, stopped: Collection[TopicPartition], by: str) -> Decision:
    """What cannot be appended is listed; then what was being done goes on."""
    effect = cutover.next_effect
    scope = WHOLE_WAVE if effect is None else effect.scope
    moved = replace(
        cutover,
        phase=Phase.ACTING,
        pending=(Effect(kind=EffectKind.FORGO_LATE, scope=scope, places=tuple(sorted(stopped))), *cutover.pending),
        then=cutover.stage if effect is None else cutover.then,
        trouble="",
        open_since=None,
    )
    told = ", ".join(map(str, sorted(stopped)))
    return decided(moved, signed(f"late records that cannot be appended are listed: {told}", by))


def _may_read_on_source(facts: WaveFacts, group: str) -> bool:
    seen = facts.groups.get(group)
    return seen is None or seen.source_members != 0


# -- the way out


def _abort(cutover: Cutover, facts: WaveFacts, now: float, by: str) -> Decision | Refusal:
    if cutover.phase is Phase.RETURNING:
        return _busy(cutover)
    if cutover.is_frozen:
        return take_back(cutover, safe_stage(cutover), now, signed("abort", by))
    if cutover.way is Way.BACK:
        if cutover.at.step.is_last:
            told = "the service is on the source again: only the end of the way back is left"
            return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="`kmigrate cutover next -f FILE`")
        return take_back(cutover, OVER, now, signed("abort", by))
    if cutover.is_mixed:
        told = "records that were written to the source were appended to the target, beside those of applications there"
        return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="`kmigrate cutover next -f FILE`")
    refusal = _used_on_target(cutover, facts) or _groups_in_use(cutover, facts)
    if refusal is not None:
        return refusal
    return take_back(replace(cutover, outcome=Outcome.ABORTED), OVER, now, signed("abort", by))


def _used_on_target(cutover: Cutover, facts: WaveFacts) -> Refusal | None:
    """Why an abort would lose records, or might; None if it would not."""
    way = "`kmigrate cutover rollback -f FILE` takes along what was written to the target"
    promoted = cutover.promoted_topics
    for place, seen in partitions_of(facts, promoted):
        if seen.application_records is None:
            told = f"whether an application has written to {place} on the target is not known"
            return Refusal(kind=RefusalKind.CLOSED, told=told, way=way)
        if seen.application_records:
            told = f"applications have written {seen.application_records:,} records to {place} on the target"
            return Refusal(kind=RefusalKind.CLOSED, told=told, way=way)
    return None


def _groups_in_use(cutover: Cutover, facts: WaveFacts) -> Refusal | None:
    """Why the commits of a group cannot be taken back now; None if they can."""
    captured = set(cutover.groups_moved(EffectKind.CAPTURE_COMMITS))
    prepared = set(cutover.groups_moved(EffectKind.PREPARE_GROUPS))
    if cutover.next_effect is not None and cutover.phase is Phase.ACTING:
        scope = cutover.wave.scope(cutover.next_effect.scope)
        captured |= set(scope.groups) if cutover.next_effect.kind is EffectKind.CAPTURE_COMMITS else set()
        prepared |= set(scope.groups) if cutover.next_effect.kind is EffectKind.PREPARE_GROUPS else set()
    told = []
    for name in sorted(captured | prepared):
        seen = facts.groups.get(name)
        if seen is None or seen.target_members != 0:
            told.append(f"{name} is not known to have left the target")
        elif name in captured and seen.source_members != 0:
            told.append(f"{name} is not known to be without members on the source, where it is to be committed")
    if not told:
        return None
    way = "stop these groups on both clusters; the source's may start again after the abort"
    return Refusal(kind=RefusalKind.CLOSED, told=some(told), way=way)


def _roll_back(cutover: Cutover, now: float, by: str) -> Decision | Refusal:
    if cutover.way is Way.BACK or cutover.phase is Phase.RETURNING:
        return Refusal(kind=RefusalKind.NOT_NOW, told="it is on its way back already")
    if cutover.is_frozen:
        told = "writers are waiting, and nothing was handed over yet at this step"
        return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="`kmigrate cutover abort -f FILE` sets them free")
    if not cutover.promoted_topics:
        told = "nothing was handed over to the target yet"
        return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="`kmigrate cutover abort -f FILE`")
    if not cutover.wave.has_way_back or cutover.is_opened:
        told = "no way back was planned for this wave"
        return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="`kmigrate cutover next -f FILE`")
    if cutover.outcome is Outcome.FINISHED:
        told = "it is being finished: the way back has ended"
        return Refusal(kind=RefusalKind.NOT_NOW, told=told, way="wait")
    in_force = cutover.in_force
    for begun in cutover.begun:  # it may have been done: it counts, so that the way back takes it along
        in_force = with_done(in_force, Done(effect=begun, way=cutover.way, stage=cutover.stage))
    moved = replace(
        cutover,
        way=Way.BACK,
        came_from=cutover.stage,
        in_force=in_force,
        pending=(),
        outcome=None,
        approval=None,
        trouble="",
    )
    return decided(enter(moved, 0, now), signed("rollback", by))
