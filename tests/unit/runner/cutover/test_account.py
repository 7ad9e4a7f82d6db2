"""The journal's word on cutovers: how far each wave came, and how long writers waited."""

from __future__ import annotations

from kmigrate.runner.cutover.account import cutovers_of, unavailable_of
from kmigrate.state.journal import JournalEntry


def entry(at_seconds: int, wave: str, number: int, *, frozen: bool = False, phase: str = "waiting") -> JournalEntry:
    detail = {
        "wave": wave,
        "number": number,
        "entry": f"decision {number}",
        "way": "forward",
        "step": f"step-{number}",
        "phase": phase,
        "frozen": frozen,
        "outcome": "finished",
    }
    return JournalEntry(number=number, at_ms=at_seconds * 1000, kind="cutover", detail=detail)


JOURNAL = [
    entry(10, "one", 1),
    JournalEntry(number=99, at_ms=11_000, kind="pause", detail={}),
    entry(20, "one", 2, frozen=True),
    entry(21, "two", 1, frozen=True),
    entry(22, "one", 3, frozen=True),
    entry(25, "one", 4),
    entry(30, "one", 5, phase="over"),
]


def test_every_wave_is_told_with_its_end() -> None:
    one, two = cutovers_of(JOURNAL)
    assert one == {
        "wave": "one",
        "begun": 10_000,
        "decisions": 5,
        "way": "forward",
        "step": "step-5",
        "last": 30_000,
        "outcome": "finished",
    }
    assert (two["wave"], two["outcome"]) == ("two", None)


def test_late_records_that_were_appended_are_told_with_what_that_means() -> None:
    detail = {"wave": "one", "effect": "append-late", "records": 3, "partitions": {"orders-0": 3}}
    late = JournalEntry(number=98, at_ms=26_000, kind="late-appended", detail=detail)
    more = {"wave": "one", "effect": "append-late", "records": 9, "partitions": {"orders-0": 5, "pay-1": 4}}
    again = JournalEntry(number=97, at_ms=27_000, kind="late-appended", detail=more)
    one, two = cutovers_of([*JOURNAL, late])
    assert (one["lateAppended"], one["latePartitions"]) == (3, {"orders-0": 3})
    one, two = cutovers_of([*JOURNAL, late, again])
    assert (one["lateAppended"], one["latePartitions"]) == (9, {"orders-0": 5, "pay-1": 4})
    assert "order across the clusters is given up" in str(one["order"])
    assert "lateAppended" not in two


def test_times_in_which_writers_waited_have_a_length_or_last() -> None:
    assert unavailable_of(JOURNAL) == [
        {"wave": "one", "since": 20_000, "seconds": 5.0, "ended": "decision 4"},
        {"wave": "two", "since": 21_000, "seconds": None, "ended": None},
    ]


def test_nothing_begun_is_nothing_told() -> None:
    assert cutovers_of([]) == []
    assert unavailable_of(JOURNAL[:2]) == []
