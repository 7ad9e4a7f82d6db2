"""Throughput and CPU of kmigrate and of a tuned MirrorMaker 2 on the same brokers, in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from bench.copying import Copy, copy_by_kmigrate, copy_by_mirror_maker, tell, warm_up
from bench.figures import Compare, Goal, Row
from bench.lab import BATCH_BYTES, HEAP, SOURCE_VERSION, TARGET_VERSION, Lab
from bench.machine import describe_machine
from bench.programs import MIRROR_MAKER_HEAP, MIRROR_MAKER_TASKS, MIRROR_MAKER_VERSION
from bench.report import CaseResult
from bench.watch import CopyFigures

PARTITIONS = 12
RECORD_BYTES = 1024
RECORDS, SHORT_RECORDS = 3_000_000, 600_000
WARM_UP_RECORDS, SHORT_WARM_UP_RECORDS = 500_000, 200_000
ROUNDS = 3
TOOLS: dict[str, Copy] = {"kmigrate": copy_by_kmigrate, "MirrorMaker 2": copy_by_mirror_maker}

CPU_GOAL = Goal(limit=1 / 6, words="1/6")
SPEED_GOAL = Goal(limit=1.8, at_most=False)


def measure(lab: Lab) -> CaseResult:
    """Warms up, then lets both tools copy the same topic in every round, the first one changing."""
    warm = lab.fill("warm-up", partitions=PARTITIONS, records=SHORT_WARM_UP_RECORDS if lab.short else WARM_UP_RECORDS)
    warm_up(lab, warm, TOOLS)
    load = lab.fill(
        "measured",
        partitions=PARTITIONS,
        records=SHORT_RECORDS if lab.short else RECORDS,
        record_bytes=RECORD_BYTES,
    )
    found: dict[str, list[CopyFigures]] = {name: [] for name in TOOLS}
    rounds = lab.rounds(ROUNDS)
    for number in range(rounds):
        names = list(TOOLS) if number % 2 == 0 else list(reversed(TOOLS))
        for name in names:
            found[name].append(TOOLS[name](lab, load))
            lab.say(f"round {number + 1} of {rounds}: {tell(name, found[name][-1])}")
    lab.forget_loads()
    ours, theirs = found.values()
    return CaseResult(
        case="throughput",
        title=f"Records of {RECORD_BYTES} bytes in {PARTITIONS} partitions, no codec, copied as fast as possible.",
        other="MirrorMaker 2",
        rows=_rows(ours, theirs),
        settings={
            "Records": load.records,
            "Median batch": f"{load.batch_bytes:,} bytes (batch.size {BATCH_BYTES:,})",
            "Log": f"{load.log_bytes / 1e9:.2f} GB",
            "Rounds": rounds,
            "Brokers": f"one source, one target, heap {HEAP} each",
            "MirrorMaker 2": f"{MIRROR_MAKER_VERSION}, heap {MIRROR_MAKER_HEAP}, {MIRROR_MAKER_TASKS} tasks, tuned",
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[{name: asdict(figures[number]) for name, figures in found.items()} for number in range(rounds)],
    )


def _rows(ours: list[CopyFigures], theirs: list[CopyFigures]) -> tuple[Row, ...]:
    def row(label: str, unit: str, of: Callable[[CopyFigures], float], goal: Goal | None = None) -> Row:
        return Row(
            label=label,
            unit=unit,
            ours=tuple(map(of, ours)),
            theirs=tuple(map(of, theirs)),
            compare=Compare.RATIO,
            goal=goal,
        )

    return (
        row("CPU per record", "µs", lambda f: f.cpu_us_per_record, CPU_GOAL),
        row("speed", "records/s", lambda f: f.records_per_second, SPEED_GOAL),
        row("speed from the first record on", "records/s", lambda f: f.records_per_second_from_first),
        row("CPU per GB", "s", lambda f: f.cpu_seconds_per_gb),
        row("CPU per record, start-up included", "µs", lambda f: f.whole_cpu_us_per_record),
        row("cores used", "", lambda f: f.cpu_cores),
        row("CPU per record of the source broker", "µs", lambda f: f.source_cpu_us_per_record),
        row("CPU per record of the target broker", "µs", lambda f: f.target_cpu_us_per_record),
        row("most memory", "MB", lambda f: f.peak_memory_mb),
        row("first record after", "s", lambda f: f.first_record_seconds),
        row("all records after", "s", lambda f: f.whole_seconds),
    )
