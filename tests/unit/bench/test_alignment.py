"""The figures of an alignment follow from its samples alone."""

import pytest

from bench.alignment import Sample, decide_figures

LOG_START = 1_000_000
SAMPLES = [
    Sample(seconds=0.5, log_start=None, cpu_seconds=0.5, target_cpu_seconds=10.0),
    Sample(seconds=1.0, log_start=None, cpu_seconds=0.6, target_cpu_seconds=10.1),
    Sample(seconds=1.5, log_start=0, cpu_seconds=0.7, target_cpu_seconds=10.2),
    Sample(seconds=3.0, log_start=LOG_START, cpu_seconds=1.0, target_cpu_seconds=10.6),
    Sample(seconds=9.0, log_start=LOG_START, cpu_seconds=5.0, target_cpu_seconds=19.0),
]


def test_an_alignment_runs_from_the_missing_topic_to_the_right_log_start() -> None:
    figures = decide_figures(SAMPLES, LOG_START)
    assert figures.seconds == pytest.approx(2.0)
    assert figures.offsets_per_second == pytest.approx(500_000)
    assert figures.offsets_per_core_second == pytest.approx(2_000_000)
    assert figures.target_cores == pytest.approx(0.25)
    assert figures.cpu_seconds == pytest.approx(0.4)


@pytest.mark.parametrize("seen", [SAMPLES[2:], SAMPLES[:3], []])
def test_an_alignment_that_was_not_seen_whole_has_no_figures(seen: list[Sample]) -> None:
    with pytest.raises(ValueError, match="beginning"):
        decide_figures(seen, LOG_START)
