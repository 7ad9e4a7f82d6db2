"""Memory of owner and workers: as a hundred partitions are copied at full speed, and in ten minutes of production."""

from __future__ import annotations

from collections.abc import Sequence

from bench.copying import tell, watch_kmigrate
from bench.figures import Goal, Row, Spread, slope
from bench.lab import BATCH_BYTES, SOURCE_VERSION, TARGET_VERSION, BenchError, Lab, Load, producer_command
from bench.machine import describe_machine
from bench.programs import forget, start_kmigrate
from bench.report import CaseResult
from bench.watch import Sample, watch_copy
from kmigrate.demo.java import start_java
from kmigrate.kafka_types import Side

PARTITIONS = 100
RECORDS, SHORT_RECORDS = 3_000_000, 600_000
ROUNDS = 2
PEAK_GOAL = Goal(limit=180)
_KEPT_SAMPLES = 100

STEADY_SECONDS, SHORT_STEADY_SECONDS = 600, 30
STEADY_RATE = 25_000
"""Records a second, of 1 KB: ten minutes of it have room in a page cache."""
_STEADY_GOAL = Goal(limit=200)
_MARGIN_SECONDS = 120


def measure(lab: Lab) -> CaseResult:
    """Copies the topic and samples PSS, which counts what the processes share only once."""
    load = lab.fill("wide", partitions=PARTITIONS, records=SHORT_RECORDS if lab.short else RECORDS)
    rounds = lab.rounds(ROUNDS)
    found, curves = [], []
    for number in range(rounds):
        figures, samples = watch_kmigrate(lab, load)
        found.append(figures)
        curves.append(samples)
        lab.say(f"round {number + 1} of {rounds}: {tell('kmigrate', figures)}")
    lab.forget_loads()
    halves = [second_half(samples) for samples in curves]
    return CaseResult(
        case="memory",
        title=f"Memory of owner and workers, {PARTITIONS} partitions copied as fast as possible.",
        other="",
        rows=(
            Row(label="most memory (PSS)", unit="MB", ours=tuple(f.peak_memory_mb for f in found), goal=PEAK_GOAL),
            Row(label="the same as RSS", unit="MB", ours=tuple(f.peak_rss_mb for f in found)),
            Row(label="median of the second half (PSS)", unit="MB", ours=tuple(map(_median_mb, halves))),
            Row(label="growth over the second half", unit="MB a minute", ours=tuple(map(growth_mb_a_minute, halves))),
            Row(label="length of the second half", unit="s", ours=tuple(h[-1].seconds - h[0].seconds for h in halves)),
            Row(label="speed", unit="records/s", ours=tuple(f.records_per_second for f in found)),
        ),
        settings={"Records": load.records, "Partitions": PARTITIONS, "Log": f"{load.log_bytes / 1e9:.2f} GB"},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[{"seconds, MB": thin_out(samples)} for samples in curves],
    )


def measure_steady(lab: Lab) -> CaseResult:
    """Records are written to the source for ten minutes, and copied as they come; PSS is sampled meanwhile."""
    seconds = SHORT_STEADY_SECONDS if lab.short else STEADY_SECONDS
    load = Load(
        topic="steady",
        partitions=PARTITIONS,
        records=STEADY_RATE * seconds,
        offsets=STEADY_RATE * seconds,
        log_bytes=0,
        batch_bytes=0,
    )
    samples = _watch_production(lab, load, seconds)
    half = second_half(samples)
    return CaseResult(
        case="memory-steady",
        title=f"Memory of owner and workers, {STEADY_RATE:,} records a second into {PARTITIONS} partitions.",
        other="",
        rows=(
            Row(
                label="most memory (PSS)",
                unit="MB",
                ours=(max(each.memory_bytes for each in samples) / 1e6,),
                goal=_STEADY_GOAL,
            ),
            Row(label="median of the second half (PSS)", unit="MB", ours=(_median_mb(half),)),
            Row(label="growth over the second half", unit="MB a minute", ours=(growth_mb_a_minute(half),)),
            Row(label="length of the second half", unit="s", ours=(half[-1].seconds - half[0].seconds,)),
        ),
        settings={"Records": load.records, "Partitions": PARTITIONS},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[{"seconds, MB": thin_out(samples)}],
    )


def _watch_production(lab: Lab, load: Load, seconds: int) -> list[Sample]:
    lab.create_topic(Side.SOURCE, load.topic, load.partitions)
    command = producer_command(
        lab.bootstrap(Side.SOURCE),
        load.topic,
        records=load.records,
        record_bytes=1024,
        properties={"acks": "1", "batch.size": str(BATCH_BYTES), "linger.ms": "100"},
        records_a_second=STEADY_RATE,
    )
    log, migration = lab.work / f"{load.topic}.out", lab.new_name("bench")
    with start_kmigrate(lab, migration, [load.topic], until_in_sync=False) as program:
        writer = start_java(command, output=log)
        try:
            samples = watch_copy(lab, program, load, limit_seconds=seconds + _MARGIN_SECONDS)
            if writer.wait():
                raise BenchError(f"ProducerPerformance failed:\n{log.read_text(errors='replace')[-1000:]}")
        finally:
            writer.kill()
            writer.wait()
    forget(lab, migration)
    lab.clear()
    return samples


def second_half(samples: Sequence[Sample]) -> list[Sample]:
    """The samples from the middle of the copying time on; it begins with the first record."""
    copying = [sample for sample in samples if sample.records > 0]
    middle = (copying[0].seconds + copying[-1].seconds) / 2
    return [sample for sample in copying if sample.seconds >= middle]


def growth_mb_a_minute(samples: Sequence[Sample]) -> float:
    """The slope of memory over time: near 0 where memory has a limit and has reached it."""
    return slope([(sample.seconds / 60, sample.memory_bytes / 1e6) for sample in samples])


def thin_out(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Seconds and megabytes of about a hundred samples."""
    step = max(1, len(samples) // _KEPT_SAMPLES)
    return [(round(sample.seconds, 2), round(sample.memory_bytes / 1e6, 1)) for sample in samples[::step]]


def _median_mb(samples: Sequence[Sample]) -> float:
    return Spread.of([sample.memory_bytes / 1e6 for sample in samples]).median
