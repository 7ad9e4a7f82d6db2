"""Finds how MirrorMaker 2 is fastest here, one setting after the other, and writes that down for all other cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.copying import copy_by_mirror_maker
from bench.figures import Row, Spread
from bench.lab import SOURCE_VERSION, TARGET_VERSION, Lab, Load
from bench.machine import describe_machine
from bench.mirror_maker import TUNING, Tuning
from bench.report import RESULTS, CaseResult

PARTITIONS = 12
RECORDS, SHORT_RECORDS = 1_500_000, 300_000
ROUNDS = 2
TRIED: Mapping[str, Sequence[Any]] = {
    "tasks": (1, 2, 4, 12),
    "collector": ("Parallel", "G1", "Serial"),
    "batch_bytes": (16_384, 262_144, 1_000_000),
    "max_poll_records": (500, 2_000, 10_000),
    "linger_ms": (0, 20, 100),
}
"""What is tried of each setting, in the order of what it is likely to bring."""


def measure(lab: Lab) -> CaseResult:
    """Each setting in turn; what is best of one is kept for the next."""
    load = lab.fill("tuning", partitions=PARTITIONS, records=SHORT_RECORDS if lab.short else RECORDS)
    best = Tuning()
    _try(lab, load, best)  # the brokers are cold
    rates: dict[Tuning, list[float]] = {}
    for setting, values in TRIED.items():
        candidates = [replace(best, **{setting: value}) for value in values]
        for _ in range(lab.rounds(ROUNDS)):
            for tuning in candidates:
                rates.setdefault(tuning, []).append(_try(lab, load, tuning))
        best = max(candidates, key=lambda tuning: Spread.of(rates[tuning]).median)
        lab.say(f"best {setting}: {getattr(best, setting)}")
    lab.forget_loads()
    if not lab.short:
        (RESULTS / TUNING).write_text(best.to_json(), encoding="utf-8")
    ordered = sorted(rates, key=lambda tuning: Spread.of(rates[tuning]).median, reverse=True)
    return CaseResult(
        case="tuning",
        title="MirrorMaker 2 under different settings; the fastest is what every other case is compared with.",
        other="",
        rows=tuple(Row(label=str(tuning), unit="records/s", ours=tuple(rates[tuning])) for tuning in ordered),
        settings={
            "Records": load.records,
            "Log": f"{load.log_bytes / 1e9:.2f} GB",
            "Brokers": lab.describe_brokers(),
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
    )


def _try(lab: Lab, load: Load, tuning: Tuning) -> float:
    rate = copy_by_mirror_maker(lab, load, tuning=tuning).records_per_second
    lab.say(f"{tuning}: {rate:,.0f} records/s")
    return rate
