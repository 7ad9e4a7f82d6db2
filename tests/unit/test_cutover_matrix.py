"""The crash matrix of the cutover forgets nothing that the tables have."""

from __future__ import annotations

import itertools

from kmigrate.schemes.effects import EFFECTS, EffectKind
from tests.fault.cutover_matrix import TOGETHER, Course, far_apart, in_a_row, moments, places, stories
from tests.long.cutover_table import cutover_table
from tests.long.results import Result

ELSEWHERE = {EffectKind.LIST_LATE, EffectKind.APPEND_LATE, EffectKind.FORGO_LATE}
"""Carried out on a command of their own, which other tests give: `test_cutover_misbehaves.py` and those of `late/`."""


def test_every_effect_is_somewhere() -> None:
    there = {EffectKind(each.effect) for each in moments()}
    assert set(EFFECTS) - there == ELSEWHERE


def test_what_cannot_be_taken_back_is_not() -> None:
    courses = {each.course for each in moments() if each.story.variant == "overlap" and not each.story.has_application}
    assert courses == {Course.FORWARD}


def test_every_course_is_gone_and_nothing_is_there_twice() -> None:
    assert {each.course for each in moments()} == set(Course)
    assert len(set(moments())) == len(moments())
    assert len(set(places())) == len(places())


def test_cells_hold_every_fault_once_and_a_course_each() -> None:
    for faults, held in ((moments(), in_a_row(moments())), (places(), far_apart(places()))):
        assert sorted(each for cell in held for each in cell) == sorted(faults)
        assert all(len({(each.story, each.course) for each in cell}) == 1 for cell in held)
        assert max(map(len, held)) <= TOGETHER


def test_brokers_do_not_die_at_steps_that_follow_each_other() -> None:
    for cell in far_apart(places()):
        steps = [each.step for each in places() if (each.story, each.course) == (cell[0].story, cell[0].course)]
        numbers = [steps.index(each.step) for each in cell]
        assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(numbers))


def test_variants_that_do_the_same_are_one() -> None:
    names = [str(each) for each in stories()]
    assert "producers-first rolling" in names
    assert "producers-first none" not in names


def test_the_table_counts_what_passed_what_failed_and_what_was_not_run() -> None:
    noted = {"scheme": "consumers-first clean", "course": "forward", "step": "freeze"}
    killed, broken = "kmigrate dies before and after it", "the source's broker dies"
    tail = {**noted, "effect": "copy-tail", "fault": killed}
    results = {
        cell: _result(cell, passed, *faults, records=records)
        for cell, passed, records, *faults in (
            ("test_cutover_dies.py::a", True, 1_000, tail, {**tail, "effect": "verify-tail"}),
            ("test_cutover_dies.py::b", False, 500, tail),
            ("test_cutover_brokers.py::c", True, 30, {**noted, "fault": broken}),
        )
    }
    table = cutover_table([*results, "test_cutover_dies.py::d", "test_rights.py::e"], results).splitlines()
    assert table[0] == "3 of 4 cells were run, with the code of abc."
    assert f"| Step · effect | {killed} | {broken} |" in table
    assert "| freeze · copy-tail | 1 passed, **1 failed**; 1,500 records | – |" in table
    assert "| freeze | – | 1 passed; 30 records |" in table
    assert "| freeze · verify-tail | 1 passed; 1,000 records | – |" in table
    assert f"| {killed} | 3 | 2 | 1 | 1,500 |" in table
    assert table[-1] == "| all | 4 | 3 | 1 | 1,530 |"


def _result(cell: str, passed: bool, *noted: dict[str, str], records: int) -> Result:
    figures = {"cutover": list(noted), "records": records}
    return Result(cell=cell, code="", commit="abc", seed=1, passed=passed, seconds=1.0, figures=figures)
