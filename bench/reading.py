"""What it costs to read both clusters again: `kmigrate verify`, and `kmigrate message query`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.figures import Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, BenchError, Lab, Load
from bench.machine import describe_machine
from bench.programs import Program, forget, kmigrate_command, start_kmigrate
from bench.report import CaseResult

PARTITIONS = 12
RECORDS, SHORT_RECORDS = 2_000_000, 300_000
RECORD_BYTES = 1_024
DEEP_RECORDS, SHORT_DEEP_RECORDS = 10_000_000, 500_000
DEEP_RECORD_BYTES = 100
ROUNDS = 3
VERIFY_GOAL = Goal(limit=150.0, at_most=False)
VERIFY_MEMORY_GOAL = Goal(limit=200.0)
FIRST_GOAL = Goal(limit=0.5)
SEARCH_GOAL = Goal(limit=100.0, at_most=False)
MEGABYTE = 1_000_000
ABSENT = "this text is in no record"
_LIMIT_SECONDS = 600.0
_SAMPLE_SECONDS = 0.1
_LOOK_SECONDS = 0.002
RECORD = "{"
"""How a record begins that `-o json` prints."""


class Reading(NamedTuple):
    """One command from its start to its end; `first_seconds` is until its first result was there, if that is asked."""

    seconds: float
    first_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


def measure_verify(lab: Lab) -> CaseResult:
    """Copies a topic, and then reads both sides of it again, several times."""
    load = lab.fill("verified", partitions=PARTITIONS, records=SHORT_RECORDS if lab.short else RECORDS)
    migration = _copy(lab, load)
    found = [_read(lab, migration, "verify", "--mode", "records", "--again", "-o", "json") for _ in _rounds(lab)]
    forget(lab, migration)
    lab.forget_loads()
    megabytes = load.log_bytes / MEGABYTE
    rows = (
        Row(
            label="log a second of CPU",
            unit="MB/s",
            ours=tuple(megabytes / each.cpu_seconds for each in found),
            goal=VERIFY_GOAL,
        ),
        Row(label="speed", unit="MB/s", ours=tuple(megabytes / each.seconds for each in found)),
        Row(
            label="most memory (PSS)",
            unit="MB",
            ours=tuple(each.peak_memory_bytes / MEGABYTE for each in found),
            goal=VERIFY_MEMORY_GOAL,
        ),
    )
    return CaseResult(
        case="verify",
        title=f"`kmigrate verify` of {RECORD_BYTES} byte records in {PARTITIONS} partitions, no codec.",
        other="",
        rows=rows,
        settings=_settings(load),
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=[each._asdict() for each in found],
    )


def measure_message(lab: Lab) -> CaseResult:
    """Finds one record deep in a partition, by offset and by time; searches a topic for a text that is not there."""
    deep = lab.fill(
        "deep", partitions=1, records=SHORT_DEEP_RECORDS if lab.short else DEEP_RECORDS, record_bytes=DEEP_RECORD_BYTES
    )
    wide = lab.fill("searched", partitions=PARTITIONS, records=SHORT_RECORDS if lab.short else RECORDS)
    migration = _copy(lab, deep, wide)
    middle = str(deep.records // 2)
    one = ("message", "query", "-t", deep.topic, "--limit", "1", "-o", "json")
    search = ("message", "query", "-t", wide.topic, "--side", "source", "--text", ABSENT, "-o", "json")
    by_offset, by_time, searched = [], [], []
    for _ in _rounds(lab):
        by_offset.append(_read(lab, migration, *one, "-p", "0", "--offset", middle, first=RECORD))
        by_time.append(_read(lab, migration, *one, "--order", "oldest", "--since", "7d", first=RECORD))
        searched.append(_read(lab, migration, *search))
    forget(lab, migration)
    lab.forget_loads()
    megabytes = wide.log_bytes / MEGABYTE
    rows = (
        *_first_rows("one record by its offset", by_offset),
        *_first_rows("one record by its time", by_time),
        Row(
            label="text search, whole command",
            unit="MB/s",
            ours=tuple(megabytes / each.seconds for each in searched),
            goal=SEARCH_GOAL,
        ),
        Row(
            label="most memory (PSS) of the text search",
            unit="MB",
            ours=tuple(each.peak_memory_bytes / MEGABYTE for each in searched),
        ),
    )
    return CaseResult(
        case="message",
        title=f"`kmigrate message query` in a partition of {deep.records:,} records, and over {megabytes:,.0f} MB.",
        other="",
        rows=rows,
        settings=_settings(wide),
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
    )


def _first_rows(what: str, found: Sequence[Reading]) -> tuple[Row, Row]:
    """From the start of the process to its first result, which the goal is about, and to its end."""
    return (
        Row(
            label=f"{what}, to the first result",
            unit="s",
            ours=tuple(each.first_seconds for each in found),
            goal=FIRST_GOAL,
        ),
        Row(label=f"{what}, whole command", unit="s", ours=tuple(each.seconds for each in found)),
    )


def _rounds(lab: Lab) -> range:
    return range(lab.rounds(ROUNDS))


def _settings(load: Load) -> Mapping[str, str | int]:
    return {"Records": load.records, "Partitions": load.partitions, "Log": f"{load.log_bytes / 1e9:.2f} GB"}


def _copy(lab: Lab, *loads: Load) -> str:
    """Copies topics to the target; returns the migration's name."""
    migration = lab.new_name("bench")
    with start_kmigrate(lab, migration, [load.topic for load in loads]) as program:
        program.finish(_LIMIT_SECONDS)
    return migration


def _read(lab: Lab, migration: str, *command: str, first: str = "") -> Reading:
    """Runs a command that reads; raises BenchError unless it ends well.

    `first` is how the first line of a result begins. Memory is sampled only where no first result is waited for: a
    sample takes as long as it is to be measured.
    """
    folder = lab.work / migration
    words = [word for word in command if not word.startswith("-")][: 2 if command[0] == "message" else 1]
    place = ["--file", str(folder / "manifest.yaml"), "--state", str(folder / "state")]
    log = folder / f"{lab.new_name(words[-1])}.out"
    peak, first_seconds = 0, 0.0
    with Program("kmigrate", [*kmigrate_command(), *words, *place, *command[len(words) :]], log) as program:
        while not program.ended():
            seconds = time.monotonic() - program.started
            if seconds > _LIMIT_SECONDS:
                raise BenchError(f"{' '.join(words)} did not end:\n{program.log_tail()}")
            if first and not first_seconds:
                first_seconds = seconds if _has_line(log, first) else 0.0
                time.sleep(_LOOK_SECONDS)
            elif not first:
                peak = max(peak, program.usage().memory_bytes)
                program.wait(_SAMPLE_SECONDS)
        seconds = time.monotonic() - program.started
        program.finish(0)
    if first and not _has_line(log, first):
        raise BenchError(f"{' '.join(words)} found nothing:\n{program.log_tail()}")
    lab.say(f"{' '.join(words)}: {seconds:.2f} s, {program.total_cpu_seconds:.2f} s of CPU, {peak / MEGABYTE:.0f} MB")
    return Reading(seconds, first_seconds or seconds, program.total_cpu_seconds, peak)


def _has_line(log: Path, beginning: str) -> bool:
    """Whether a whole line that begins so stands in what was printed."""
    with contextlib.suppress(FileNotFoundError):
        return any(line.startswith(beginning) and line.endswith("\n") for line in log.read_text().splitlines(True))
    return False
