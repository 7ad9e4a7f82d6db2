"""Many calls at once: how many are under way, what becomes of each, and what is not sent any more."""

from __future__ import annotations

from typing import Any

import pytest

from kmigrate.cluster.lanes import LANES, Lanes, NotSent
from kmigrate.errors import ClusterError, ConnectionLost, NoAnswer, Unreachable
from kmigrate.kafka_types import BrokerId, Side

ONE, TWO = BrokerId(1), BrokerId(2)


def lost(reason: str = "reset") -> ConnectionLost:
    return ConnectionLost(reason, side=Side.TARGET)


class Brokers:
    """Brokers that answer each call with itself, doubled; `fails` says what else happens to a call."""

    def __init__(self) -> None:
        self.opened: list[BrokerId] = []
        self.sent: list[int] = []
        self.under_way = dict.fromkeys((ONE, TWO), 0)
        self.most = dict.fromkeys((ONE, TWO), 0)
        self.fails: dict[int, list[ClusterError]] = {}
        self.unreachable: set[BrokerId] = set()
        self.closed = 0

    def connect(self, broker: BrokerId) -> Any:
        if broker in self.unreachable:
            raise Unreachable("refused", side=Side.TARGET)
        self.opened.append(broker)
        return Line(self, broker)


class Line:
    """One connection, which takes one call at a time."""

    def __init__(self, brokers: Brokers, broker: BrokerId) -> None:
        self._brokers, self._broker = brokers, broker
        self._asked: int | None = None

    def ask(self, call: int) -> None:
        assert self._asked is None, "one call at a time on each connection"
        self._asked = call
        self._brokers.sent.append(call)
        self._brokers.under_way[self._broker] += 1
        self._brokers.most[self._broker] = max(self._brokers.most[self._broker], self._brokers.under_way[self._broker])

    def answer(self, call: int) -> int:
        assert self._asked is call
        self._asked = None
        self._brokers.under_way[self._broker] -= 1
        if fails := self._brokers.fails.get(call):
            raise fails.pop()
        return 2 * call

    def close(self) -> None:
        self._brokers.closed += 1


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
def lanes(brokers: Brokers) -> Lanes:
    return Lanes(brokers.connect)


def ask(lanes: Lanes, calls: list[tuple[BrokerId, int]], *, sends: int = 1000) -> list[Any]:
    left = iter([True] * sends)
    return lanes.ask(calls, lambda: next(left, False))  # type: ignore[arg-type]


def test_answers_come_in_the_order_of_the_calls(lanes: Lanes) -> None:
    calls = [(TWO if number % 3 else ONE, number) for number in range(50)]
    assert ask(lanes, calls) == [2 * number for number in range(50)]


def test_each_broker_has_so_many_calls_under_way_and_no_more(brokers: Brokers, lanes: Lanes) -> None:
    ask(lanes, [(broker, number) for number in range(20) for broker in (ONE, TWO)])
    assert brokers.most == {ONE: LANES, TWO: LANES}


def test_connections_are_opened_as_needed_and_kept(brokers: Brokers, lanes: Lanes) -> None:
    ask(lanes, [(ONE, 1)])
    assert brokers.opened == [ONE]
    ask(lanes, [(ONE, number) for number in range(20)])
    ask(lanes, [(ONE, number) for number in range(20)])
    assert len(brokers.opened) == LANES
    lanes.close()
    assert brokers.closed == LANES


def test_after_a_failure_nothing_more_is_sent_to_that_broker(brokers: Brokers, lanes: Lanes) -> None:
    error = lost()
    brokers.fails[0] = [error]
    found = ask(lanes, [(ONE, number) for number in range(20)] + [(TWO, number) for number in range(30, 40)])
    assert found[0] is error
    assert found[1:LANES] == [2, 4, 6], "what was under way is answered"
    assert found[LANES:20] == [NotSent(str(error))] * (20 - LANES)
    assert found[20:] == [2 * number for number in range(30, 40)], "the other broker has nothing to do with it"
    assert not {*range(LANES, 20)} & {*brokers.sent}


def test_a_broker_that_cannot_be_reached_was_sent_nothing(brokers: Brokers, lanes: Lanes) -> None:
    brokers.unreachable.add(ONE)
    found = ask(lanes, [(ONE, 1), (TWO, 2), (ONE, 3)])
    assert [isinstance(each, NotSent) and "refused" in each.reason for each in found] == [True, False, True]
    assert brokers.sent == [2]


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_anew(brokers: Brokers, lanes: Lanes) -> None:
    ask(lanes, [(ONE, 1)])
    brokers.fails[7] = [lost()]
    assert ask(lanes, [(ONE, 7), (ONE, 8)]) == [14, 16]
    assert brokers.sent.count(7) == 2


def test_a_new_connection_that_breaks_is_not_tried_again(brokers: Brokers, lanes: Lanes) -> None:
    error = lost()
    brokers.fails[7] = [error]
    assert ask(lanes, [(ONE, 7)]) == [error]
    assert brokers.sent == [7]


def test_a_silent_broker_is_not_asked_again(brokers: Brokers, lanes: Lanes) -> None:
    ask(lanes, [(ONE, 1)])
    error = NoAnswer("silence", side=Side.TARGET)
    brokers.fails[7] = [error]
    assert ask(lanes, [(ONE, 7)]) == [error]
    assert brokers.sent == [1, 7]


def test_what_may_not_be_sent_any_more_is_not(brokers: Brokers, lanes: Lanes) -> None:
    found = ask(lanes, [(broker, number) for number in range(10) for broker in (ONE, TWO)], sends=6)
    assert len(brokers.sent) == 6
    assert [each for each in found if each != NotSent("")] == [0, 0, 2, 2, 4, 6]


def test_a_call_is_not_repeated_when_nothing_may_be_sent_any_more(brokers: Brokers, lanes: Lanes) -> None:
    ask(lanes, [(ONE, 1)])
    error = lost()
    brokers.fails[7] = [error]
    assert ask(lanes, [(ONE, 7)], sends=1) == [error]
    assert brokers.sent == [1, 7]
