"""What many partitions cost: the same records in 200 partitions and in 12, copied in turns."""

from __future__ import annotations

from functools import partial

from bench.copying import copy_by_kmigrate, tell, warm_up
from bench.figures import Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, Lab
from bench.machine import describe_machine
from bench.report import CaseResult
from bench.turns import compare_copies
from bench.watch import CopyFigures

MANY, FEW = 200, 12
RECORDS, SHORT_RECORDS = 2_000_000, 400_000
WARM_UP_SHARE = 5
ROUNDS = 3
_GOAL = Goal(limit=1.3)


def measure(lab: Lab) -> CaseResult:
    """kmigrate alone, so that only the number of partitions differs."""
    records = SHORT_RECORDS if lab.short else RECORDS
    warm = lab.fill("warm-up-spread", partitions=FEW, records=records // WARM_UP_SHARE)
    warm_up(lab, warm, {"kmigrate": copy_by_kmigrate})
    loads = {count: lab.fill(f"spread-{count}", partitions=count, records=records) for count in (MANY, FEW)}
    found: dict[int, list[CopyFigures]] = {count: [] for count in loads}
    rounds = lab.rounds(ROUNDS)
    for number in range(rounds):
        for count in sorted(loads, reverse=number % 2 == 0):
            found[count].append(copy_by_kmigrate(lab, loads[count]))
            lab.say(f"round {number + 1} of {rounds}: {tell(f'{count} partitions', found[count][-1])}")
    lab.forget_loads()
    many, few = found[MANY], found[FEW]
    row = partial(compare_copies, many, few)
    rows = (
        row("CPU per GB", "s", lambda each: each.cpu_seconds_per_gb, _GOAL),
        row("speed", "records/s", lambda each: each.records_per_second),
        row("first record after", "s", lambda each: each.first_record_seconds),
        Row(label="most memory", unit="MB", ours=tuple(each.peak_memory_mb for each in many)),
    )
    return CaseResult(
        case="spread",
        title=f"The same records in {MANY} partitions (shown as kmigrate) and in {FEW}; 1 KB, batches of 16 KB.",
        other=f"{FEW} partitions",
        rows=rows,
        settings={"Records": records, "Rounds": rounds},
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
    )
