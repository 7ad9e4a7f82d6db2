"""Rates are amounts over time, and an ETA says what it rests on."""

import pytest

from kmigrate.runner.meter import WINDOW_MS, Amounts, Left, Meter, Rates, decide_eta
from kmigrate.runner.status import EtaBasis


def amounts(number: int) -> Amounts:
    return Amounts(records=number, bytes=10 * number, advanced=number, produced=number // 2)


def test_nothing_observed_is_no_rate() -> None:
    assert Meter().rates(1_000) == Rates()


def test_what_was_there_at_first_is_no_rate() -> None:
    meter = Meter()
    meter.observe(0, amounts(1_000_000))
    assert meter.rates(10_000) == Rates()


def test_a_rate_needs_two_seconds() -> None:
    meter = Meter()
    meter.observe(0, amounts(0))
    meter.observe(500, amounts(500))
    assert meter.rates(1_000) == Rates()
    meter.observe(2_000, amounts(2_000))
    assert meter.rates(2_000).records == 1_000


@pytest.mark.parametrize("step_ms", [10, 100, 1_000, 7_000])
def test_the_rate_does_not_depend_on_the_number_of_reports(step_ms: int) -> None:
    meter = Meter()
    for now_ms in range(0, 70_001, step_ms):
        meter.observe(now_ms, amounts(now_ms // 10))
    rates = meter.rates(70_000)
    assert rates.records == pytest.approx(100, rel=0.25)
    assert rates.bytes == pytest.approx(10 * rates.records)
    assert rates.produced == pytest.approx(rates.records / 2, rel=0.01)
    assert len(meter._samples) <= WINDOW_MS // 1_000 + 3


def test_a_rate_fades_when_nothing_grows_and_comes_back() -> None:
    meter = Meter()
    for second in range(31):
        meter.observe(second * 1_000, amounts(second * 100))
    assert meter.rates(30_000).records == 100
    assert 0 < meter.rates(45_000).records < 100
    assert meter.rates(61_000) == Rates()
    meter.observe(100_000, amounts(3_300))
    assert meter.rates(100_000).records == 10  # 300 more within the last 30 s


@pytest.mark.parametrize(
    ("left", "advanced", "produced", "eta"),
    [
        (Left(), 0, 0, (0.0, EtaBasis.DONE)),
        (Left(stopped=2), 50, 50, (None, EtaBasis.STOPPED)),
        (Left(paused=1, stopped=2), 50, 50, (None, EtaBasis.PAUSED)),
        (Left(unknown=1, paused=1), 50, 0, (None, EtaBasis.UNKNOWN)),
        (Left(records=100), 50, 40, (10.0, EtaBasis.RATE)),
        (Left(records=100, stopped=3, unknown=2), 50, 40, (10.0, EtaBasis.RATE)),
        (Left(records=100), 50, 50, (None, EtaBasis.OUTPACED)),
        (Left(records=100), 50, 60, (None, EtaBasis.OUTPACED)),
        (Left(records=100), 0, 60, (None, EtaBasis.UNKNOWN)),
    ],
)
def test_an_eta_rests_on_what_closes_the_gap(
    left: Left, advanced: float, produced: float, eta: tuple[float | None, EtaBasis]
) -> None:
    assert decide_eta(left, Rates(advanced=advanced, produced=produced)) == eta
