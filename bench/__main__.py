"""`python -m bench [CASE …]` measures; without a name it measures every case.

It ends with 0 also where a goal is missed: the table says so, and a machine under load is no defect.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import (
    alignment,
    compacted,
    cutover,
    first_record,
    groups,
    idle,
    latency,
    memory,
    peers,
    profiling,
    reading,
    relay,
    spread,
    throughput,
    transactional,
    tuning,
)
from bench.lab import Lab
from bench.programs import compile_kmigrate
from bench.report import (
    RESULTS,
    CaseResult,
    case_part,
    case_table,
    goals_table,
    load,
    markers_of,
    readme_part,
    replace_part,
    save,
    save_tables,
)
from kmigrate.errors import KmigrateError

CASES: dict[str, Callable[[Lab], CaseResult]] = {
    "tuning": tuning.measure,
    **throughput.CASES,
    "peers": peers.measure,
    "relay": relay.measure,
    "spread": spread.measure,
    "transactional": transactional.measure,
    "compacted": compacted.measure,
    "alignment": alignment.measure,
    "memory": memory.measure,
    "memory-steady": memory.measure_steady,
    "first-record": first_record.measure,
    **idle.CASES,
    "latency": latency.measure,
    "groups": groups.measure,
    "cutover": cutover.measure,
    "verify": reading.measure_verify,
    "message": reading.measure_message,
}
PROFILE = "profile"
_PROFILES = f"{PROFILE}, alone or followed by one of {', '.join(profiling.LOADS)}"
README = Path(__file__).parents[1] / "README.md"
PERFORMANCE = README.parent / "docs" / "performance.md"
ON_PAGE = ("cutover",)
"""The cases whose tables docs/performance.md has."""
TRIALS = Path(__file__).parent / "work" / "results"
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Measures, or writes the README's table; returns an exit code."""
    options = _parse(arguments)
    folder = options.results or (TRIALS if options.short else RESULTS)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    say = _sayer()
    try:
        if options.readme:
            save_tables(folder, list(CASES))
            _write_pages(load(folder, list(CASES)))
            say(f"wrote the tables of {_relative(folder)}, {README.name} and {PERFORMANCE.name}")
            return 0
        compile_kmigrate()
        with Lab(say=say, short=options.short, rounds=options.rounds) as lab:
            if options.cases[:1] == [PROFILE]:
                print(profiling.profile(lab, *options.cases[1:] or ["throughput"]))
            else:
                _measure(lab, options.cases or list(CASES), folder)
    except (KmigrateError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Ends once and in order: a second Ctrl-C must not leave brokers or folders behind."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _write_pages(results: Sequence[CaseResult]) -> None:
    README.write_text(replace_part(README.read_text(encoding="utf-8"), readme_part(results)), encoding="utf-8")
    page = PERFORMANCE.read_text(encoding="utf-8")
    for result in results:
        if result.case in ON_PAGE:
            page = replace_part(page, case_part(result), markers_of(result.case))
    PERFORMANCE.write_text(page, encoding="utf-8")


def _measure(lab: Lab, cases: Sequence[str], folder: Path) -> None:
    results = []
    for case in cases:
        lab.say(f"── {case}")
        began = time.monotonic()
        results.append(CASES[case](lab))
        save(results[-1], folder, list(CASES))
        lab.say(f"{case} took {time.monotonic() - began:.0f} s")
        print(f"\n{case_table(results[-1])}\n", flush=True)
    print(goals_table(results))
    print(f"\nResults are in {_relative(folder)}.")


def _sayer() -> Callable[[str], None]:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {line}", file=sys.stderr, flush=True)

    return say


def _relative(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed against real brokers.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; or {_PROFILES}")
    parser.add_argument("--short", action="store_true", help="a trial of a few minutes; kept apart from results")
    parser.add_argument("--rounds", type=int, metavar="N", help="repeat each measurement so often")
    parser.add_argument(
        "--readme", action="store_true", help="write the tables of README and docs from the results, and end"
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="where results are written to and read from")
    options = parser.parse_args(arguments)
    if options.cases[:1] == [PROFILE]:
        if len(options.cases) > 2 or not profiling.LOADS.keys() >= set(options.cases[1:]):
            parser.error(_PROFILES)
    elif not CASES.keys() >= set(options.cases):
        parser.error(f"a case is one of {', '.join(CASES)}; or {_PROFILES}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
