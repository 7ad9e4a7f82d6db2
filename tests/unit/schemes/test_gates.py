"""What is not known counts as no, and a closed gate says which, how many, and what opens it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.kafka_types import ProducerId
from kmigrate.schemes.checks import check, examine
from kmigrate.schemes.cutover import Cutover, begin
from kmigrate.schemes.events import RollBack
from kmigrate.schemes.facts import Straggler, WaveFacts
from kmigrate.schemes.gates import View
from kmigrate.schemes.steps import Gate
from kmigrate.schemes.tables import stages_of
from kmigrate.schemes.wave import Move
from tests.unit.schemes.examples import (
    BILLS,
    BILLS_0,
    CLEAN,
    MOVED,
    NOW,
    ORDERS_0,
    WAVES,
    facts,
    good_facts,
    moved,
    partition,
    step_on,
    walk_to,
)

NOTHING = WaveFacts(at_seconds=NOW)


def answer(cutover: Cutover, gate: Gate, seen: WaveFacts, now: float = NOW) -> str:
    """Empty if the gate is open, else what is missing."""
    result = check(gate, View(cutover=cutover, facts=seen, now=now))
    assert bool(result.way) != result.is_open, "the way is told where it is closed"
    return "" if result.is_open else result.told


@pytest.mark.parametrize(
    "wave", WAVES, ids=lambda wave: f"{wave.scheme.value}-{wave.history.value}-{wave.ending.value}"
)
def test_where_nothing_is_known_no_step_is_left(wave: object) -> None:
    for number in range(len(stages_of(wave))):  # type: ignore[arg-type]
        cutover = replace(begin(wave, NOW), stage=number)  # type: ignore[arg-type]
        results = examine(View(cutover=cutover, facts=NOTHING, now=NOW))
        assert not all(result.is_open for result in results)
        for result in results:
            scope = cutover.at.move
            needs_groups = not scope.topics
            assert not result.is_open or needs_groups or not scope.groups or result.gate is Gate.PREPARED, result


def test_a_fence_shortens_the_time_for_which_log_ends_must_stand_still() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "freeze")
    still = facts(source_still_since=NOW - 2)
    assert answer(cutover, Gate.WRITERS_STOPPED, still) == ""
    unfenced = walk_to(begin(replace(CLEAN, is_fenced=False), NOW), "freeze")
    assert "still for 2 of 330 s" in answer(unfenced, Gate.WRITERS_STOPPED, still)
    assert answer(unfenced, Gate.WRITERS_STOPPED, still, NOW + 328) == ""
    assert "no fence is seen" in answer(cutover, Gate.WRITERS_STOPPED, replace(still, fenced_on_source=frozenset()))
    assert "no fence is seen" in answer(cutover, Gate.WRITERS_STOPPED, replace(still, fenced_on_source=None))


def test_on_the_way_back_what_still_arrives_on_the_source_is_waited_for_and_other_topics_go_on() -> None:
    handed_over = walk_to(begin(replace(CLEAN, is_fenced=False), NOW), "start-application")
    back = moved(handed_over, RollBack(number=handed_over.number), facts())
    back = walk_to(back, "freeze-back")
    assert Gate.SOURCE_STILL in back.at.step.gates
    assert back.promoted_topics == {BILLS}
    moving = partition(source_still_since=NOW)
    still = facts()
    goes_on = replace(still, partitions={**still.partitions, ORDERS_0: moving})
    assert answer(back, Gate.SOURCE_STILL, goes_on) == ""
    arrives = replace(still, partitions={**still.partitions, BILLS_0: moving})
    assert answer(back, Gate.SOURCE_STILL, arrives).startswith("bills-0: still for 0 of 330 s")


def test_an_open_transaction_keeps_a_freeze_from_going_on() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "freeze")
    assert "not known to agree" in answer(cutover, Gate.WRITERS_STOPPED, facts(is_settled=False))


def test_a_straggler_is_named_with_what_kafka_tells_and_not_more() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "start-writers")
    cutover = step_on(walk_to(cutover, "start-writers")) if cutover.at.move.topics[0] != "orders" else cutover
    cutover = walk_to(cutover, "start-writers")
    known = Straggler(partition=ORDERS_0, producer_ids=(ProducerId(7),), transactional_ids=("pay",))
    told = answer(cutover, Gate.NO_STRAGGLERS, replace(facts(), stragglers=(known,)))
    assert "orders-0 (producer id 7, transactional id pay)" in told
    told = answer(cutover, Gate.NO_STRAGGLERS, replace(facts(), stragglers=(Straggler(partition=ORDERS_0),)))
    assert "Kafka names no producer" in told
    assert "not known" in answer(cutover, Gate.NO_STRAGGLERS, replace(facts(), stragglers=None))


def test_a_topic_that_nobody_writes_to_is_attested() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "start-writers")
    assert "no record of an application" in answer(cutover, Gate.TARGET_MOVING, facts())
    attested = frozenset({("start-writers", cutover.at.move.name)})
    assert answer(cutover, Gate.TARGET_MOVING, replace(facts(), attested=attested)) == ""


def test_an_application_with_checkpoints_of_its_own_is_taken_at_the_operators_word() -> None:
    wave = replace(CLEAN, moves=(Move(name="flink", is_attested=True), *CLEAN.moves[1:]))
    cutover = walk_to(begin(wave, NOW), "stop-readers")
    assert "flink is not known to have stopped" in answer(cutover, Gate.READERS_STOPPED, facts())
    told = replace(facts(), attested=frozenset({("stop-readers", "flink")}))
    assert answer(cutover, Gate.READERS_STOPPED, told) == ""


def test_verified_leaves_no_more_than_a_freeze_can_compare() -> None:
    cutover = begin(CLEAN, NOW)
    tail = CLEAN.limits.tail_offsets
    assert answer(cutover, Gate.VERIFIED, facts(copied=tail + 1, verified=1)) == ""
    assert "verified to offset 1 of 10,002" in answer(cutover, Gate.VERIFIED, facts(copied=tail + 2, verified=1))


def test_the_tail_is_measured_against_the_recorded_ends() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "promote")
    cutover = step_on(cutover) if "orders" not in cutover.at.move.topics else cutover
    cutover = walk_to(cutover, "promote")
    assert answer(cutover, Gate.TAIL_COPIED, facts(copied=499)) == "orders-0: copied to offset 499 of 500"
    assert answer(cutover, Gate.TAIL_COPIED, facts()) == ""
    assert "somebody still writes" in answer(cutover, Gate.FROZEN, facts(source_end=501))
    bare = replace(cutover, in_force=())
    assert answer(bare, Gate.FROZEN, facts()) == "not known yet: orders"


def test_a_group_that_began_elsewhere_or_stays_behind_keeps_its_step_closed() -> None:
    cutover = walk_to(begin(CLEAN, NOW), "start-readers")
    for changed, gate in (
        ({"do_positions_hold": False}, Gate.POSITIONS_HOLD),
        ({"source_members": 1}, Gate.GONE_FROM_SOURCE),
        ({"is_prepared": False}, Gate.PREPARED),
        ({"target_members": 0}, Gate.READERS_PRESENT),
    ):
        assert "shop" in answer(cutover, gate, facts(groups=replace(MOVED, **changed)))  # type: ignore[arg-type]
        assert answer(cutover, gate, good_facts(cutover)) == ""
