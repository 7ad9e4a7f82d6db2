"""The figures of a copy follow from its samples alone."""

import struct
from pathlib import Path

import pytest

from bench.lab import median_batch_bytes
from bench.memory import growth_mb_a_minute, second_half, thin_out
from bench.watch import Sample, decide_figures


def _sample(seconds: float, records: int, cpu: float, memory_mb: int = 50) -> Sample:
    return Sample(
        seconds=seconds,
        records=records,
        cpu_seconds=cpu,
        memory_bytes=memory_mb * 1_000_000,
        rss_bytes=memory_mb * 2_000_000,
        source_cpu_seconds=10 + cpu / 2,
        target_cpu_seconds=20 + cpu * 2,
    )


SAMPLES = [
    _sample(0.5, 0, 0.5),
    _sample(1.0, 5_000, 0.6),
    _sample(2.0, 20_000, 0.8, 70),
    _sample(3.0, 60_000, 1.2, 60),
    _sample(4.0, 100_000, 1.6),
]


def test_the_middle_runs_from_a_tenth_to_the_last_record() -> None:
    figures = decide_figures(SAMPLES, records=100_000, log_bytes=100_000_000)
    assert figures.records_per_second == pytest.approx(80_000 / 2)
    assert figures.cpu_us_per_record == pytest.approx(0.8 / 80_000 * 1e6)
    assert figures.cpu_seconds_per_gb == pytest.approx(0.8 / 0.08)
    assert figures.cpu_cores == pytest.approx(0.4)
    assert figures.source_cpu_us_per_record == pytest.approx(5.0)
    assert figures.target_cpu_us_per_record == pytest.approx(20.0)


def test_the_whole_runs_from_the_start_of_the_program() -> None:
    figures = decide_figures(SAMPLES, records=100_000, log_bytes=1)
    assert figures.first_record_seconds == 1.0
    assert figures.whole_seconds == 4.0
    assert figures.records_per_second_from_first == pytest.approx(95_000 / 3)
    assert figures.whole_cpu_us_per_record == pytest.approx(16.0)
    assert (figures.peak_memory_mb, figures.peak_rss_mb) == (70.0, 140.0)


def test_the_end_of_a_program_is_part_of_its_whole_cpu() -> None:
    figures = decide_figures(SAMPLES, records=100_000, log_bytes=1, whole_cpu_seconds=2.0)
    assert figures.whole_cpu_us_per_record == pytest.approx(20.0)
    assert figures.cpu_us_per_record == pytest.approx(10.0)


def test_a_copy_without_a_middle_has_no_figures() -> None:
    with pytest.raises(ValueError, match="more records"):
        decide_figures([_sample(0.1, 0, 0.1), _sample(0.2, 100, 0.1)], records=100, log_bytes=1)


def test_the_second_half_begins_in_the_middle_of_the_copying() -> None:
    assert [sample.seconds for sample in second_half(SAMPLES)] == [3.0, 4.0]


def test_growth_is_a_slope() -> None:
    steady = [_sample(second, 1, 0.0, 80) for second in range(10)]
    growing = [_sample(second, 1, 0.0, 80 + second) for second in range(10)]
    assert growth_mb_a_minute(steady) == pytest.approx(0.0)
    assert growth_mb_a_minute(growing) == pytest.approx(60.0)


def test_a_long_curve_is_thinned_out() -> None:
    curve = thin_out([_sample(second, 1, 0.0) for second in range(1000)])
    assert len(curve) == 100
    assert curve[1] == (10, 50.0)


def test_the_size_of_batches_is_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "00000000000000000000.log"
    log.write_bytes(
        b"".join(struct.pack(">qi", base, size) + bytes(size) for base, size in ((0, 88), (1, 488), (2, 988)))
    )
    assert median_batch_bytes([log]) == 500
    log.write_bytes(struct.pack(">qi", 0, 88) + bytes(88) + bytes(100))  # preallocated
    assert median_batch_bytes([log]) == 100
    assert median_batch_bytes([]) == 0
