"""What follows from each event, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.kafka_types import Offset, Partition
from kmigrate.schemes.cutover import Cutover, Outcome, Phase, Way, begin
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.events import (
    Abort,
    ApprovalExpired,
    Approve,
    DeadlinePassed,
    EffectDone,
    EffectFailed,
    FactsSeen,
    Finish,
    HoldReached,
    LateChoice,
    Next,
    Refusal,
    RefusalKind,
    RollBack,
    SetAuto,
    SettleLate,
)
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.invariants import broken_by_decision, broken_in_state, ways_out
from kmigrate.schemes.machine import decide, due, resume
from kmigrate.schemes.moving import Decision
from kmigrate.schemes.telling import tell
from kmigrate.schemes.wave import Wave
from tests.unit.schemes.examples import (
    CLEAN,
    END,
    GONE,
    LATER,
    MOVED,
    NOW,
    ORDERS,
    OVERLAP,
    ROLLING,
    STOPPED,
    WAVES,
    act,
    facts,
    good_facts,
    group,
    moved,
    step_on,
    walk_to,
)


def refused(cutover: Cutover, event: object, seen: WaveFacts, now: float = NOW) -> Refusal:
    answer = decide(cutover, event, seen, now)  # type: ignore[arg-type]
    assert isinstance(answer, Refusal), answer
    return answer


@pytest.mark.parametrize(
    "wave", WAVES, ids=lambda wave: f"{wave.scheme.value}-{wave.history.value}-{wave.ending.value}"
)
def test_every_scheme_leads_to_its_end_where_all_goes_well(wave: Wave) -> None:
    cutover = walk_to(begin(wave, NOW), "watch")
    seen = good_facts(cutover)
    assert refused(cutover, Next(number=cutover.number), seen).kind is RefusalKind.NOT_NOW
    cutover = moved(cutover, Approve(number=cutover.number), seen)
    cutover = act(moved(cutover, Finish(number=cutover.number), seen))
    assert (cutover.phase, cutover.outcome) == (Phase.OVER, Outcome.FINISHED)
    assert refused(cutover, Next(number=cutover.number), seen).kind is RefusalKind.OVER


@pytest.mark.parametrize(
    "wave",
    [wave for wave in WAVES if wave.has_way_back],
    ids=lambda wave: f"{wave.scheme.value}-{wave.history.value}-{wave.ending.value}",
)
def test_the_way_back_leads_to_the_source(wave: Wave) -> None:
    cutover = walk_to(begin(wave, NOW), "watch")
    cutover = moved(cutover, RollBack(number=cutover.number), good_facts(cutover))
    assert (cutover.way, cutover.at.step.name) == (Way.BACK, "stop-on-target")
    while cutover.phase is not Phase.OVER:
        cutover = step_on(cutover)
    assert cutover.outcome is Outcome.ROLLED_BACK


def test_of_two_who_press_next_at_once_one_wins_and_the_other_is_told() -> None:
    cutover = begin(CLEAN, NOW)
    seen = good_facts(cutover)
    after = moved(cutover, Next(number=0), seen)
    refusal = refused(after, Next(number=0), seen)
    assert refusal.kind is RefusalKind.STALE
    assert "somebody was faster" in refusal.told


def test_a_decision_is_journaled_before_its_effect_is_known_and_an_observation_is_not() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-readers")
    looked = decide(cutover, FactsSeen(), good_facts(cutover), NOW)
    assert not isinstance(looked, Refusal)
    assert (looked.entry, looked.effect, looked.cutover.open_since) == (None, None, NOW)
    left = decide(cutover, Next(number=cutover.number, by="ann"), good_facts(cutover), NOW)
    assert not isinstance(left, Refusal)
    assert left.entry == f"left step {cutover.at.number}, stop-readers (ann)"
    assert left.effect == Effect(kind=EffectKind.CAPTURE_COMMITS, scope="readers")
    assert left.cutover.number == cutover.number + 1


def test_after_a_crash_the_same_effect_is_carried_out_again() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-readers")
    left = moved(cutover, Next(number=cutover.number), good_facts(cutover))
    loaded = Cutover.from_value(left.to_value())
    assert resume(loaded).effect == left.next_effect
    assert resume(loaded).cutover == replace(left, open_since=None)


def test_an_answer_about_another_effect_changes_nothing() -> None:
    cutover = begin(CLEAN, NOW)
    late = EffectDone(effect=Effect(kind=EffectKind.PROMOTE, scope=""))
    assert refused(cutover, late, facts()).kind is RefusalKind.NOT_NOW


def test_a_closed_gate_refuses_with_its_reason_and_the_way_to_open_it() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-readers")
    refusal = refused(cutover, Next(number=cutover.number), facts())
    assert refusal.kind is RefusalKind.CLOSED
    assert "shop: 1 member on the source" in refusal.told
    assert refusal.way


def test_nobody_is_made_to_wait_for_a_handover_that_nobody_approved() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-writers")
    refusal = refused(cutover, Next(number=cutover.number), good_facts(cutover))
    assert refusal.kind is RefusalKind.UNAPPROVED
    assert "promote" in refusal.told


def frozen() -> Cutover:
    cutover = walk_to(begin(CLEAN, NOW), "stop-writers")
    cutover = step_on(cutover)
    assert cutover.at.step.name == "freeze"
    return cutover


def test_a_freeze_begins_with_the_decision_and_keeps_its_deadline() -> None:
    cutover = frozen()
    assert cutover.deadline_at == NOW + CLEAN.limits.freeze_seconds
    later = step_on(cutover, NOW + 100)
    assert (later.at.step.name, later.deadline_at) == ("promote", cutover.deadline_at)
    assert step_on(later, NOW + 200).deadline_at is None


def test_after_the_deadline_writers_are_free_again_by_themselves() -> None:
    cutover = frozen()
    late = NOW + CLEAN.limits.freeze_seconds
    assert due(cutover, facts(), late - 0.1) == ()
    assert due(cutover, facts(), late) == (DeadlinePassed(),)
    assert refused(cutover, DeadlinePassed(), facts(), late - 0.1).kind is RefusalKind.NOT_NOW
    back = moved(cutover, DeadlinePassed(), facts(), late)
    assert (back.phase, back.deadline_at, back.approval) == (Phase.RETURNING, None, None)
    assert back.pending == (Effect(kind=EffectKind.LIFT_FENCE, scope="writers", undoes=EffectKind.PUT_UP_FENCE),)
    assert act(back).at.step.name == "stop-writers"


def test_a_record_that_arrives_after_the_freeze_takes_it_back() -> None:
    cutover = step_on(frozen())
    assert cutover.at.step.name == "promote"
    back = moved(cutover, FactsSeen(), facts(source_end=501))
    assert back.phase is Phase.RETURNING
    assert "orders-0 ends at 501, was frozen at 500" in back.trouble
    assert [each.kind for each in back.pending] == [EffectKind.UNFREEZE, EffectKind.LIFT_FENCE]


def test_what_fails_for_good_in_a_freeze_takes_it_back_at_once_and_else_is_tried_again() -> None:
    cutover = frozen()
    cutover = moved(cutover, Next(number=cutover.number), good_facts(cutover))
    assert cutover.next_effect is not None
    failed = EffectFailed(effect=cutover.next_effect, reason="no answer in time")
    tried = moved(cutover, failed, facts())
    assert (tried.next_effect, tried.phase) == (cutover.next_effect, Phase.ACTING)
    assert "no answer in time" in tried.trouble
    again = decide(tried, failed, facts(), NOW)
    assert not isinstance(again, Refusal)
    assert again.entry is None, "the same trouble is journaled once"
    assert moved(tried, replace(failed, is_final=True), facts()).phase is Phase.RETURNING


def test_inside_a_freeze_it_goes_on_by_itself_and_elsewhere_only_where_that_was_asked_for() -> None:
    cutover = frozen()
    seen = good_facts(cutover)
    assert due(cutover, seen, NOW) == ()
    cutover = moved(cutover, FactsSeen(), seen)
    assert due(cutover, seen, NOW) == (HoldReached(),)
    assert moved(cutover, HoldReached(), seen).phase is Phase.ACTING

    cutover = begin(CLEAN, NOW)
    seen = good_facts(cutover)
    cutover = moved(cutover, FactsSeen(), seen)
    assert due(cutover, seen, NOW + 1000) == ()
    cutover = moved(moved(cutover, SetAuto(number=0, is_auto=True), seen), FactsSeen(), seen)
    hold = CLEAN.limits.auto_hold_seconds
    assert due(cutover, seen, NOW + hold - 1) == ()
    assert due(cutover, seen, NOW + hold) == (HoldReached(),)
    closed = facts(is_in_sync=False)
    assert due(cutover, closed, NOW + hold) == ()
    assert moved(cutover, FactsSeen(), closed).open_since is None


def test_finish_is_never_taken_by_itself() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "watch")
    seen = good_facts(cutover)
    cutover = moved(cutover, SetAuto(number=cutover.number, is_auto=True), seen)
    cutover = moved(moved(cutover, Approve(number=cutover.number), seen), FactsSeen(), seen)
    assert due(cutover, seen, NOW + 800) == ()


def test_a_freeze_is_never_begun_by_itself() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-writers")
    seen = good_facts(cutover)
    cutover = moved(cutover, SetAuto(number=cutover.number, is_auto=True), seen)
    cutover = moved(moved(cutover, Approve(number=cutover.number), seen), FactsSeen(), seen)
    assert due(cutover, seen, NOW + 800) == ()


def test_an_approval_expires_and_counts_for_one_step() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-writers")
    cutover = moved(cutover, Approve(number=cutover.number), facts())
    end = NOW + CLEAN.limits.approval_seconds
    assert due(cutover, facts(), end - 1) == ()
    assert due(cutover, facts(), end) == (ApprovalExpired(),)
    expired = moved(cutover, ApprovalExpired(), facts(), end)
    assert expired.approval is None
    cutover = walk_to(cutover, "start-writers")
    assert cutover.approval is None


def test_abort_takes_everything_back_in_the_reverse_order() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "start-readers")
    back = moved(cutover, Abort(number=cutover.number), facts(groups=GONE))
    assert [each.kind for each in back.pending] == [EffectKind.TRANSLATE_BACK]
    over = act(back)
    assert (over.phase, over.outcome, over.in_force) == (Phase.OVER, Outcome.ABORTED, ())


@pytest.mark.parametrize("there", [group(source_members=0, target_members=1), group(), group(target_members=None)])
def test_abort_waits_for_groups_that_are_to_be_committed_on_the_source(there: object) -> None:
    cutover = walk_to(begin(CLEAN, NOW), "start-readers")
    refusal = refused(cutover, Abort(number=cutover.number), facts(groups=there))  # type: ignore[arg-type]
    assert refusal.kind is RefusalKind.CLOSED
    assert "shop is not known" in refusal.told


@pytest.mark.parametrize("records", [1, None])
def test_abort_ends_with_the_first_record_of_an_application_on_the_target(records: int | None) -> None:
    cutover = walk_to(begin(ROLLING, NOW), "move-writers")
    seen = facts(ROLLING, application_records=records)
    refusal = refused(cutover, Abort(number=cutover.number), seen)
    assert refusal.kind is RefusalKind.CLOSED
    assert "rollback" in refusal.way
    assert act(moved(cutover, Abort(number=cutover.number), facts(ROLLING))).outcome is Outcome.ABORTED


def test_abort_in_a_freeze_leads_back_to_the_step_before_it() -> None:
    cutover = step_on(frozen())
    back = act(moved(cutover, Abort(number=cutover.number), facts(groups=None)))
    assert (back.at.step.name, back.phase, back.outcome) == ("stop-writers", Phase.WAITING, None)


def test_what_may_have_been_done_is_taken_back_as_well() -> None:
    cutover = frozen()
    cutover = moved(cutover, Next(number=cutover.number), good_facts(cutover))
    assert cutover.next_effect == Effect(kind=EffectKind.FREEZE, scope="writers")
    back = moved(cutover, Abort(number=cutover.number), facts())
    assert [each.kind for each in back.pending] == [EffectKind.UNFREEZE, EffectKind.LIFT_FENCE]


def test_rollback_is_refused_by_name_where_it_does_not_fit() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-readers")
    assert "nothing was handed over" in refused(cutover, RollBack(number=cutover.number), facts()).told
    cutover = frozen()
    assert "abort" in refused(cutover, RollBack(number=cutover.number), facts()).way
    one_way = walk_to(begin(replace(CLEAN, has_way_back=False), NOW), "start-writers")
    assert "no way back was planned" in refused(one_way, RollBack(number=one_way.number), facts()).told


def test_a_way_back_that_is_given_up_goes_on_where_it_began() -> None:
    there = walk_to(begin(STOPPED, NOW), "move-readers")
    cutover = moved(there, RollBack(number=there.number), good_facts(there))
    cutover = step_on(cutover)
    assert cutover.at.step.name == "freeze-back"
    cutover = act(moved(cutover, Abort(number=cutover.number), facts(STOPPED)))
    assert (cutover.way, cutover.at.step.name) == (Way.BACK, "stop-on-target")
    cutover = act(moved(cutover, Abort(number=cutover.number), facts(STOPPED)))
    assert (cutover.way, cutover.at) == (Way.FORWARD, there.at)
    assert cutover.in_force == there.in_force


def test_late_records_are_settled_only_when_no_group_may_read_them_on_the_source() -> None:
    settle = LateChoice.APPEND
    early = walk_to(begin(ROLLING, NOW), "drain")
    told = refused(early, SettleLate(number=early.number, choice=settle), facts(ROLLING, late_records=2)).told
    assert "every group is on the target" in told
    cutover = walk_to(begin(ROLLING, NOW), "watch")
    assert "no record" in refused(cutover, SettleLate(number=cutover.number, choice=settle), facts(ROLLING)).told
    there = facts(ROLLING, late_records=2)
    told = refused(cutover, SettleLate(number=cutover.number, choice=settle), there)
    assert (told.kind, "would read them twice" in told.told) == (RefusalKind.CLOSED, True), "it reads on the source"
    listed = moved(cutover, SettleLate(number=cutover.number, choice=LateChoice.LIST), there)
    assert listed.next_effect == Effect(kind=EffectKind.LIST_LATE, scope="")
    late = facts(ROLLING, groups=MOVED, late_records=2)
    acting = moved(cutover, SettleLate(number=cutover.number, choice=settle), late)
    assert acting.next_effect == Effect(kind=EffectKind.APPEND_LATE, scope="")
    assert act(acting).at == cutover.at
    assert "were appended" in refused(act(acting), Abort(number=act(acting).number), facts(ROLLING)).told


def test_late_records_that_cannot_be_appended_are_listed_and_what_was_being_done_goes_on() -> None:
    late = facts(ROLLING, groups=MOVED, late_records=2)
    cutover = walk_to(begin(ROLLING, NOW), "watch")
    acting = moved(cutover, SettleLate(number=cutover.number, choice=LateChoice.APPEND), late)
    listing = SettleLate(number=acting.number, choice=LateChoice.LIST)
    assert refused(acting, listing, late).kind is RefusalKind.NOT_NOW, "nothing keeps it from its end"
    stopped = facts(ROLLING, groups=MOVED, late_records=2, late_stop="LATE_SOURCE_TRIMMED at source offset 7: …")
    forgoing = moved(acting, listing, stopped)
    assert [each.kind for each in forgoing.pending] == [EffectKind.FORGO_LATE, EffectKind.APPEND_LATE]
    assert forgoing.pending[0].places == tuple(sorted(stopped.partitions)), "it names what it is about"
    assert Cutover.from_value(forgoing.to_value()) == forgoing
    assert forgoing.is_mixed, "some may lie on the target"
    ends = (End(ROLLING.topics[0], Partition(0), Offset(7)),)
    forgone = moved(forgoing, EffectDone(effect=forgoing.pending[0], ends=ends), stopped)
    assert forgone.forgone == {ends[0].place}
    assert forgone.next_effect == acting.next_effect
    settled = moved(forgone, EffectDone(effect=forgone.pending[0], ends=ends), late)
    assert (settled.forgone, settled.at, settled.phase) == (frozenset(), cutover.at, Phase.WAITING)


def test_a_way_back_knows_that_late_records_were_being_appended_when_some_were_given_up() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "watch")
    late = facts(CLEAN, groups=MOVED, late_records=2)
    acting = moved(cutover, SettleLate(number=cutover.number, choice=LateChoice.APPEND), late)
    stopped = facts(CLEAN, groups=MOVED, late_records=2, late_stop="LATE_REFUSED at source offset 7: …")
    forgoing = moved(acting, SettleLate(number=acting.number, choice=LateChoice.LIST), stopped)
    answer = decide(forgoing, RollBack(number=forgoing.number), stopped, NOW)
    assert isinstance(answer, Decision)
    assert list(broken_by_decision(forgoing, answer, NOW)) == []
    assert answer.cutover.is_in_force(EffectKind.APPEND_LATE)


def test_while_both_sides_are_written_a_partition_that_stops_can_be_given_up() -> None:
    cutover = walk_to(begin(OVERLAP, NOW), "move-writers")
    stopped = facts(OVERLAP, late_stop="LATE_UNKNOWN at source offset 7: …")
    forgoing = moved(cutover, SettleLate(number=cutover.number, choice=LateChoice.LIST), stopped)
    assert [each.kind for each in forgoing.pending] == [EffectKind.FORGO_LATE]
    assert act(forgoing).at == cutover.at
    assert act(forgoing).is_opened


def test_from_the_opening_on_nothing_leads_back() -> None:
    before = walk_to(begin(OVERLAP, NOW), "open")
    assert "abort" in ways_out(before)
    approved = moved(before, Approve(number=before.number), good_facts(before))
    opening = moved(approved, Next(number=approved.number), good_facts(approved))
    kinds = [each.kind for each in opening.pending]
    assert kinds == [EffectKind.END_COPY, EffectKind.LIFT_HOLDS, EffectKind.PROMOTE, EffectKind.OPEN_OVERLAP]
    assert not opening.is_opened, "the copy may still go on"
    while opening.next_effect is not None and opening.next_effect.kind is not EffectKind.OPEN_OVERLAP:
        opening = moved(opening, EffectDone(effect=opening.next_effect), facts(OVERLAP))
    for cutover in (opening, act(opening, facts(OVERLAP))):
        assert "beside" in refused(cutover, Abort(number=cutover.number), facts(OVERLAP)).told
        assert "no way back" in refused(cutover, RollBack(number=cutover.number), facts(OVERLAP)).told
        assert ways_out(cutover) == ("next",)
        assert list(broken_in_state(cutover)) == []
    assert cutover.at.step.name == "move-writers"
    assert cutover.promoted_topics >= {ORDERS}
    assert tell(cutover, facts(OVERLAP), NOW).undo == "none: records of both clusters mix on the target"


def test_an_overlap_is_left_once_everything_is_appended() -> None:
    cutover = walk_to(begin(OVERLAP, NOW), "move-writers")
    seen = good_facts(cutover)
    behind = {tp: replace(each, copied=Offset(END - 1)) for tp, each in seen.partitions.items()}
    told = refused(cutover, Next(number=cutover.number), replace(seen, partitions=behind))
    assert "all-copied" in told.told
    left = moved(cutover, Next(number=cutover.number), seen)
    assert [each.kind for each in left.pending] == [EffectKind.PUT_UP_FENCE, EffectKind.CLOSE_OVERLAP]


def test_a_fence_is_lifted_for_the_topics_that_it_was_put_up_for() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "watch")
    cutover = moved(cutover, Approve(number=cutover.number), good_facts(cutover))
    cutover = moved(cutover, Finish(number=cutover.number), good_facts(cutover))
    scopes = [each.scope for each in cutover.pending if each.kind is EffectKind.LIFT_FENCE]
    assert scopes == ["application", "writers"]


def test_without_a_fence_and_a_way_back_nothing_of_both_is_done() -> None:
    cutover = begin(replace(LATER, is_fenced=False, has_way_back=False), NOW)
    kinds = set()
    while cutover.at.step.name != "watch":
        cutover = step_on(cutover)
        kinds |= {each.effect.kind for each in cutover.in_force}
    assert EffectKind.PROMOTE in kinds
    assert not kinds & {EffectKind.PUT_UP_FENCE, EffectKind.BEGIN_REVERSE_COPY}
    assert cutover.is_in_force(EffectKind.PROMOTE, ORDERS)
