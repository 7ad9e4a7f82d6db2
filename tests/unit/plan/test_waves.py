"""The plan of a cutover: moves in order, steps by number, what cannot be undone, and what is in the way."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Ending, FenceChoice, History, Scheme, WaveWish
from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.document import Blocker, make_plan
from kmigrate.plan.kinds import list_actions
from kmigrate.plan.surroundings import Surroundings, decide_surroundings
from kmigrate.plan.waves import CutoverPlan, WavePlan, plan_cutover
from kmigrate.schemes.order import moves_of
from kmigrate.schemes.page import example
from kmigrate.schemes.tables import TABLES, stages_of
from kmigrate.schemes.wave import MoveKind, Wave
from tests.unit.plan.known import facts, manifest

CLEAN = example(Scheme.CONSUMERS_FIRST, Ending.CLEAN)


def planned(wave: Wave, fence: FenceChoice = FenceChoice.ACL) -> WavePlan:
    (found,) = plan_cutover([WaveWish(name=wave.name, scheme=wave.scheme, fence=fence)], [wave]).waves
    return found


@pytest.mark.parametrize(("scheme", "variant"), TABLES)
def test_every_scheme_is_told_with_the_steps_of_its_table(scheme: Scheme, variant: str) -> None:
    wave = example(scheme, variant)
    found = planned(wave)
    stages = stages_of(wave)
    assert [(each.number, each.name, each.title) for each in found.steps] == [
        (stage.number, stage.step.name, stage.words(stage.step.title)) for stage in stages
    ]
    assert [each.number for each in found.steps] == list(range(1, len(stages) + 1))
    assert [(each.number, each.name, each.topics, each.groups) for each in found.moves] == [
        (number, move.name, move.topics, move.groups) for number, move in enumerate(wave.moves, 1)
    ]
    assert {each.name for each in found.steps if each.cannot_be_undone} == {
        stage.step.name for stage in stages if stage.step.is_irreversible
    }
    assert all(each.approval for each in found.steps if each.cannot_be_undone)
    assert (found.history, found.ending) == ((None, variant) if scheme is Scheme.CONSUMERS_FIRST else (variant, None))


def test_a_step_says_for_which_move_it_is_and_whether_writers_wait() -> None:
    found = planned(CLEAN)
    assert [(each.name, each.move) for each in found.steps[:3]] == [
        ("replicate", None),
        ("stop-readers", 1),
        ("start-readers", 1),
    ]
    assert {each.name for each in found.steps if each.frozen} == {"freeze", "promote"}
    assert [each.kind for each in found.moves] == [MoveKind.READERS, MoveKind.APPLICATION, MoveKind.WRITERS]


def test_without_a_way_back_none_is_made_ready() -> None:
    assert "arm" in [each.name for each in planned(CLEAN).steps]
    assert "arm" not in [each.name for each in planned(replace(CLEAN, has_way_back=False)).steps]


def test_a_wave_that_its_scheme_cannot_lead_has_moves_and_no_steps() -> None:
    stopped = replace(example(Scheme.PRODUCERS_LATER, History.NONE), history=History.STOPPED)
    both = replace(stopped, history=History.NONE, topics=CLEAN.topics, groups=CLEAN.groups, moves=CLEAN.moves)
    for wave in (stopped, both):
        assert (planned(wave).steps, len(planned(wave).moves)) == ((), len(wave.moves))


def test_of_a_thousand_topics_a_title_names_a_few() -> None:
    topics = tuple(TopicName(f"t{number:04}") for number in range(1000))
    moves = moves_of(Scheme.CONSUMERS_FIRST, topics, {"shop": topics})
    found = planned(replace(CLEAN, topics=topics, groups=("shop",), moves=moves))
    assert max(len(each.title) for each in found.steps) < 100
    assert "t0000, t0001, t0002 and 997 more" in next(each.title for each in found.steps if each.name == "freeze")
    assert len(found.moves[-1].topics) == 1000


CUTOVER = CutoverPlan(
    waves=(planned(CLEAN), replace(planned(CLEAN), name="0-last")),
    problems=(("group audit crosses waves", "put it into one"),),
    topics_outside=("other",),
    groups_outside=("old",),
)


def actions(cutover: CutoverPlan | None = CUTOVER) -> list[PlannedAction]:
    found = list_actions(decide_surroundings(Surroundings(), manifest()), cutover)
    return [each for each in found if each.kind is Kind.WAVES]


def test_moves_are_actions_in_the_order_in_which_they_are_made() -> None:
    found = actions()
    assert [(each.name, each.action, each.what, each.when) for each in found[:3]] == [
        ("example", Verb.MOVE, "1 of 3, readers: reads as shop", When.CUTOVER),
        ("example", Verb.MOVE, "2 of 3, application: reads as billing, writes bills", When.CUTOVER),
        ("example", Verb.MOVE, "3 of 3, writers: writes orders", When.CUTOVER),
    ]
    assert found[0].reason == "consumers-first, clean"
    assert [(each.name, each.action, each.what) for each in found[3:]] == [
        *(("0-last", Verb.MOVE, each.what) for each in found[:3]),
        ("other", Verb.LEAVE_OUT, "topic"),
        ("old", Verb.LEAVE_OUT, "group"),
        ("cutover", Verb.BLOCKED, ""),
    ]
    assert not any(each.is_change for each in found)
    assert actions(None) == actions(CutoverPlan()) == []


def test_what_is_in_the_way_blocks_the_plan() -> None:
    plan = make_plan(manifest(), facts(), [], actions(), CUTOVER.waves)
    assert plan.blockers == (Blocker(what="group audit crosses waves", hint="put it into one"),)
    assert not plan.changes


def test_the_json_of_a_wave_is_a_contract() -> None:
    """Keys may be added here, never changed or taken away."""
    told = json.loads(make_plan(manifest(), facts(), [], actions(), CUTOVER.waves).to_json())
    wave = told["waves"][0]
    assert list(wave) == [
        *("name", "scheme", "history", "ending", "fence", "wayBack", "topics", "groups", "moves", "steps")
    ]
    assert (wave["scheme"], wave["history"], wave["ending"], wave["fence"], wave["wayBack"]) == (
        *("consumers-first", None, "clean"),
        *("acl", True),
    )
    assert wave["moves"][1] == {
        "number": 2,
        "name": "application",
        "kind": "application",
        "topics": ["bills"],
        "groups": ["billing"],
        "attested": False,
    }
    assert wave["steps"][1] == {
        "number": 2,
        "name": "stop-readers",
        "title": "stop shop on the source",
        "move": 1,
        "actor": "the operator",
        "writers": "source",
        "frozen": False,
        "approval": False,
        "undo": "abort",
        "cannotBeUndone": [],
    }
    assert json.loads(make_plan(manifest(), facts(), []).to_json())["waves"] == []
