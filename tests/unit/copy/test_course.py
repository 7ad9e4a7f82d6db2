"""A map that is written ahead keeps what may still arrive, and loses what was written for nothing."""

from __future__ import annotations

from kmigrate.copy.course import Course, locate
from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Cut, OffsetMap, Run


def run(source: int, target: int) -> Run:
    return Run(Offset(source), Offset(target))


def mapped(*runs: Run) -> Course:
    return Course(OffsetClass.MAPPED, runs)


def kept(course: Course, *runs: Run) -> list[Run]:
    """What the owner has, once it noted every entry."""
    found = OffsetMap()
    for entry in (*runs, *course.unsaved):
        found.note(entry)
    return list(found)


def test_a_run_that_was_replaced_counts_again_when_reading_returns_to_it() -> None:
    before = run(0, 0), run(20, 10)
    course = mapped(*before)
    course.begin(Offset(20), Offset(10))
    course.skip(20, 21)
    assert course.runs == (run(0, 0), run(21, 10)), "the record at 20 was cleaned, it seems"
    course.return_to(20, 10)
    assert list(course.unsaved) == [run(21, 10), Cut(Offset(20)), run(20, 10)]
    assert kept(course, *before) == list(course.runs) == list(before)
    place = locate(course.runs, Offset(10))
    assert place is not None
    assert place.source == 20


def test_the_first_run_counts_again_too() -> None:
    course = mapped()
    course.begin(Offset(5), Offset(0))
    course.skip(5, 9)
    course.return_to(5, 0)
    assert kept(course) == list(course.runs) == [run(5, 0)]


def test_reading_returns_into_a_gap_without_a_new_run() -> None:
    course = mapped(run(0, 0))
    course.begin(Offset(10), Offset(10))
    course.skip(10, 20)
    course.return_to(10, 10)
    assert list(course.unsaved) == [run(20, 10), Cut(Offset(10))]
    assert course.runs == (run(0, 0),)


def test_runs_behind_a_place_are_ahead_of_it() -> None:
    course = mapped(run(0, 0), run(20, 10))
    assert [course.is_ahead_of(source) for source in (9, 19, 20, 25)] == [True, True, False, False]
    assert not mapped().is_ahead_of(0)
    assert not Course(OffsetClass.IDENTICAL, ()).is_ahead_of(0)
