"""Runs many seeds of a simulation in two processes, and shows what they reached.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.values import VARIABLE

PROCESSES = 2
Broken = tuple[int, str]
RunSeeds = Callable[[Sequence[int]], tuple[Counter[str], Broken | None]]
"""Runs seeds one after the other: what they reached, and the first that broke a law."""


def run_many(
    run_seeds: RunSeeds, request: pytest.FixtureRequest, *, seed: int, runs: int, chunk: int, reached: Sequence[str]
) -> None:
    """Fails with the first seed that breaks a law, or if the runs no longer reach what they must.

    With one seed named by the environment only that one is run.
    """
    one = os.environ.get(VARIABLE)
    if one:
        _, broken = run_seeds([int(one)])
        _check(broken, request)
        return
    seeds = range(seed * runs, (seed + 1) * runs)
    chunks = [seeds[at : at + chunk] for at in range(0, runs, chunk)]
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        for found, broken in pool.map(run_seeds, chunks):
            seen += found
            if broken:
                pool.shutdown(cancel_futures=True)
            _check(broken, request)
    _show(seen, request)
    assert seen["runs"] == runs
    assert [what for what in reached if not seen[what]] == [], "the simulation no longer reaches these"


def _check(broken: Broken | None, request: pytest.FixtureRequest) -> None:
    if broken:
        seed, what = broken
        path = request.path.relative_to(request.config.rootpath)
        pytest.fail(f"{what}\nagain: {VARIABLE}={seed} pytest {path}", pytrace=False)


def _show(seen: Counter[str], request: pytest.FixtureRequest) -> None:
    words = ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items()))
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")
    with capsys.disabled():
        reporter.write_line(f"\n{request.path.stem}: {words}")
