"""Every state has a sentence, somebody to act, and a next step; and laws that are broken are seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.schemes.cutover import Approval, Cutover, Done, Outcome, Phase, Way, begin
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.events import EffectFailed, Next
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.invariants import broken_by_decision, broken_in_state, ways_out
from kmigrate.schemes.moving import Decision
from kmigrate.schemes.steps import Writers
from kmigrate.schemes.telling import tell
from tests.unit.schemes.examples import CLEAN, NOW, ORDERS, WAVES, facts, good_facts, group, moved, step_on, walk_to


@pytest.mark.parametrize(
    "wave", WAVES, ids=lambda wave: f"{wave.scheme.value}-{wave.history.value}-{wave.ending.value}"
)
def test_every_step_says_what_to_do_whether_facts_are_known_or_not(wave: object) -> None:
    cutover = begin(wave, NOW)  # type: ignore[arg-type]
    while True:
        for seen in (good_facts(cutover), WaveFacts(at_seconds=NOW)):
            situation = tell(cutover, seen, NOW + 5)
            assert f"step {situation.number} of {situation.count}" in situation.sentence
            assert situation.todo
            assert situation.commands
            assert "unknown" not in situation.sentence + situation.todo
        assert list(broken_in_state(cutover)) == []
        if cutover.at.step.name == "watch":
            return
        cutover = step_on(cutover)


def test_what_cannot_be_undone_is_listed_before_the_step_that_makes_it_so() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-writers")
    assert "first record that an application writes" in tell(cutover, facts(), NOW).cannot_be_undone[0]


def test_a_step_that_cannot_be_undone_says_what_to_do_and_which_command_asks_for_the_name() -> None:
    at_stop = tell(walk_to(begin(CLEAN, NOW), "stop-writers"), facts(), NOW)
    assert at_stop.todo.startswith("make ready to stop what writes orders")
    assert "`kmigrate cutover next -f FILE` lists what cannot be undone" in at_stop.todo
    at_end = walk_to(begin(CLEAN, NOW), "watch")
    assert "`kmigrate cutover finish -f FILE` lists what cannot be undone" in tell(at_end, good_facts(at_end), NOW).todo


def test_where_every_gate_is_open_nothing_is_left_to_wait_for() -> None:
    start = begin(CLEAN, NOW)
    assert tell(start, good_facts(start), NOW).todo == "every gate is open: go on with `kmigrate cutover next -f FILE`"


def test_a_freeze_shows_the_time_that_is_left() -> None:
    cutover = step_on(walk_to(begin(CLEAN, NOW), "stop-writers"))
    assert tell(cutover, facts(), NOW + 100).left_seconds == CLEAN.limits.freeze_seconds - 100


def test_what_fails_is_said_with_its_reason_and_that_it_is_tried_again() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "stop-readers")
    cutover = moved(cutover, Next(number=cutover.number), good_facts(cutover))
    assert cutover.next_effect is not None
    cutover = moved(cutover, EffectFailed(effect=cutover.next_effect, reason="no coordinator"), facts())
    situation = tell(cutover, facts(), NOW)
    assert "no coordinator" in situation.sentence
    assert "tried again" in situation.todo
    assert "next" in situation.commands


def test_clients_that_misbehave_are_named_at_every_step() -> None:
    cutover = begin(CLEAN, NOW)
    seen = facts(groups=group(target_members=2), application_records=3, stop="FOREIGN_WRITE")
    told = " ".join(tell(cutover, seen, NOW).warnings)
    assert "orders-0: 3 records on the target that nobody should have written yet" in told
    assert "orders-0: its copy is stopped as FOREIGN_WRITE" in told
    assert "group shop has members on both clusters: 1 on the source, 2 on the target" in told
    later = walk_to(cutover, "watch")
    assert "2 records came late" in " ".join(tell(later, facts(late_records=2), NOW).warnings)
    over = replace(later, phase=Phase.OVER, outcome=Outcome.FINISHED)
    assert tell(over, facts(late_records=2), NOW).warnings == (), "nobody waits for that any more"


@pytest.mark.parametrize("outcome", Outcome)
def test_an_end_says_where_the_service_is(outcome: Outcome) -> None:
    over = replace(begin(CLEAN, NOW), phase=Phase.OVER, outcome=outcome)
    assert "target" in tell(over, facts(), NOW).sentence or "source" in tell(over, facts(), NOW).sentence
    assert ways_out(over) == ()


def test_a_cutover_is_the_same_after_the_journal() -> None:
    cutover = step_on(walk_to(begin(CLEAN, NOW), "stop-writers"))
    cutover = moved(cutover, Next(number=cutover.number), good_facts(cutover))
    assert Cutover.from_value(cutover.to_value()) == cutover


def test_writers_of_a_topic_go_with_its_own_steps() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "freeze")
    bills, orders = CLEAN.topics
    assert (cutover.writers_of(bills), cutover.writers_of(orders)) == (Writers.NOBODY, Writers.SOURCE)
    cutover = walk_to(cutover, "start-application")
    assert (cutover.writers_of(bills), cutover.writers_of(orders)) == (Writers.TARGET, Writers.SOURCE)


def test_laws_that_a_state_breaks_are_seen() -> None:
    start = begin(CLEAN, NOW)
    promote = Effect(kind=EffectKind.PROMOTE, scope="writers")
    fence = Done(effect=Effect(kind=EffectKind.PUT_UP_FENCE, scope="writers"), way=Way.FORWARD, stage=0)
    over = replace(start, phase=Phase.OVER, outcome=Outcome.FINISHED, in_force=(fence,))
    frozen = replace(start, stage=next(s.number for s in start.stages if s.step.name == "freeze") - 1)
    open_target = replace(start, stage=len(start.stages) - 1)
    for state, told in (
        (replace(start, pending=(promote,)), "1 effects pending"),
        (replace(over, outcome=None), "nobody can tell how"),
        (over, "put-up-fence outlasts it"),
        (over, f"{ORDERS}: the settings for copying outlast it"),
        (frozen, "without a deadline"),
        (open_target, "was not handed over"),
    ):
        assert told in " ".join(broken_in_state(state))


def test_laws_that_a_decision_breaks_are_seen() -> None:
    start = begin(CLEAN, NOW)
    done = Done(effect=Effect(kind=EffectKind.FREEZE, scope="writers"), way=Way.FORWARD, stage=0)
    acting = replace(
        start, number=1, phase=Phase.ACTING, pending=(Effect(kind=EffectKind.PROMOTE, scope="writers"),), then=1
    )
    for before, after, entry, told in (
        (start, replace(start, trouble="x"), None, "the journal does not tell"),
        (start, start, "something", "number 0 became 0"),
        (start, replace(start, number=1, in_force=(done,)), "x", "were not decided before"),
        (replace(start, in_force=(done,)), replace(start, number=1), "x", "was forgotten"),
        (start, acting, "x", "hands over without an approval"),
        (replace(start, deadline_at=1.0), replace(start, number=1, deadline_at=2.0), "x", "was moved"),
    ):
        assert told in " ".join(broken_by_decision(before, Decision(cutover=after, entry=entry), NOW))
    approved = replace(start, approval=Approval(stage=start.approval_stage() or 0, way=Way.FORWARD, at_seconds=NOW))
    fine = replace(acting, approval=approved.approval)
    assert "approval" not in " ".join(broken_by_decision(approved, Decision(cutover=fine, entry="x"), NOW))
