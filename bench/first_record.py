"""The time from the start of the command to the first record on the target, for a new migration and a resumed one."""

from __future__ import annotations

import time
from pathlib import Path

from bench.figures import Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, BenchError, Lab, Load
from bench.machine import describe_machine
from bench.programs import Program, forget, start_kmigrate
from bench.report import CaseResult
from kmigrate.kafka_types import Side

PARTITIONS = 12
RECORDS, MORE_RECORDS = 12_000, 1_200
ROUNDS, SHORT_ROUNDS = 5, 3
FIRST_GOAL = Goal(limit=2.0)
_LIMIT_SECONDS = 60.0
_POLL_SECONDS = 0.005


def measure(lab: Lab) -> CaseResult:
    """Starts a new migration, then the same one again behind new records, several times."""
    rounds = lab.asked_rounds or (SHORT_ROUNDS if lab.short else ROUNDS)
    found = []
    for number in range(rounds + 1):
        figures = _one_round(lab)
        if number == 0:
            continue  # compiles our modules and wakes the brokers' code; nobody's first start is the second one
        found.append(figures)
        lab.say(f"round {number} of {rounds}: " + ", ".join(f"{key} {value:.2f} s" for key, value in figures.items()))
    rows = [
        Row(label=key, unit="s", ours=tuple(figures[key] for figures in found), goal=FIRST_GOAL if index == 0 else None)
        for index, key in enumerate(found[0])
    ]
    return CaseResult(
        case="first-record",
        title="From the start of `kmigrate run` to the first record on the target and to the end of the command.",
        other="",
        rows=tuple(rows),
        settings={
            "Records": RECORDS,
            "Partitions": PARTITIONS,
            "Records for the resumed run": MORE_RECORDS,
            "group.initial.rebalance.delay.ms": 0,
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=found,
    )


def _one_round(lab: Lab) -> dict[str, float]:
    topic, migration = lab.new_name("early"), lab.new_name("bench")
    state = lab.work / migration / "state"
    load = lab.fill(topic, partitions=PARTITIONS, records=RECORDS)
    first, whole = _time(lab, migration, state, load, behind=0)
    more = lab.fill(topic, partitions=PARTITIONS, records=MORE_RECORDS)
    resumed, resumed_whole = _time(lab, migration, state, more, behind=load.records)
    lab.forget_loads()
    forget(lab, migration)
    return {
        "first record": first,
        "end of the command": whole,
        "resumed: first record": resumed,
        "resumed: end of the command": resumed_whole,
    }


def _time(lab: Lab, migration: str, state: Path, load: Load, *, behind: int) -> tuple[float, float]:
    """Seconds until the target has more records than before, and until the command ends."""
    with start_kmigrate(lab, migration, [load.topic], state=state) as program:
        first = _wait_for_more(lab, program, load, behind)
        program.finish(_LIMIT_SECONDS)
        whole = time.monotonic() - program.started
    if lab.count_by_librdkafka(Side.TARGET, load.topic, load.partitions) != load.records:
        raise BenchError(f"{load.topic}: the command ended before everything was copied")
    return first, whole


def _wait_for_more(lab: Lab, program: Program, load: Load, behind: int) -> float:
    while True:
        ended = program.ended()
        if lab.end_offsets(Side.TARGET, load.topic, load.partitions) > behind:
            return time.monotonic() - program.started
        seconds = time.monotonic() - program.started
        if ended or seconds > _LIMIT_SECONDS:
            raise BenchError(f"no record came to the target within {seconds:.1f} s:\n{program.log_tail()}")
        time.sleep(_POLL_SECONDS)
