"""Every second of a pipeline is booked once, and a pipeline that began anew says so by having spent less."""

from __future__ import annotations

import pytest

from kmigrate.copy.spending import CAUSES, NOTHING_SPENT, Cause, Spending, Spent


def test_what_is_neither_waiting_nor_cpu_went_through_a_socket() -> None:
    book = Spending()
    book.turn(100.0, 5.0)
    assert book.spent == NOTHING_SPENT
    book.wait(Cause.TARGET, 0.3)
    book.wait(Cause.SOURCE, 0.1)
    book.turn(101.0, 5.4)
    assert book.spent == pytest.approx(Spent(own=0.4, source=0.1, target=0.3, network=0.2))
    assert book.spent.seconds == pytest.approx(1.0)


def test_clocks_that_disagree_take_nothing_back() -> None:
    book = Spending()
    book.turn(0.0, 0.0)
    book.wait(Cause.GAPS, 2.0)
    book.turn(1.0, 0.5)
    assert book.spent == pytest.approx(Spent(own=0.5, gaps=2.0))


def test_less_than_before_is_a_new_beginning() -> None:
    assert Spent(own=3, target=5).since(Spent(own=1, target=5)) == Spent(own=2)
    assert Spent(own=1, target=9).since(Spent(own=3, target=5)) == Spent(own=1, target=9)
    assert Spent(own=1).plus(Spent(own=2, lease=1)) == Spent(own=3, lease=1)


def test_every_cause_has_its_seconds_and_its_words() -> None:
    for number, cause in enumerate(Cause):
        assert Spent(*(float(index == number) for index in range(len(Cause)))).of(cause) == 1
    assert CAUSES.keys() == set(Cause)
