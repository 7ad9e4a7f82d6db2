"""One copy is watched from outside: the target's end offsets, /proc of the tool, /proc of both brokers.

The figures of the middle run from the first sample with a tenth of the records to the one with all of them: start-up,
first fetches and the first compilations are left out, for every tool alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.lab import BenchError, Lab, Load
from bench.programs import Program
from kmigrate.kafka_types import Side

SAMPLE_SECONDS = 0.2
_FIRST_SAMPLE_SECONDS = 0.02
_MIDDLE_FROM = 0.1


class Sample(NamedTuple):
    """What was seen at one moment; `seconds` since the program was started, CPU since each process began."""

    seconds: float
    records: int
    cpu_seconds: float
    memory_bytes: int
    rss_bytes: int
    source_cpu_seconds: float
    target_cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFigures:
    """What one copy cost. `whole_` means from the start of the program, the rest is about the middle."""

    first_record_seconds: float
    whole_seconds: float
    records_per_second: float
    records_per_second_from_first: float
    cpu_us_per_record: float
    cpu_seconds_per_gb: float
    cpu_cores: float
    whole_cpu_us_per_record: float
    source_cpu_us_per_record: float
    target_cpu_us_per_record: float
    peak_memory_mb: float
    peak_rss_mb: float


def watch_copy(lab: Lab, program: Program, load: Load, *, limit_seconds: float) -> list[Sample]:
    """Samples until the target has every record; raises BenchError if it does not come to that."""
    samples: list[Sample] = []
    while True:
        ended = program.ended()
        sample = take_sample(lab, program, load)
        if ended:  # its /proc entry is gone: what the kernel kept of it takes that place
            known = samples[-1] if samples else sample
            sample = sample._replace(
                cpu_seconds=program.total_cpu_seconds, memory_bytes=known.memory_bytes, rss_bytes=known.rss_bytes
            )
        samples.append(sample)
        if sample.records >= load.records:
            return samples
        if ended:
            raise BenchError(
                f"{program.name} ended with code {program.exit_code} after {sample.records:,} of "
                f"{load.records:,} records:\n{program.log_tail()}"
            )
        if sample.seconds > limit_seconds:
            raise BenchError(
                f"{program.name} copied {sample.records:,} of {load.records:,} records in {limit_seconds:.0f} s:\n"
                f"{program.log_tail()}"
            )
        time.sleep(SAMPLE_SECONDS if sample.records else _FIRST_SAMPLE_SECONDS)


def take_sample(lab: Lab, program: Program, load: Load) -> Sample:
    """The end offsets first: CPU that is read a moment later never flatters the tool.

    A copy at the same offsets has offsets without a record, too; these do not count.
    """
    end_offsets = lab.end_offsets(Side.TARGET, load.topic, load.partitions)
    records = load.seen_below(end_offsets) if program.same_offsets else end_offsets
    usage = program.usage()
    brokers = lab.broker_cpu()
    return Sample(time.monotonic() - program.started, records, *usage, *brokers)


def decide_figures(
    samples: Sequence[Sample], *, records: int, log_bytes: int, whole_cpu_seconds: float | None = None
) -> CopyFigures:
    """The figures of a copy of `records` records in `log_bytes` of log.

    `whole_cpu_seconds` is the CPU from the very start to the very end, where the program has ended by itself; else
    that of the last sample is taken. Raises ValueError if the samples do not hold a middle.
    """
    first = next(sample for sample in samples if sample.records > 0)
    begin = next(sample for sample in samples if sample.records >= records * _MIDDLE_FROM)
    end = next(sample for sample in samples if sample.records >= records)
    copied, seconds = end.records - begin.records, end.seconds - begin.seconds
    if copied <= 0 or seconds <= 0:
        raise ValueError("the copy was over before it could be sampled: more records are needed")
    cpu = end.cpu_seconds - begin.cpu_seconds
    whole_cpu = end.cpu_seconds if whole_cpu_seconds is None else whole_cpu_seconds
    return CopyFigures(
        first_record_seconds=first.seconds,
        whole_seconds=end.seconds,
        records_per_second=copied / seconds,
        records_per_second_from_first=(end.records - first.records) / max(end.seconds - first.seconds, 1e-9),
        cpu_us_per_record=cpu / copied * 1e6,
        cpu_seconds_per_gb=cpu / (copied / records * log_bytes) * 1e9,
        cpu_cores=cpu / seconds,
        whole_cpu_us_per_record=whole_cpu / records * 1e6,
        source_cpu_us_per_record=(end.source_cpu_seconds - begin.source_cpu_seconds) / copied * 1e6,
        target_cpu_us_per_record=(end.target_cpu_seconds - begin.target_cpu_seconds) / copied * 1e6,
        peak_memory_mb=max(sample.memory_bytes for sample in samples) / 1e6,
        peak_rss_mb=max(sample.rss_bytes for sample in samples) / 1e6,
    )
