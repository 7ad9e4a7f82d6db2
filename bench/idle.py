"""What many partitions cost: how soon their copy begins, and what they take when they are in sync and idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from bench import proc
from bench.figures import Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, BenchError, BrokerCpu, Lab, Load
from bench.machine import describe_machine
from bench.programs import Program, forget, start_kmigrate
from bench.report import CaseResult
from kmigrate.kafka_types import Side

PARTITIONS = 100
"""Of each topic."""
RECORDS_EACH = 3
SECONDS, SHORT_SECONDS = 60.0, 20.0
_SETTLE_SECONDS = 10.0
_BASELINE_SECONDS = 20.0
_LIMIT_SECONDS = 300.0


class Size(NamedTuple):
    """How many topics, and what is wanted: percent of a core when idle, seconds until the first record is copied."""

    topics: int
    cpu: Goal
    begins: Goal | None = None


SIZES: Mapping[str, Size] = {
    "idle": Size(10, Goal(limit=3.0)),
    "thousands": Size(100, Goal(limit=10.0), Goal(limit=15.0)),
}


def measure(case: str, lab: Lab) -> CaseResult:
    """Brings all partitions in sync, lets the brokers come to rest, and counts CPU; the brokers' own beforehand."""
    size = SIZES[case]
    partitions = size.topics * PARTITIONS
    lab.say(f"creating {partitions:,} partitions")
    loads = [
        lab.seed(f"idle-{number}", partitions=PARTITIONS, records_each=RECORDS_EACH) for number in range(size.topics)
    ]
    time.sleep(_SETTLE_SECONDS)
    before = _broker_percent(lab, _BASELINE_SECONDS)
    migration = lab.new_name("bench")
    seconds = SHORT_SECONDS if lab.short else SECONDS
    with start_kmigrate(lab, migration, ["idle-.*"], until_in_sync=False) as program:
        first = _wait_until_begun(lab, program, loads)
        took = _wait_until_copied(lab, program, loads)
        lab.say(f"first record after {first:.1f} s, all copied after {took:.1f} s; counting CPU for {seconds:.0f} s")
        time.sleep(_SETTLE_SECONDS)
        cpu, brokers, memory_mb = _percent(lab, program, seconds)
    forget(lab, migration)
    lab.forget_loads()
    owner, workers = cpu
    rows = (
        Row(label="CPU of owner and workers", unit="% of a core", ours=(owner + workers,), goal=size.cpu),
        Row(label="CPU of the owner", unit="% of a core", ours=(owner,)),
        Row(label="CPU of the workers", unit="% of a core", ours=(workers,)),
        Row(label="CPU of the source broker", unit="% of a core", ours=(brokers.source,)),
        Row(label="CPU of the source broker without us", unit="% of a core", ours=(before.source,)),
        Row(label="CPU of the target broker", unit="% of a core", ours=(brokers.target,)),
        Row(label="CPU of the target broker without us", unit="% of a core", ours=(before.target,)),
        Row(label="memory (PSS)", unit="MB", ours=(memory_mb,)),
        Row(label="from start to the first record", unit="s", ours=(first,), goal=size.begins),
        Row(label="from start to all copied, topics created", unit="s", ours=(took,)),
    )
    for row in rows[:3]:
        lab.say(f"{row.label}: {row.ours[0]:.2f} {row.unit}")
    return CaseResult(
        case=case,
        title=f"{partitions:,} partitions in sync, and nothing is written.",
        other="",
        rows=rows,
        settings={"Topics": size.topics, "Partitions": partitions, "Measured for": f"{seconds:.0f} s"},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
    )


CASES: Mapping[str, Callable[[Lab], CaseResult]] = {case: partial(measure, case) for case in SIZES}


def _wait_until_begun(lab: Lab, program: Program, loads: list[Load]) -> float:
    while not any(lab.end_offsets(Side.TARGET, load.topic, load.partitions) for load in loads):
        if program.ended() or time.monotonic() - program.started > _LIMIT_SECONDS:
            raise BenchError(f"nothing is copied:\n{program.log_tail()}")
        time.sleep(0.05)
    return time.monotonic() - program.started


def _wait_until_copied(lab: Lab, program: Program, loads: list[Load]) -> float:
    for load in loads:
        while lab.end_offsets(Side.TARGET, load.topic, load.partitions) < load.records:
            seconds = time.monotonic() - program.started
            if program.ended() or seconds > _LIMIT_SECONDS:
                raise BenchError(f"{load.topic} is not copied after {seconds:.0f} s:\n{program.log_tail()}")
            time.sleep(0.1)
    return time.monotonic() - program.started


def _percent(lab: Lab, program: Program, seconds: float) -> tuple[tuple[float, float], BrokerCpu, float]:
    """CPU of owner and of workers in percent of a core, that of the brokers, and the memory at the end."""
    pids = program.pids()
    began = time.monotonic()
    before = [proc.cpu_seconds(pid) for pid in pids]
    brokers = _broker_percent(lab, seconds)
    spent = [proc.cpu_seconds(pid) - earlier for pid, earlier in zip(pids, before, strict=True)]
    elapsed = time.monotonic() - began
    if program.ended() or program.pids() != pids:
        raise BenchError(f"kmigrate or a worker of it ended meanwhile:\n{program.log_tail()}")
    percent = spent[0] / elapsed * 100, sum(spent[1:]) / elapsed * 100
    return percent, brokers, program.usage().memory_bytes / 1e6


def _broker_percent(lab: Lab, seconds: float) -> BrokerCpu:
    began, before = time.monotonic(), lab.broker_cpu()
    time.sleep(seconds)
    elapsed, after = time.monotonic() - began, lab.broker_cpu()
    return BrokerCpu(*((late - early) / elapsed * 100 for early, late in zip(before, after, strict=True)))
