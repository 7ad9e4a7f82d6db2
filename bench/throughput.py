"""Throughput and CPU of kmigrate and of a tuned MirrorMaker 2 on the same brokers, in turns."""

from __future__ import annotations

from bench.figures import Goal
from bench.lab import BATCH_BYTES, Lab
from bench.report import CaseResult
from bench.turns import Goals, measure_in_turns

PARTITIONS = 12
RECORD_BYTES = 1024
RECORDS, SHORT_RECORDS = 3_000_000, 600_000
WARM_UP_RECORDS, SHORT_WARM_UP_RECORDS = 500_000, 200_000
GOALS = Goals(cpu=Goal(limit=1 / 6, words="1/6"), speed=Goal(limit=1.8, at_most=False))


def measure(lab: Lab) -> CaseResult:
    """Both tools copy records of which each batch goes as it is."""
    records = SHORT_RECORDS if lab.short else RECORDS
    warm_up_records = SHORT_WARM_UP_RECORDS if lab.short else WARM_UP_RECORDS
    return measure_in_turns(
        lab,
        case="throughput",
        title=f"Records of {RECORD_BYTES} bytes in {PARTITIONS} partitions, no codec, copied as fast as possible.",
        goals=GOALS,
        warm=lambda: lab.fill("warm-up", partitions=PARTITIONS, records=warm_up_records),
        load=lambda: lab.fill("measured", partitions=PARTITIONS, records=records, record_bytes=RECORD_BYTES),
        describe=lambda load: {"Median batch": f"{load.batch_bytes:,} bytes (batch.size {BATCH_BYTES:,})"},
    )
