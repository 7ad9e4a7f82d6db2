"""The throttle is exact in the long run and never forgets a debt."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from heapq import heapify, heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.rates import SLOTS, UNLIMITED, Rate, RateLimits, Rates, Slots
from kmigrate.copy.throttle import Gate, Throttle, make_memory
from kmigrate.kafka_types import BrokerId, Side, TopicName


def test_without_a_limit_nothing_waits() -> None:
    throttle = Throttle()
    throttle.take(10**12)
    assert throttle.delay_seconds(0.0) == 0.0


@given(st.integers(1, 10**8), st.lists(st.integers(1, 10**7), min_size=1, max_size=50))
def test_the_rate_is_exact_in_the_long_run(rate: int, sizes: list[int]) -> None:
    throttle = Throttle()
    throttle.set_rates(Rates.together(rate))
    now = 100.0
    for size in sizes:
        now += throttle.delay_seconds(now)
        throttle.take(size)
    now += throttle.delay_seconds(now)
    expected = sum(sizes) / rate
    assert abs((now - 100.0) - expected) <= 1e-6 * max(1.0, expected)


def test_unused_time_is_credited_for_half_a_second_only() -> None:
    throttle = Throttle()
    throttle.set_rates(Rates.together(1000))
    assert throttle.delay_seconds(0.0) == 0.0
    assert throttle.delay_seconds(3600.0) == 0.0
    throttle.take(1500)
    assert throttle.delay_seconds(3600.0) == 1.0


def test_a_new_rate_keeps_the_length_of_the_debt() -> None:
    throttle = Throttle()
    throttle.set_rates(Rates.together(1000))
    throttle.delay_seconds(0.0)
    throttle.take(2000)
    throttle.set_rates(Rates.together(10))
    assert throttle.delay_seconds(0.0) == 2.0
    throttle.set_rates(Rates.together(None))
    assert throttle.delay_seconds(0.0) == 0.0


def test_a_clock_seen_by_another_thread_may_be_older() -> None:
    throttle = Throttle()
    throttle.set_rates(Rates.together(1000))
    throttle.delay_seconds(10.0)
    throttle.take(1000)
    assert throttle.delay_seconds(9.0) == 1.0
    assert throttle.delay_seconds(10.5) == 0.5


SOURCE, TARGET = (Side.SOURCE, BrokerId(1)), (Side.TARGET, BrokerId(1))
CLICKS = TopicName("clicks")


def test_each_broker_and_each_topic_pay_for_themselves() -> None:
    throttle = Throttle()
    throttle.set_rates(Slots().rates(RateLimits(None, 1000, ((CLICKS, 10),)), frozenset({SOURCE, TARGET})))
    other = (Side.TARGET, BrokerId(2))
    throttle.delay_seconds(0.0, (SOURCE, TARGET))
    throttle.topic_delay_seconds(CLICKS, 0.0)
    throttle.take(3000, (TARGET, SOURCE), {CLICKS: 20, TopicName("orders"): 2980})
    assert throttle.delay_seconds(0.0, (SOURCE, other)) == 3.0
    assert throttle.delay_seconds(0.0, (other,)) == 0.0
    assert throttle.topic_delay_seconds(CLICKS, 0.0) == 2.0
    assert throttle.topic_delay_seconds(TopicName("orders"), 0.0) == 0.0


def test_all_that_share_the_memory_pay_together() -> None:
    with make_memory() as memory:
        one, two = Throttle(memory.fileno()), Throttle(memory.fileno())
        for throttle in (one, two):
            throttle.set_rates(Rates.together(1000))
        one.delay_seconds(0.0)
        one.take(1500)
        two.take(1500)
        assert one.delay_seconds(0.0) == two.delay_seconds(0.0) == 3.0
        one.set_rates(Rates.together(100))
        two.set_rates(Rates.together(100))
        assert two.delay_seconds(0.0) == 3.0, "the debt is rescaled once"


def test_processes_that_share_the_memory_lose_nothing() -> None:
    with make_memory() as memory:
        throttle = Throttle(memory.fileno())
        throttle.set_rates(Rates.together(1000))
        throttle.delay_seconds(0.0)
        program = (
            "import sys; from kmigrate.copy.throttle import Throttle; from kmigrate.copy.rates import Rates\n"
            "throttle = Throttle(int(sys.argv[1])); throttle.set_rates(Rates.together(1000))\n"
            "for _ in range(2000): throttle.take(3)"
        )
        command = [sys.executable, "-c", program, str(memory.fileno())]
        running = [subprocess.Popen(command, pass_fds=[memory.fileno()]) for _ in range(3)]
        for _ in range(2000):
            throttle.take(3)
        assert [each.wait() for each in running] == [0, 0, 0]
        assert throttle.delay_seconds(0.0) == 24.0


def test_a_limit_keeps_its_slot_and_too_many_have_none() -> None:
    slots = Slots()
    brokers = frozenset({SOURCE, TARGET})
    before = slots.rates(RateLimits(5, 6, ((CLICKS, 7),)), brokers)
    topics = tuple((TopicName(str(number)), 1) for number in range(SLOTS + 5))
    many = slots.rates(RateLimits(5, 6, (*topics, (CLICKS, 8))), brokers)
    assert (many.total, many.brokers) == (before.total, before.brokers)
    assert dict(many.topics)[CLICKS] == Rate(dict(before.topics)[CLICKS].slot, 8)
    taken = [
        rate.slot for rate in filter(None, [many.total, *dict(many.brokers).values(), *dict(many.topics).values()])
    ]
    assert sorted(taken) == list(range(SLOTS))


def test_limits_may_be_lifted_while_others_ask_for_them() -> None:
    """Another thread adopts orders between two steps of this one."""
    throttle = Throttle()
    limited = Slots().rates(RateLimits(1000, 1000, ((CLICKS, 10),)), frozenset({SOURCE}))

    class Lifts(dict):  # type: ignore[type-arg]
        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            throttle.set_rates(UNLIMITED)
            return found

    for field in ("_brokers", "topics"):
        throttle.set_rates(limited)
        setattr(throttle, field, Lifts(getattr(throttle, field)))
        throttle.take(1, (SOURCE,), {CLICKS: 1})


def test_the_memory_has_its_room_before_it_is_used() -> None:
    with make_memory() as memory:
        assert os.fstat(memory.fileno()).st_blocks * 512 >= SLOTS * 24


@pytest.mark.parametrize("most", [1_000, 30_000])
def test_who_needs_room_under_two_limits_gets_a_share_of_both(most: int) -> None:
    """Two others need only one of them each, and take it as soon as it is free."""
    throttle, rate, until, chance = Throttle(), 100_000, 60.0, random.Random(1)
    throttle.set_rates(Slots().rates(RateLimits(broker=rate), frozenset({SOURCE, TARGET})))
    pairs = {
        "source": (SOURCE, (Side.TARGET, BrokerId(2))),
        "target": ((Side.SOURCE, BrokerId(2)), TARGET),
        "both": (SOURCE, TARGET),
    }
    gates = {name: Gate(throttle, brokers) for name, brokers in pairs.items()}
    sent = dict.fromkeys(pairs, 0)
    events = [(chance.random() * 0.01, name) for name in pairs]
    heapify(events)
    while (event := heappop(events))[0] < until:
        now, name = event
        if delay := gates[name].delay_seconds(now):
            heappush(events, (now + delay + 1e-4 * chance.random(), name))
            continue
        size = chance.randint(most // 2, most)
        throttle.take(size, pairs[name])
        gates[name].passed()
        sent[name] += size
        heappush(events, (now + 1e-3 * (1 + chance.random()), name))
    for name in ("source", "target"):
        assert sent[name] + sent["both"] <= rate * until + 0.5 * rate + 3 * most, "it is exact"
    assert min(sent.values()) > 0.4 * rate * until
