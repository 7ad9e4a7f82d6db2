"""The crash matrix of the cutover in Markdown: what was done to which step or effect of which scheme, and how it ended.

Rule: it is made of results alone. Every test of a cutover notes, as `cutover`, its faults: the scheme, the course that
was gone, the step, perhaps an effect, and what was done there. A cell that failed counts as failed for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from tests.long.results import Result

NOTED = "cutover"
TESTS = "test_cutover_"
NOTHING = "–"


class Fault(NamedTuple):
    """What was done, and where."""

    scheme: str
    course: str
    place: str
    fault: str


def cutover_table(cells: Collection[str], results: Mapping[str, Result]) -> str:
    """A table for each scheme and course, and the sums of all faults. `cells` are all that there are."""
    mine = [cell for cell in cells if TESTS in cell]
    run = {cell: results[cell] for cell in mine if cell in results}
    found: dict[Fault, list[Result]] = {}
    for result in run.values():
        for noted in _noted(result):
            place = " · ".join(noted[each] for each in ("step", "effect") if noted.get(each))
            where = Fault(noted["scheme"], noted["course"], place or "the first step", noted["fault"])
            found.setdefault(where, []).append(result)
    commits = ", ".join(sorted({result.commit for result in run.values()})) or "no run"
    lines = [f"{len(run):,} of {len(mine):,} cells were run, with the code of {commits}.", ""]
    for scheme, course in dict.fromkeys(where[:2] for where in found):
        lines += [f"### {scheme}: {course}", "", *_matrix(found, scheme, course), ""]
    lines += ["### All", "", *_sums(found)]
    return "\n".join(lines)


def _noted(result: Result) -> list[Mapping[str, str]]:
    noted = result.figures.get(NOTED)
    return noted if isinstance(noted, list) else []


def _matrix(found: Mapping[Fault, list[Result]], scheme: str, course: str) -> Iterator[str]:
    here = {where: results for where, results in found.items() if where[:2] == (scheme, course)}
    faults = sorted({where.fault for where in here})
    yield _row("Step · effect", *faults)
    yield _row(*["---"] * (len(faults) + 1))
    for place in dict.fromkeys(where.place for where in here):
        yield _row(place, *(_told(here.get(Fault(scheme, course, place, fault), [])) for fault in faults))


def _sums(found: Mapping[Fault, list[Result]]) -> Iterator[str]:
    yield _row("Fault", "Times", "Passed", "Failed", "Records")
    yield _row("---", *["---:"] * 4)
    everything = [result for results in found.values() for result in results]
    by_fault = {
        fault: [result for where, results in found.items() if where.fault == fault for result in results]
        for fault in sorted({where.fault for where in found})
    }
    for fault, results in [*by_fault.items(), ("all", everything)]:
        passed = sum(result.passed for result in results)
        numbers = (len(results), passed, len(results) - passed, _records(results))
        yield _row(fault, *(f"{number:,}" for number in numbers))


def _told(results: list[Result]) -> str:
    if not results:
        return NOTHING
    failed = sum(not result.passed for result in results)
    told = f"{len(results) - failed} passed" if len(results) > failed else ""
    bad = f"**{failed} failed**" if failed else ""
    return f"{', '.join(filter(None, (told, bad)))}; {_records(results):,} records"


def _records(results: list[Result]) -> int:
    cells = {result.cell: result for result in results}.values()
    return sum(int(each) for result in cells if isinstance(each := result.figures.get("records"), int))


def _row(*columns: str) -> str:
    return f"| {' | '.join(columns)} |"
