"""What the copier costs when the target costs nothing: one pipeline into a sink that only acknowledges."""

from __future__ import annotations

from bench.figures import Goal, Row
from bench.lab import BATCH_BYTES, SOURCE_VERSION, TARGET_VERSION, Lab
from bench.machine import describe_machine
from bench.profiling import copy_here
from bench.report import CaseResult
from bench.sink import Sink
from kmigrate.kafka_types import Side

PARTITIONS = 12
RECORDS, SHORT_RECORDS = 2_000_000, 300_000
ROUNDS = 3
_LARGE_BATCH_BYTES = 256 << 10
_GOALS = {BATCH_BYTES: Goal(limit=1.5), _LARGE_BATCH_BYTES: Goal(limit=0.6)}


def measure(lab: Lab) -> CaseResult:
    """CPU seconds of the pipeline's thread a GB of source log, for both sizes of batches in turns."""
    records = SHORT_RECORDS if lab.short else RECORDS
    loads = {
        size: lab.fill(f"relayed-{size}", partitions=PARTITIONS, records=records, batch_bytes=size) for size in _GOALS
    }
    cpu: dict[int, list[float]] = {size: [] for size in loads}
    speed: dict[int, list[float]] = {size: [] for size in loads}
    rounds = lab.rounds(ROUNDS)
    for number in range(1 + rounds):
        for size, load in loads.items():
            with Sink(int(lab.bootstrap(Side.TARGET).split(":")[1])) as sink:
                used, seconds = copy_here(lab, load, target_port=sink.port)
            told = f"{used / load.log_bytes * 1e9:.2f} s a GB, {load.records / seconds:,.0f} records/s"
            lab.say(f"{'warm-up' if number == 0 else f'round {number}'}, batches of {size:,} bytes: {told}")
            if number:
                cpu[size].append(used / load.log_bytes * 1e9)
                speed[size].append(load.log_bytes / seconds / 1e6)
    lab.forget_loads()
    rows = []
    for size, goal in _GOALS.items():
        rows.append(Row(label=f"CPU per GB, batches of {size:,} bytes", unit="s", ours=tuple(cpu[size]), goal=goal))
        rows.append(Row(label=f"speed, batches of {size:,} bytes", unit="MB/s", ours=tuple(speed[size])))
    return CaseResult(
        case="relay",
        title=f"One pipeline from a real source into a sink that only acknowledges, {PARTITIONS} partitions, 1 KB.",
        other="",
        rows=tuple(rows),
        settings={"Records": records, "Rounds": rounds},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
    )
