"""How fast an empty target partition is brought to a log start far above 0, and what that costs the target's broker.

The source's partition has lost its first 50 million offsets, as by retention. kmigrate fills them on the target with
filler and deletes it again; nearly all the work is the broker's, which looks into every batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

from bench.copying import END_SECONDS, LIMIT_SECONDS, check_copy
from bench.figures import Goal, Row
from bench.lab import HEAP, SOURCE_VERSION, TARGET_VERSION, BenchError, Lab, Load
from bench.machine import describe_machine
from bench.programs import Program, forget, start_kmigrate
from bench.report import CaseResult
from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.kafka_types import BrokerAddress, BrokerId, Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.records.batch import stamp
from kmigrate.records.compression import Codec
from kmigrate.records.filler import LARGEST_SIZE, build_filler
from kmigrate.wire import produce
from kmigrate.wire.gap_calls import delete_records

LOG_START, SHORT_LOG_START = 50_000_000, 10_000_000
WARM_UP_LOG_START = 5_000_000
RECORDS = 1_000
"""Behind the log start, so that the partition is an ordinary one."""
ROUNDS = 2
CORE_GOAL = Goal(limit=2_000_000, at_most=False)
_TIMEOUT_MS = 30_000
_SAMPLE_SECONDS = 0.05


class Sample(NamedTuple):
    """What was seen at one moment; `seconds` since kmigrate was started, `log_start` None without a topic."""

    seconds: float
    log_start: int | None
    cpu_seconds: float
    target_cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentFigures:
    """What one alignment cost, from the last moment without the topic to the first one with the right log start."""

    seconds: float
    offsets_per_second: float
    offsets_per_core_second: float
    target_cores: float
    cpu_seconds: float


def measure(lab: Lab) -> CaseResult:
    """Lets kmigrate align an empty partition several times, once before that counts."""
    _align(lab, fill(lab, "warm-up-trimmed", WARM_UP_LOG_START))
    log_start = SHORT_LOG_START if lab.short else LOG_START
    load = fill(lab, "trimmed", log_start)
    rounds = lab.rounds(ROUNDS)
    found = []
    for number in range(rounds):
        figures = _align(lab, load)
        found.append(figures)
        lab.say(
            f"round {number + 1} of {rounds}: {figures.seconds:.1f} s, {figures.offsets_per_second:,.0f} offsets/s, "
            f"{figures.offsets_per_core_second:,.0f} offsets a second of the target broker's CPU"
        )
    lab.forget_loads()

    def row(label: str, unit: str, of: Callable[[AlignmentFigures], float], goal: Goal | None = None) -> Row:
        return Row(label=label, unit=unit, ours=tuple(map(of, found)), goal=goal)

    return CaseResult(
        case="alignment",
        title=f"An empty partition is brought to a log start of {log_start:,}.",
        other="",
        rows=(
            row("speed on one core of the target broker", "offsets/s", lambda f: f.offsets_per_core_second, CORE_GOAL),
            row("speed", "offsets/s", lambda f: f.offsets_per_second),
            row("time", "s", lambda f: f.seconds),
            row("cores used by the target broker", "", lambda f: f.target_cores),
            row("CPU of owner and workers", "s", lambda f: f.cpu_seconds),
        ),
        settings={"Log start": log_start, "Records": load.records, "Rounds": rounds, "Brokers": f"heap {HEAP}"},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[asdict(figures) for figures in found],
    )


# ── a partition that was trimmed ──────────────────────────────────────────────────────────────────────────────────


def fill(lab: Lab, topic: str, log_start: int) -> Load:
    """Creates a topic of one partition on the source that has nothing below `log_start`, and some records behind it."""
    lab.say(f"writing {log_start:,} offsets of filler into {topic}, and deleting them")
    lab.create_topic(Side.SOURCE, topic, 1)
    host, port = lab.bootstrap(Side.SOURCE).split(":")
    settings = ConnectionSettings(client_id="bench-filler")
    connection = Connection(Side.SOURCE, BrokerAddress(BrokerId(-1), host, int(port)), settings)
    try:
        left = log_start
        while left:
            size = min(LARGEST_SIZE, left.bit_length() - 1)
            _append(connection, topic, size)
            left -= 1 << size
        place = TopicPartition(TopicName(topic), Partition(0))
        answer = connection.call(delete_records({place: Offset(log_start)}, _TIMEOUT_MS))[place]
        if answer.error or answer.offset != log_start:
            raise BenchError(f"{topic} was not trimmed to {log_start:,}: {answer}")
    finally:
        connection.close()
    return lab.fill(topic, partitions=1, records=RECORDS)


def _append(connection: Connection, topic: str, size: int) -> None:
    """Appends 2^size records of filler, as a producer without an id."""
    view = memoryview(build_filler(size, int(time.time() * 1000)))
    stamp(view, 0, len(view), -1, -1, -1, Codec.GZIP)
    connection.send(
        produce.serialize_produce(
            correlation_id=connection.next_correlation_id(),
            client_id=connection.client_id,
            timeout_ms=_TIMEOUT_MS,
            batches={topic.encode(): [(0, view)]},
        )
    )
    (answer,) = produce.parse_produce(connection.receive(bytearray(1024))).partitions.values()
    if answer.error:
        raise BenchError(f"{topic} does not take filler: {answer}")


# ── a round ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _align(lab: Lab, load: Load) -> AlignmentFigures:
    lab.clear()
    migration = lab.new_name("bench")
    with start_kmigrate(lab, migration, [load.topic]) as program:
        samples = _watch(lab, program, load)
        program.finish(END_SECONDS)
    check_copy(lab, load, program)
    forget(lab, migration)
    return decide_figures(samples, load.offsets - load.records)


def _watch(lab: Lab, program: Program, load: Load) -> list[Sample]:
    """Samples until the target's log starts where the source's does."""
    samples: list[Sample] = []
    while True:
        ended = program.ended()
        samples.append(_take_sample(lab, program, load))
        if samples[-1].log_start == load.offsets - load.records:
            return samples
        if ended or samples[-1].seconds > LIMIT_SECONDS:
            raise BenchError(f"the log start was not reached; {samples[-1]}:\n{program.log_tail()}")
        time.sleep(_SAMPLE_SECONDS)


def _take_sample(lab: Lab, program: Program, load: Load) -> Sample:
    ends = lab.log_ends(Side.TARGET, load.topic)
    target_cpu, cpu = lab.broker_cpu().target, program.usage().cpu_seconds
    return Sample(time.monotonic() - program.started, None if ends is None else ends[0], cpu, target_cpu)


def decide_figures(samples: list[Sample], log_start: int) -> AlignmentFigures:
    """The figures of an alignment to `log_start`; raises ValueError if its beginning or its end was not seen."""
    begin = max((sample for sample in samples if sample.log_start is None), default=None)
    end = next((sample for sample in samples if sample.log_start == log_start), None)
    if begin is None or end is None or end.target_cpu_seconds <= begin.target_cpu_seconds:
        raise ValueError("the alignment was not seen from its beginning to its end")
    seconds, target_cpu = end.seconds - begin.seconds, end.target_cpu_seconds - begin.target_cpu_seconds
    return AlignmentFigures(
        seconds=seconds,
        offsets_per_second=log_start / seconds,
        offsets_per_core_second=log_start / target_cpu,
        target_cores=target_cpu / seconds,
        cpu_seconds=end.cpu_seconds - begin.cpu_seconds,
    )
