"""Ten thousand lives of one partition: real copiers, real inquiries, modelled brokers, and everything that goes wrong.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest

from kmigrate.copy.states import StopKind
from tests.simulation.values import VARIABLE, run_seeds

RUNS = 12_000
PROCESSES = 2
CHUNK = 200
UNREACHED = {StopKind.SOURCE_DELETED, StopKind.TARGET_REJECTED, StopKind.UNAUTHORIZED}
"""Stops that only an order or a refusal brings; the copier's own tests reach them."""
REACHED = (
    "appends",
    "appends to an unknown id",
    "completed",
    "duplicates",
    "late appends",
    "misplaced in flight",
    "refused sequences",
    "very late appends",
    "waits for a quiet end",
    *(kind.value for kind in StopKind if kind not in UNREACHED),
)
"""What must have happened now and then, or the runs prove nothing."""


def fail(seed: int, what: str) -> None:
    pytest.fail(f"{what}\nagain: {VARIABLE}={seed} pytest tests/property/test_copier_values.py", pytrace=False)


def test_no_life_of_a_partition_breaks_a_law(
    seed: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    one = os.environ.get(VARIABLE)
    if one:
        _, broken = run_seeds([int(one)])
        if broken:
            fail(*broken)
        return
    seeds = range(seed * RUNS, (seed + 1) * RUNS)
    chunks = [seeds[at : at + CHUNK] for at in range(0, RUNS, CHUNK)]
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        for found, broken in pool.map(run_seeds, chunks):
            seen += found
            if broken:
                pool.shutdown(cancel_futures=True)
                fail(*broken)
    words = ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items()))
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    with capsys.disabled():
        reporter.write_line(f"\nvalues simulation: {words}")
    assert seen["runs"] == RUNS
    assert [what for what in REACHED if not seen[what]] == [], "the simulation no longer reaches these"
