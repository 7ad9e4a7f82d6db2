"""A round: one tool copies one topic into an empty target, is watched, and leaves nothing for the next round.

Brokers are Java and get faster while they run. So both tools copy a smaller topic in turns beforehand, until the rates
of each stand still, and the rounds that count are run in turns as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from bench.figures import stands_still
from bench.lab import BenchError, Lab, Load
from bench.mirror_maker import READ_COMMITTED, Tuning, start_as_it_comes, start_mirror_maker
from bench.programs import JavaProgram, Program, forget, start_kmigrate, start_producer
from bench.watch import CopyFigures, Sample, decide_figures, watch_copy
from bench.witness import count_seen, read_watermarks
from kmigrate.kafka_types import Side

LIMIT_SECONDS = 600.0
END_SECONDS = 60.0
_WARM_UP_ROUNDS = 5
_WARM_UP_ROUNDS_AGAIN = 2

Copy = Callable[[Lab, Load], CopyFigures]


def copy_by_kmigrate(lab: Lab, load: Load) -> CopyFigures:
    """kmigrate copies the topic from its start to `in-sync`, with an empty state and a new target topic."""
    return watch_kmigrate(lab, load)[0]


def watch_kmigrate(lab: Lab, load: Load) -> tuple[CopyFigures, list[Sample]]:
    """The same, with every sample."""
    lab.clear()
    migration = lab.new_name("bench")
    with start_kmigrate(lab, migration, [load.topic]) as program:
        samples = watch_copy(lab, program, load, limit_seconds=LIMIT_SECONDS)
        program.finish(END_SECONDS)
    forget(lab, migration)
    return _figures(lab, program, load, samples, program.total_cpu_seconds), samples


def copy_by_mirror_maker(
    lab: Lab,
    load: Load,
    *,
    committed: bool = False,
    tuning: Tuning | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> CopyFigures:
    """MirrorMaker 2 copies the topic into one created for it; it is killed when the last record is there."""
    settings = {**(READ_COMMITTED if committed else {}), **more}
    return _copy_and_kill(
        lab, load, lambda name: start_mirror_maker(lab, name, load.topic, tuning or Tuning.best(), more=settings)
    )


def copy_as_it_comes(lab: Lab, load: Load, *, more: Mapping[str, str] = MappingProxyType({})) -> CopyFigures:
    """MirrorMaker 2 with its own defaults."""
    return _copy_and_kill(lab, load, lambda name: start_as_it_comes(lab, name, load.topic, more=more))


def _copy_and_kill(lab: Lab, load: Load, start: Callable[[str], JavaProgram]) -> CopyFigures:
    lab.clear()
    lab.create_topic(Side.TARGET, load.topic, load.partitions)
    name = lab.new_name("mm2")
    with start(name) as program:
        samples = watch_copy(lab, program, load, limit_seconds=LIMIT_SECONDS)
        check_copy(lab, load, program)
    forget(lab, name)
    return _decide(program, load, samples, None)


def write_by_producer(lab: Lab, load: Load, *, record_bytes: int, batch_bytes: int) -> CopyFigures:
    """Kafka's own load generator writes as many records into the same target: what that can take."""
    lab.clear()
    lab.create_topic(Side.TARGET, load.topic, load.partitions)
    with start_producer(lab, load, record_bytes=record_bytes, batch_bytes=batch_bytes) as program:
        samples = watch_copy(lab, program, load, limit_seconds=LIMIT_SECONDS)
    return _figures(lab, program, load, samples, None)


def check_copy(lab: Lab, load: Load, program: Program) -> None:
    """Raises BenchError unless an independent client finds every record, at the same offsets where that is promised."""
    ends = {side: read_watermarks(lab.bootstrap(side), load.topic, load.partitions) for side in Side}
    if program.same_offsets and ends[Side.TARGET] != ends[Side.SOURCE]:
        raise BenchError(f"{program.name}: the source has the offsets {ends[Side.SOURCE]}, the target others: {ends}")
    if program.in_transactions:
        lab.wait_until(
            lambda: count_seen(lab.bootstrap(Side.TARGET), load.topic, load.partitions) >= load.records,
            f"{program.name} has not copied every record",
        )
    if program.in_transactions or (program.same_offsets and load.records < load.offsets):
        seen = count_seen(lab.bootstrap(Side.TARGET), load.topic, load.partitions)
    else:
        seen = sum(high - low for low, high in ends[Side.TARGET])
    if seen != load.records:
        raise BenchError(f"{program.name}: the target has {seen:,} records, the source {load.records:,}")


def warm_up(lab: Lab, load: Load, tools: dict[str, Copy]) -> None:
    """Lets the tools copy the topic in turns until the last two rates of each differ by less than a tenth.

    Where an earlier case has seen to that, twice is enough: for what is special about this topic.
    """
    rates: dict[str, list[float]] = {name: [] for name in tools}
    most = 1 if lab.short else _WARM_UP_ROUNDS_AGAIN if lab.warm else _WARM_UP_ROUNDS
    for number in range(1, most + 1):
        for name, copy in tools.items():
            rates[name].append(copy(lab, load).records_per_second)
        told = ", ".join(f"{name} {found[-1]:,.0f} records/s" for name, found in rates.items())
        lab.say(f"warm-up {number}: {told}")
        if all(stands_still(found) for found in rates.values()):
            break
    lab.warm = True


def tell(name: str, figures: CopyFigures) -> str:
    """One line about one copy."""
    return (
        f"{name}: {figures.records_per_second:,.0f} records/s, {figures.cpu_us_per_record:.2f} µs CPU a record "
        f"({figures.whole_cpu_us_per_record:.2f} with start-up), {figures.peak_memory_mb:,.0f} MB, "
        f"first record after {figures.first_record_seconds:.2f} s, all after {figures.whole_seconds:.1f} s"
    )


def _figures(
    lab: Lab, program: Program, load: Load, samples: list[Sample], whole_cpu_seconds: float | None
) -> CopyFigures:
    check_copy(lab, load, program)
    return _decide(program, load, samples, whole_cpu_seconds)


def _decide(program: Program, load: Load, samples: list[Sample], whole_cpu_seconds: float | None) -> CopyFigures:
    try:
        return decide_figures(
            samples, records=load.records, log_bytes=load.log_bytes, whole_cpu_seconds=whole_cpu_seconds
        )
    except ValueError as error:
        raise BenchError(f"{program.name}: {error}") from error
