"""kmigrate and a tuned MirrorMaker 2 copy the same topic in turns, and are compared round by round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

from bench.copying import Copy, copy_by_kmigrate, copy_by_mirror_maker, tell, warm_up
from bench.figures import Compare, Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, Lab, Load
from bench.machine import describe_machine
from bench.mirror_maker import Tuning
from bench.report import CaseResult
from bench.watch import CopyFigures

ROUNDS = 3
TOOLS: dict[str, Copy] = {"kmigrate": copy_by_kmigrate, "MirrorMaker 2": copy_by_mirror_maker}
COMMITTED_TOOLS = TOOLS | {"MirrorMaker 2": partial(copy_by_mirror_maker, committed=True)}


class Goals(NamedTuple):
    """What is wanted of kmigrate, as a share of what MirrorMaker 2 does."""

    cpu: Goal | None = None
    speed: Goal | None = None


NO_GOALS = Goals()


def measure_in_turns(
    lab: Lab,
    *,
    case: str,
    title: str,
    goals: Goals,
    warm: Callable[[], Load],
    load: Callable[[], Load],
    describe: Callable[[Load], Mapping[str, str | int]],
    tools: dict[str, Copy] = TOOLS,
) -> CaseResult:
    """Warms up, then lets both tools copy the same topic in every round, the first one changing.

    `warm` and `load` write the two topics; `describe` says what is to be known of the second one.
    """
    warm_up(lab, warm(), tools)
    measured = load()
    found: dict[str, list[CopyFigures]] = {name: [] for name in tools}
    rounds = lab.rounds(ROUNDS)
    for number in range(rounds):
        names = list(tools) if number % 2 == 0 else list(reversed(tools))
        for name in names:
            found[name].append(tools[name](lab, measured))
            lab.say(f"round {number + 1} of {rounds}: {tell(name, found[name][-1])}")
    lab.forget_loads()
    ours, theirs = found.values()
    return CaseResult(
        case=case,
        title=title,
        other="MirrorMaker 2",
        rows=_rows(ours, theirs, goals),
        settings={
            "Records": measured.records,
            **describe(measured),
            "Log": f"{measured.log_bytes / 1e9:.2f} GB",
            "Rounds": rounds,
            "Brokers": lab.describe_brokers(),
            "MirrorMaker 2": f"tuned: {Tuning.best()}",
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[{name: asdict(figures[number]) for name, figures in found.items()} for number in range(rounds)],
    )


def compare_copies(
    ours: Sequence[CopyFigures],
    theirs: Sequence[CopyFigures],
    label: str,
    unit: str,
    of: Callable[[CopyFigures], float],
    goal: Goal | None = None,
) -> Row:
    """One figure of our copies as a ratio to that of the others', round by round."""
    return Row(
        label=label,
        unit=unit,
        ours=tuple(map(of, ours)),
        theirs=tuple(map(of, theirs)),
        compare=Compare.RATIO,
        goal=goal,
    )


def _rows(ours: list[CopyFigures], theirs: list[CopyFigures], goals: Goals) -> tuple[Row, ...]:
    row = partial(compare_copies, ours, theirs)
    return (
        row("CPU per record", "µs", lambda f: f.cpu_us_per_record, goals.cpu),
        row("speed", "records/s", lambda f: f.records_per_second, goals.speed),
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
