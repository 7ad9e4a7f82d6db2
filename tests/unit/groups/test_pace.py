"""How fast a group consumes, and when it is done."""

from __future__ import annotations

from kmigrate.groups.pace import Pace, PaceMeter


def metered(*samples: tuple[float, int, int]) -> Pace:
    meter = PaceMeter()
    for sample in samples:
        meter.note(*sample)
    return meter.pace()


def test_one_look_tells_nothing() -> None:
    assert metered((0, 5, 10)) == Pace(None, None)


def test_the_eta_counts_what_is_produced_meanwhile() -> None:
    assert metered((0, 0, 1000), (10, 200, 900)) == Pace(20.0, 90.0)


def test_there_is_no_eta_while_production_outpaces_the_group() -> None:
    assert metered((0, 0, 1000), (10, 200, 1100)) == Pace(20.0, None)


def test_a_drained_group_has_nothing_left() -> None:
    assert metered((0, 0, 10), (10, 10, 0)) == Pace(1.0, 0.0)


def test_a_rewind_is_no_negative_rate() -> None:
    assert metered((0, 500, 0), (10, 0, 500)) == Pace(0.0, None)


def test_only_the_last_half_minute_counts() -> None:
    samples = [(float(at), 0, 1000) for at in range(0, 60, 5)] + [
        (float(at), (at - 55) * 10, 500) for at in range(60, 100, 5)
    ]
    found = metered(*samples)
    assert found.records_per_second == 10.0
