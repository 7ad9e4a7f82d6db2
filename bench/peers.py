"""kmigrate beside all others on the same topic: three MirrorMakers, and what the target takes from a producer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from bench.copying import (
    Copy,
    copy_as_it_comes,
    copy_by_kmigrate,
    copy_by_mirror_maker,
    tell,
    warm_up,
    write_by_producer,
)
from bench.figures import Goal, Row
from bench.lab import BATCH_BYTES, SOURCE_VERSION, TARGET_VERSION, Lab
from bench.machine import describe_machine
from bench.mirror_maker import EXACTLY_ONCE, Tuning
from bench.report import CaseResult
from bench.turns import compare_copies
from bench.watch import CopyFigures

PARTITIONS = 12
RECORD_BYTES = 1024
RECORDS, SHORT_RECORDS = 1_500_000, 300_000
WARM_UP_SHARE = 5
ROUNDS = 3
US = "kmigrate"
OTHERS: dict[str, Copy] = {
    "MirrorMaker 2, tuned": copy_by_mirror_maker,
    "MirrorMaker 2, as it comes": copy_as_it_comes,
    "MirrorMaker 2, exactly once": partial(copy_by_mirror_maker, more=EXACTLY_ONCE),
    "ProducerPerformance": partial(write_by_producer, record_bytes=RECORD_BYTES, batch_bytes=BATCH_BYTES),
}
_GOALS = {"ProducerPerformance": Goal(limit=1.2, at_most=False)}
"""A producer shares the target's CPU as we do, and makes its records itself."""


def measure(lab: Lab) -> CaseResult:
    """Every tool copies the same topic in every round, another one first each time."""
    records = SHORT_RECORDS if lab.short else RECORDS
    tools: dict[str, Copy] = {US: copy_by_kmigrate, **OTHERS}
    warm = lab.fill("warm-up-peers", partitions=PARTITIONS, records=records // WARM_UP_SHARE)
    warm_up(lab, warm, {name: tools[name] for name in (US, "MirrorMaker 2, tuned")})
    load = lab.fill("peers", partitions=PARTITIONS, records=records)
    found: dict[str, list[CopyFigures]] = {name: [] for name in tools}
    rounds = lab.rounds(ROUNDS)
    for number in range(rounds):
        names = list(tools)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(tools[name](lab, load))
            lab.say(f"round {number + 1} of {rounds}: {tell(name, found[name][-1])}")
    lab.forget_loads()
    return CaseResult(
        case="peers",
        title=f"Records of {RECORD_BYTES} bytes in batches of 16 KB, {PARTITIONS} partitions: kmigrate and each other.",
        other="the other",
        rows=tuple(row for name in OTHERS for row in _rows(name, found[US], found[name])),
        settings={
            "Records": load.records,
            "Log": f"{load.log_bytes / 1e9:.2f} GB",
            "Rounds": rounds,
            "Brokers": lab.describe_brokers(),
            "Tuned": str(Tuning.best()),
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[{name: asdict(figures[number]) for name, figures in found.items()} for number in range(rounds)],
    )


def _rows(name: str, ours: list[CopyFigures], theirs: list[CopyFigures]) -> list[Row]:
    def row(label: str, unit: str, of: Callable[[CopyFigures], float], goal: Goal | None = None) -> Row:
        return compare_copies(ours, theirs, f"{label}; {name}", unit, of, goal)

    return [
        row("speed", "records/s", lambda each: each.records_per_second, _GOALS.get(name)),
        row("CPU per record", "µs", lambda each: each.cpu_us_per_record),
        row("CPU per record of the target broker", "µs", lambda each: each.target_cpu_us_per_record),
        row("most memory", "MB", lambda each: each.peak_memory_mb),
        row("first record after", "s", lambda each: each.first_record_seconds),
    ]
