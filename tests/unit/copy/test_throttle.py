"""The throttle is exact in the long run and never forgets a debt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.throttle import Throttle


def test_without_a_limit_nothing_waits() -> None:
    throttle = Throttle()
    throttle.take(10**12)
    assert throttle.delay_seconds(0.0) == 0.0


@given(st.integers(1, 10**8), st.lists(st.integers(1, 10**7), min_size=1, max_size=50))
def test_the_rate_is_exact_in_the_long_run(rate: int, sizes: list[int]) -> None:
    throttle = Throttle()
    throttle.set_rate(rate)
    now = 100.0
    for size in sizes:
        now += throttle.delay_seconds(now)
        throttle.take(size)
    now += throttle.delay_seconds(now)
    expected = sum(sizes) / rate
    assert abs((now - 100.0) - expected) <= 1e-6 * max(1.0, expected)


def test_unused_time_is_credited_for_half_a_second_only() -> None:
    throttle = Throttle()
    throttle.set_rate(1000)
    assert throttle.delay_seconds(0.0) == 0.0
    assert throttle.delay_seconds(3600.0) == 0.0
    throttle.take(1500)
    assert throttle.delay_seconds(3600.0) == 1.0


def test_a_new_rate_keeps_the_length_of_the_debt() -> None:
    throttle = Throttle()
    throttle.set_rate(1000)
    throttle.delay_seconds(0.0)
    throttle.take(2000)
    throttle.set_rate(10)
    assert throttle.delay_seconds(0.0) == 2.0
    throttle.set_rate(None)
    assert throttle.delay_seconds(0.0) == 0.0


def test_a_clock_seen_by_another_thread_may_be_older() -> None:
    throttle = Throttle()
    throttle.set_rate(1000)
    throttle.delay_seconds(10.0)
    throttle.take(1000)
    assert throttle.delay_seconds(9.0) == 1.0
    assert throttle.delay_seconds(10.5) == 0.5
