"""Runs many seeds of a simulation in two processes, and shows what they reached.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import pytest

from kmigrate.copy.merging import Row
from tests.simulation.values import VARIABLE

PROCESSES = 2
Broken = tuple[int, str]


class World(Protocol):
    """One run of a simulation; `seen` counts what it reached."""

    seen: Counter[str]

    def run(self) -> None:
        """Raises if a law is broken."""


MakeWorld = Callable[[int], World]


def run_worlds(make: MakeWorld, seeds: Sequence[int]) -> tuple[Counter[str], Broken | None]:
    """Runs worlds; what was seen in all of them, and the first seed that broke a law, with what it broke."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = make(seed)
        try:
            with _counting_merges(world.seen):
                world.run()
        except Exception:  # noqa: BLE001 - whatever a run raises is what the seed must be told for
            return seen, (seed, traceback.format_exc(limit=-8))
        seen += world.seen
        seen["runs"] += 1
    return seen, None


@contextmanager
def _counting_merges(seen: Counter[str]) -> Iterator[None]:
    """Counts the rows of small batches that become one."""
    merge = Row._merge

    def count(row: Row) -> bytearray | None:
        merged = merge(row)
        seen["merged rows"] += merged is not None
        return merged

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Row, "_merge", count)
        yield


def run_many(
    make: MakeWorld, request: pytest.FixtureRequest, *, seed: int, runs: int, chunk: int, reached: Sequence[str]
) -> None:
    """Fails with the first seed that breaks a law, or if the runs no longer reach what they must.

    With one seed named by the environment only that one is run.
    """
    one = os.environ.get(VARIABLE)
    if one:
        _, broken = run_worlds(make, [int(one)])
        _check(broken, request)
        return
    seeds = range(seed * runs, (seed + 1) * runs)
    chunks = [seeds[at : at + chunk] for at in range(0, runs, chunk)]
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:  # a fork of librdkafka crashes
        for found, broken in pool.map(partial(run_worlds, make), chunks):
            seen += found
            if broken:
                pool.shutdown(cancel_futures=True)
            _check(broken, request)
    _show(seen, request)
    assert seen["runs"] == runs
    missing = [what for what in reached if not seen[what]]
    assert missing == [], f"the simulation no longer reaches {missing}"


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
