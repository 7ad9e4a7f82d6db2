"""Who deletes first: the source by its retention, or the copy by being done."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.preflight.loss import CopyRate, Load, Retention, copy_seconds, judge_retention, loss_seconds, show_seconds
from kmigrate.preflight.registry import FindingId, Level

X, Y = TopicName("x"), TopicName("y")
X0, X1, Y0 = TopicPartition(X, Partition(0)), TopicPartition(X, Partition(1)), TopicPartition(Y, Partition(0))
HOUR_MS = 3_600_000
LIMIT = CopyRate(bytes_per_second=1000, basis="limits.bytesPerSecond", is_set=True)
ASSUMED = LIMIT.__class__(bytes_per_second=1000, basis="assumed rate", is_set=False)


def load(size: int | None, ingress: float | None = 0.0) -> Load:
    return Load(size_bytes=size, ingress_bytes_per_second=ingress)


def test_partitions_share_the_rate_so_that_small_ones_are_done_earlier() -> None:
    assert copy_seconds({X0: load(1000), X1: load(1000), Y0: load(4000)}, LIMIT) == {X0: 3, X1: 3, Y0: 6}
    assert copy_seconds({X0: load(None), Y0: load(4000)}, LIMIT) == {Y0: 4}


def test_a_topic_that_loses_data_before_it_is_copied_is_told_with_both_times() -> None:
    five_hours = {X0: load(5 * 3600 * 1000)}
    (finding,) = judge_retention({X: Retention(ms=3 * HOUR_MS, bytes=None)}, five_hours, LIMIT)
    assert (finding.id, finding.level) == (FindingId.RETENTION_TOO_SHORT, Level.BLOCK)
    assert finding.what == "topic x loses data in 3 h, the copy takes 5 h (limits.bytesPerSecond)"
    (finding,) = judge_retention({X: Retention(ms=3 * HOUR_MS, bytes=None)}, five_hours, ASSUMED)
    assert finding.level is Level.WARN, "an assumption blocks nothing"


@pytest.mark.parametrize(
    ("hours", "level"), [(10, Level.WARN), (9.9, Level.WARN), (11, Level.PASS), (5.1, Level.WARN), (5, Level.BLOCK)]
)
def test_a_copy_that_is_close_to_the_retention_is_warned_about(hours: float, level: Level) -> None:
    (finding,) = judge_retention(
        {X: Retention(ms=int(hours * HOUR_MS), bytes=None)}, {X0: load(5 * 3600 * 1000)}, LIMIT
    )
    assert finding.level is level


def test_retention_by_size_counts_as_the_time_in_which_as_much_arrives() -> None:
    both = Retention(ms=HOUR_MS, bytes=1000)
    assert loss_seconds(both, load(500, 10.0)) == 100
    assert loss_seconds(both, load(500, 0.0)) == 3600
    assert loss_seconds(Retention(ms=None, bytes=1000), load(500, None)) is None
    assert loss_seconds(Retention(ms=None, bytes=None), load(500, 10.0)) is None


def test_what_is_not_known_is_told_and_the_rest_is_judged() -> None:
    retentions = {X: Retention(ms=HOUR_MS, bytes=None)}
    findings = judge_retention(retentions, {X0: load(None), Y0: load(10)}, LIMIT)
    assert [each.level for each in findings] == [Level.UNKNOWN]
    assert "x among them" in findings[0].what
    findings = judge_retention({}, {Y0: load(10)}, LIMIT)
    assert (findings[0].level, "retention" in findings[0].what) == (Level.UNKNOWN, True)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(4, "4 s"), (90, "1.5 min"), (3 * 3600, "3 h"), (100_000, "27.8 h"), (777_600, "9 d")]
)
def test_times_are_shown_in_the_unit_that_matters(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown
