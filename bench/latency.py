"""How much later a record is seen on the target than it would be if it had been written there.

Two streams run side by side for the same time and under the same load: one is written to the source, copied, and read
on the target; the other is written to the target and read there. What the machine does to one it does to the other,
so their difference is the copy's. Writers and readers are processes of their own (`bench.latency_client`).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.figures import Compare, Goal, Row
from bench.lab import SOURCE_VERSION, TARGET_VERSION, BenchError, Lab
from bench.latency_client import LINGER_MS
from bench.machine import describe_machine
from bench.programs import forget, start_kmigrate
from bench.report import CaseResult
from kmigrate.kafka_types import Side

PARTITIONS = 12
RECORDS_PER_SECOND = 5_000
RECORD_BYTES = 1024
SECONDS, SHORT_SECONDS = 20.0, 8.0
LEAD_SECONDS = 5.0
ROUNDS = 3
GOALS = {"p50": Goal(limit=10.0), "p99": Goal(limit=35.0)}
"""Milliseconds more than what is written to the target directly."""
CORES_GOAL = Goal(limit=0.15)
_SHARES = ("p50", "p90", "p99", "p99.9")
_LIMIT_SECONDS = 60.0

Figures = Mapping[str, float]


def measure(lab: Lab) -> CaseResult:
    """Runs both streams in every round; the first seconds of each do not count, nor does the first round."""
    seconds = SHORT_SECONDS if lab.short else SECONDS
    rounds = lab.rounds(ROUNDS)
    migration = lab.new_name("bench")
    copied, direct = "copied", "direct"
    lab.seed(copied, partitions=PARTITIONS, records_each=1)
    lab.create_topic(Side.TARGET, direct, PARTITIONS)
    found: list[dict[str, Any]] = []
    with start_kmigrate(lab, migration, [copied], until_in_sync=False) as program:
        lab.wait_until(
            lambda: lab.end_offsets(Side.TARGET, copied, PARTITIONS) >= PARTITIONS or program.ended(),
            "the topic is not on the target",
        )
        for number in range(rounds + 1):
            used, began = program.usage().cpu_seconds, time.monotonic()
            streams = _stream_both(lab, {copied: Side.SOURCE, direct: Side.TARGET}, seconds)
            cores = (program.usage().cpu_seconds - used) / (time.monotonic() - began)
            if program.ended():
                raise BenchError(f"kmigrate ended with code {program.exit_code}:\n{program.log_tail()}")
            told = "; ".join(f"{name} p50 {f['p50']:.1f} ms, p99 {f['p99']:.1f} ms" for name, f in streams.items())
            lab.say(f"round {number} of {rounds}: {told}" if number else f"warm-up: {told}")
            if number:
                found.append({"copied": streams[copied], "direct": streams[direct], "cores": cores})
    forget(lab, migration)
    lab.forget_loads()
    return CaseResult(
        case="latency",
        title="From writing to reading on the target: through the copy, and written there directly at the same time.",
        other="written to the target",
        rows=_rows(found),
        settings={
            "Records a second, each stream": RECORDS_PER_SECOND,
            "Record": f"{RECORD_BYTES} bytes",
            "linger.ms": LINGER_MS,
            "Partitions": PARTITIONS,
            "Counted": f"{seconds:.0f} s after {LEAD_SECONDS:.0f} s",
        },
        machine=describe_machine([SOURCE_VERSION, TARGET_VERSION]),
        short=lab.short,
        rounds=found,
    )


def _rows(found: list[dict[str, Any]]) -> tuple[Row, ...]:
    return (
        *(
            Row(
                label=share,
                unit="ms",
                ours=tuple(figures["copied"][share] for figures in found),
                theirs=tuple(figures["direct"][share] for figures in found),
                compare=Compare.DIFFERENCE,
                goal=GOALS.get(share),
            )
            for share in _SHARES
        ),
        Row(
            label="cores used by owner and workers",
            unit="",
            ours=tuple(figures["cores"] for figures in found),
            goal=CORES_GOAL,
        ),
    )


def _stream_both(lab: Lab, streams: Mapping[str, Side], seconds: float) -> Mapping[str, Figures]:
    """Topic → percentiles in milliseconds. Every stream has a reader on the target and a writer on its side."""
    with contextlib.ExitStack() as stack:
        readers = {topic: stack.enter_context(_client(lab, "read", Side.TARGET, topic, seconds)) for topic in streams}
        for topic, reader in readers.items():
            if not reader.stdout or reader.stdout.readline().strip() != "ready":
                raise BenchError(f"the reader of {topic} did not start:\n{_error_of(lab, 'read', topic)}")
        writers = {
            topic: stack.enter_context(_client(lab, "write", side, topic, seconds)) for topic, side in streams.items()
        }
        told = {topic: _finish(lab, writer, "write", topic) for topic, writer in writers.items()}
        found = {topic: _finish(lab, reader, "read", topic) for topic, reader in readers.items()}
    for topic, figures in found.items():
        if figures["records"] != told[topic]["records"]:
            raise BenchError(f"{topic}: {told[topic]['records']} records written, {figures['records']} read")
    return found


@contextlib.contextmanager
def _client(lab: Lab, role: str, side: Side, topic: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.latency_client", role, lab.bootstrap(side), topic, str(PARTITIONS)]
    command += [str(RECORDS_PER_SECOND), str(RECORD_BYTES), str(LEAD_SECONDS), str(seconds)]
    with _error_file(lab, role, topic).open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end tells the client that this process is gone
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(__file__).parents[1],
            process_group=0,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()  # only now: it closes their standard input


def _finish(lab: Lab, process: subprocess.Popen[str], role: str, topic: str) -> dict[str, float]:
    try:
        process.wait(LEAD_SECONDS + SECONDS + _LIMIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{role} {topic} does not end: records are missing") from error
    if process.returncode or process.stdout is None:
        raise BenchError(f"{role} {topic} failed:\n{_error_of(lab, role, topic)}")
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def _error_file(lab: Lab, role: str, topic: str) -> Path:
    return lab.work / f"latency-{role}-{topic}.err"


def _error_of(lab: Lab, role: str, topic: str) -> str:
    return _error_file(lab, role, topic).read_text(errors="replace")[-1000:]
