"""Whole pipelines against brokers that read and answer real bytes, while links break, leaders move and copiers die.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.pipelines import run_pipeline_seeds
from tests.simulation.values import VARIABLE

RUNS = 360
PROCESSES = 2
CHUNK = 10
REACHED = (
    "SOURCE_CORRUPT",
    "SOURCE_TRUNCATED",
    "TARGET_LOST",
    "UNSUPPORTED",
    "FOREIGN_WRITE",
    "appends",
    "completed",
    "duplicates",
    "flips",
    "late appends",
    "refused sequences",
)
"""What must have happened now and then, or the runs prove nothing."""


def fail(seed: int, what: str) -> None:
    pytest.fail(f"{what}\nagain: {VARIABLE}={seed} pytest tests/property/test_pipeline_bytes.py", pytrace=False)


def test_no_pipeline_breaks_a_law(
    seed: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    one = os.environ.get(VARIABLE)
    if one:
        _, broken = run_pipeline_seeds([int(one)])
        if broken:
            fail(*broken)
        return
    seeds = range(seed * RUNS, (seed + 1) * RUNS)
    chunks = [seeds[at : at + CHUNK] for at in range(0, RUNS, CHUNK)]
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        for found, broken in pool.map(run_pipeline_seeds, chunks):
            seen += found
            if broken:
                pool.shutdown(cancel_futures=True)
                fail(*broken)
    words = ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items()))
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    with capsys.disabled():
        reporter.write_line(f"\nbytes simulation: {words}")
    assert seen["runs"] == RUNS
    assert [what for what in REACHED if not seen[what]] == [], "the simulation no longer reaches these"
