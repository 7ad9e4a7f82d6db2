"""Results as JSON, as tables, and the table in the README; nothing here measures.

A case is one JSON file, so that a single case can be measured again beside the others. All tables are generated from
these files: `results.md` shows everything, the README between its markers only what has a goal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Compare, Goal, Row, Spread, show_number

BEGIN = "<!-- bench -->"
END = "<!-- /bench -->"
RESULTS = Path(__file__).parent / "results"
TABLES = "results.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case as it was measured.

    `other` names what we are compared with, if anything; `rounds` holds the figures of each round as they came.
    """

    case: str
    title: str
    other: str
    rows: tuple[Row, ...]
    settings: Mapping[str, str | int]
    machine: Mapping[str, str]
    short: bool
    rounds: Sequence[Mapping[str, Any]] = field(default=())

    def to_json(self) -> str:
        found = asdict(self)
        for row, seen in zip(self.rows, found["rows"], strict=True):
            seen["compare"] = row.compare.value
        return json.dumps(found, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CaseResult:
        found = json.loads(text)
        found["rows"] = tuple(_row(row) for row in found["rows"])
        return cls(**found)


def _row(found: Mapping[str, Any]) -> Row:
    goal = found["goal"]
    return Row(
        label=found["label"],
        unit=found["unit"],
        ours=tuple(found["ours"]),
        theirs=tuple(found["theirs"]),
        compare=Compare(found["compare"]),
        goal=Goal(**goal) if goal else None,
    )


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def save(result: CaseResult, folder: Path, order: Sequence[str]) -> None:
    """Writes one case, and the tables of all cases that lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.case}.json").write_text(result.to_json(), encoding="utf-8")
    save_tables(folder, order)


def save_tables(folder: Path, order: Sequence[str]) -> None:
    """Writes the tables of all cases that lie in the folder."""
    (folder / TABLES).write_text(write_tables(load(folder, order)), encoding="utf-8")


def load(folder: Path, order: Sequence[str]) -> list[CaseResult]:
    """All cases of a folder, in the given order; those that are missing are left out."""
    paths = [folder / f"{case}.json" for case in order]
    return [CaseResult.from_json(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_tables(results: Sequence[CaseResult]) -> str:
    """Every figure of every case, each with its settings and its machine, as Markdown."""
    parts = ["# What was measured", "", "Written by `python -m bench`; docs/performance.md says how it is measured."]
    for result in results:
        parts += ["", f"## {result.case}", "", result.title + (" *A short trial.*" if result.short else ""), ""]
        parts += [case_table(result), ""]
        parts += [_list_of(result.settings), "", _list_of(result.machine)]
    return "\n".join(parts) + "\n"


def case_table(result: CaseResult) -> str:
    """All rows of a case: medians, with the lowest and the highest round in brackets."""
    kinds = {row.compare for row in result.rows} - {Compare.NOT}
    compared = " / ".join(sorted(kind.value for kind in kinds))
    lines = [["", "kmigrate", *([result.other, compared] if result.other else []), "goal", ""]]
    for row in result.rows:
        cells = [row.label, show_spread(row.ours, row.unit)]
        if result.other:
            cells += [show_spread(row.theirs, row.unit), _show_compared(row)]
        lines.append([*cells, _show_goal(row), row.verdict()])
    return align(lines)


def goals_table(results: Sequence[CaseResult]) -> str:
    """One line for every figure that has a goal."""
    lines = [["Measured", "Result", "Goal", ""]]
    for result in results:
        for row in result.rows:
            if row.goal is None:
                continue
            against = f", against {result.other}" if row.compare is not Compare.NOT else ""
            shown = show_spread(row.judged(), _judged_unit(row))
            lines.append([f"{result.case}: {row.label}{against}", shown, _show_goal(row), row.verdict()])
    return align(lines)


def readme_part(results: Sequence[CaseResult]) -> str:
    """The goals with the machine, the days and the commits, as the README has it between its markers.

    What was measured on one machine stands in one table. Raises ValueError if there are no results, or they come from
    short trials.
    """
    if not results:
        raise ValueError("there are no results to show")
    if any(result.short for result in results):
        raise ValueError("short trials are not shown in the README")
    by_place: dict[str, list[CaseResult]] = {}
    for result in results:
        by_place.setdefault(_place(result.machine), []).append(result)
    parts = ["Medians, the lowest and the highest round in brackets. Brokers and tools share one machine."]
    for place, of_place in by_place.items():
        days = sorted({result.machine["Date"].split()[0] for result in of_place})
        commits = sorted({result.machine["Commit"] for result in of_place})
        parts += [goals_table(of_place), f"{place}; {', '.join(days)}; commit {', '.join(commits)}."]
    return "\n\n".join(parts)


def _place(machine: Mapping[str, str]) -> str:
    return f"{machine['Cores']} cores ({machine['CPU']}), {machine['Memory']}; Kafka {machine['Kafka']}"


def case_part(result: CaseResult) -> str:
    """A case with what it was measured on, as a page has it between the markers of that case."""
    if result.short:
        raise ValueError("short trials are not shown")
    settings, machine = _list_of(result.settings), _list_of(result.machine)
    return f"{case_table(result)}\n\n{settings}\n\n{machine}"


def markers_of(case: str) -> tuple[str, str]:
    """Where a page has the figures of one case."""
    return f"<!-- bench {case} -->", f"<!-- /bench {case} -->"


def replace_part(text: str, part: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """The text with another part between the two markers; raises ValueError if they are not there once, in order."""
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the text needs one line {begin} and after it one line {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{part.strip()}\n{end}{rest.split(end)[1]}"


def align(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well as it is; the first line is the head."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]

    def show(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([show(lines[0]), rule, *(show(line) for line in lines[1:])])


def show_spread(values: Sequence[float], unit: str) -> str:
    """`2.31 µs (2.20 to 2.50)`; without brackets for a single value, empty for none."""
    if not values:
        return ""
    spread = Spread.of(values)
    shown = f"{show_number(spread.median)} {unit}".strip()
    return shown if len(values) == 1 else f"{shown} ({show_number(spread.low)} to {show_number(spread.high)})"


def _show_compared(row: Row) -> str:
    return show_spread(row.compared(), _judged_unit(row))


def _judged_unit(row: Row) -> str:
    return "×" if row.compare is Compare.RATIO else row.unit


def _show_goal(row: Row) -> str:
    return "" if row.goal is None else f"{row.goal} {_judged_unit(row)}".strip()


def _list_of(values: Mapping[str, str | int]) -> str:
    return " · ".join(
        f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}" for key, value in values.items()
    )
