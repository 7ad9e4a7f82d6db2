"""Runs every cell of every fault test on real clusters, several side by side, at most two hours at a time.

Cells of tests that are marked `alone`, which are strict about time, come last and run one at a time.

Results are appended to .long/results.jsonl as they come; what pytest says goes to .long/job-N.log. A second run goes on
where the first one ended, as long as the code is the same; with the same seed, too. Ends with 1 if a cell failed or was
not run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pytest

from tests.fault.cells import CELLS_VARIABLE
from tests.long.claims import Claims
from tests.long.cutover_table import cutover_table
from tests.long.jobs import AnotherRun, end_with_parent, heed_interrupts, run_side_by_side
from tests.long.matrix import Matrix
from tests.long.results import FILE, Result, Version, append_result, current_version, latest, load_results

SEED_VARIABLE = "KMIGRATE_SEED"
MINUTES = 115.0
"""Less than two hours by as much as a cell may take."""
JOBS = 3
"""Most cells wait most of the time: for sessions, quiet ends, brokers that come back."""
ROOM = "tests/fault"
TABLES = {"cutover": cutover_table}


def main(arguments: Sequence[str]) -> int:
    wanted = _parse(arguments)
    version = current_version()
    before = load_results(version.code)
    seed = _decide_seed(before)
    finished = {cell for cell, result in latest(before).items() if result.passed or not wanted.failed}
    os.environ[SEED_VARIABLE] = str(seed)  # before the tests read it
    os.environ[CELLS_VARIABLE] = "all"
    if wanted.claims is not None:
        return _run(wanted, version, seed, finished)
    matrix = _collect(wanted, version, seed)
    cells = matrix.cells
    if wanted.table:
        print(TABLES[wanted.table](cells, latest(before)))
        return 0
    print(f"commit {version.commit}, seed {seed}: {len(finished)} cells are finished; results: {FILE}", flush=True)
    if not wanted.list:
        left = [cell for cell in cells if cell not in finished]
        try:
            run_side_by_side(
                arguments, jobs=wanted.jobs, left=left, alone=matrix.alone, minutes=wanted.minutes, code=version.code
            )
        except AnotherRun as error:
            sys.exit(str(error))
    results = latest(load_results(version.code))
    print_table(cells, results)
    return 0 if cells and all(cell in results and results[cell].passed for cell in cells) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.add_argument("tests", nargs="*", default=[ROOM], help=f"files or node ids; default: {ROOM}")
    parser.add_argument("-k", metavar="WORDS", default="", help="only cells whose name matches, as pytest's -k")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help=f"cells side by side; default: {JOBS}")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no cell begins later than that")
    parser.add_argument("--failed", action="store_true", help="run cells again that failed")
    parser.add_argument("--list", action="store_true", help="only show the results so far")
    parser.add_argument("--table", choices=sorted(TABLES), help="only show the results so far, as a table in Markdown")
    parser.add_argument("--claims", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", metavar="FILE", help=argparse.SUPPRESS)
    wanted = parser.parse_args(arguments)
    if wanted.jobs < 1:
        parser.error("--jobs must be at least 1")
    return wanted


def _run(wanted: argparse.Namespace, version: Version, seed: int, finished: Collection[str]) -> int:
    """One job: runs what it claims."""
    heed_interrupts()
    end_with_parent()
    matrix = Matrix(
        version=version,
        seed=seed,
        finished=finished,
        seconds=wanted.minutes * 60,
        keep=append_result,
        claims=Claims(wanted.claims),
        only_alone=wanted.alone,
    )
    return int(pytest.main([*_options(wanted), "-v", "--tb=short"], plugins=[matrix]))


def _collect(wanted: argparse.Namespace, version: Version, seed: int) -> Matrix:
    matrix = Matrix(version=version, seed=seed, finished=(), seconds=0, keep=append_result)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = pytest.main([*_options(wanted), "--collect-only", "-q"], plugins=[matrix])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        sys.exit(told.getvalue())
    return matrix


def _options(wanted: argparse.Namespace) -> list[str]:
    tests = wanted.tests
    if wanted.only:
        tests = [each for each in tests if each.partition("::")[0] == wanted.only] or [wanted.only]
    return ["-p", "no:cacheprovider", *(["-k", wanted.k] if wanted.k else []), *tests]


def _decide_seed(before: Sequence[Result]) -> int:
    """The seed that was asked for, else that of the last run of this code, else a new one."""
    asked = os.environ.get(SEED_VARIABLE)
    if asked:
        return int(asked)
    return before[-1].seed if before else random.SystemRandom().randrange(2**32)


def print_table(cells: Collection[str], results: Mapping[str, Result]) -> None:
    """One line a test, then every failure with the command that repeats it."""
    rows: dict[str, list[Result | None]] = {}
    for cell in cells:
        rows.setdefault(cell.partition("[")[0], []).append(results.get(cell))
    width = max(map(len, rows), default=0)
    commits = sorted({result.commit for result in results.values()})
    print(f"\nThe code is that of {', '.join(commits) or 'no run'}.")
    print(f"\n{'test':<{width}}  cells  passed  failed  not run  minutes")
    for test, row in rows.items():
        run = [result for result in row if result is not None]
        passed = sum(result.passed for result in run)
        minutes = sum(result.seconds for result in run) / 60
        counts = f"{len(row):>5}  {passed:>6}  {len(run) - passed:>6}  {len(row) - len(run):>7}"
        print(f"{test:<{width}}  {counts}  {minutes:>7.1f}")
        for name, values in _figures(run).items():
            print(f"{'':<{width}}    {name}: {values}")
    for cell in cells:
        result = results.get(cell)
        if result is not None and not result.passed:
            last = result.failure.strip().splitlines()[-1:] or [""]
            print(f"\nFAILED {cell}\n  {last[0]}")
            print(f"  again: {SEED_VARIABLE}={result.seed} {CELLS_VARIABLE}=all python -m pytest '{cell}'")


def _figures(results: Sequence[Result]) -> dict[str, str]:
    """Numbers as smallest, middle and largest; anything else is left to the file."""
    columns: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.figures.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                columns.setdefault(name, []).append(value)
    return {
        name: f"{min(values):,.10g} … {sorted(values)[len(values) // 2]:,.10g} … {max(values):,.10g}"
        for name, values in columns.items()
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
