"""Results survive their JSON, and tables are generated from them."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.figures import Compare, Goal, Row
from bench.report import (
    BEGIN,
    END,
    CaseResult,
    align,
    case_part,
    case_table,
    goals_table,
    load,
    markers_of,
    readme_part,
    replace_part,
    save,
    show_spread,
)

MACHINE = {
    "Date": "2030-01-02 03:04 UTC",
    "Commit": "0123abcd",
    "Cores": "2",
    "CPU": "A Processor",
    "Memory": "8.0 GiB",
    "Kafka": "3.9.1, 4.3.1",
}
COMPARED = CaseResult(
    case="throughput",
    title="Copied as fast as possible.",
    other="Another",
    rows=(
        Row(
            label="CPU per record",
            unit="µs",
            ours=(1.0, 2.0),
            theirs=(10.0, 10.0),
            compare=Compare.RATIO,
            goal=Goal(limit=1 / 6, words="1/6"),
        ),
        Row(label="cores used", unit="", ours=(0.5, 0.6), theirs=(1.5, 1.5)),
    ),
    settings={"Records": 3_000_000},
    machine=MACHINE,
    short=False,
    rounds=[{"seconds": 1.5}],
)
ALONE = CaseResult(
    case="memory",
    title="Memory.",
    other="",
    rows=(Row(label="most memory", unit="MB", ours=(190.0,), goal=Goal(limit=180.0)),),
    settings={},
    machine=MACHINE,
    short=True,
)


def test_a_result_survives_its_json() -> None:
    for result in (COMPARED, ALONE):
        again = CaseResult.from_json(result.to_json())
        assert again.rows == result.rows
        assert again.to_json() == result.to_json()


def test_results_are_saved_and_loaded_in_order(tmp_path: Path) -> None:
    order = ["throughput", "memory", "idle"]
    for result in (ALONE, COMPARED):
        save(result, tmp_path, order)
    assert [result.case for result in load(tmp_path, order)] == ["throughput", "memory"]
    tables = (tmp_path / "results.md").read_text()
    assert tables.index("## throughput") < tables.index("## memory")
    assert "Records: 3,000,000" in tables
    assert "A Processor" in tables
    assert tables.count("A short trial.") == 1


def test_a_table_is_padded() -> None:
    assert align([["a", "long"], ["wide cell", "b"]]).splitlines() == [
        "| a         | long |",
        "|-----------|------|",
        "| wide cell | b    |",
    ]


def test_a_case_shows_both_sides_and_what_follows() -> None:
    head, _, cpu, cores = case_table(COMPARED).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["", "kmigrate", "Another", "ratio", "goal", ""]
    assert [cell.strip() for cell in cpu.strip("|").split("|")] == [
        "CPU per record",
        "1.50 µs (1.00 to 2.00)",
        "10.0 µs (10.0 to 10.0)",
        "0.150 × (0.100 to 0.200)",
        "at most 1/6 ×",
        "reached",
    ]
    assert [cell.strip() for cell in cores.strip("|").split("|")][3:] == ["", "", ""]


def test_a_case_without_another_has_no_columns_for_it() -> None:
    assert "ratio" not in case_table(ALONE)
    assert "| most memory | 190 MB   | at most 180 MB | not reached |" in case_table(ALONE)


def test_the_goals_are_gathered_from_all_cases() -> None:
    lines = goals_table([COMPARED, ALONE]).splitlines()
    assert len(lines) == 4
    assert "throughput: CPU per record, against Another" in lines[2]
    assert "memory: most memory" in lines[3]


def test_a_single_value_has_no_spread() -> None:
    assert show_spread((2.0,), "s") == "2.00 s"
    assert show_spread((), "s") == ""
    assert show_spread((1.0, 3.0), "") == "2.00 (1.00 to 3.00)"


def test_the_part_between_the_markers_is_replaced() -> None:
    text = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    once = replace_part(text, "new\n")
    assert once == f"before\n\n{BEGIN}\nnew\n{END}\n\nafter\n"
    assert replace_part(once, "new") == once


@pytest.mark.parametrize("text", ["none", f"{BEGIN}", f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_text_without_its_markers_is_left_alone(text: str) -> None:
    with pytest.raises(ValueError, match="needs one line"):
        replace_part(text, "new")


def test_the_readme_names_the_machine_and_the_day() -> None:
    part = readme_part([COMPARED, COMPARED])
    assert "2 cores (A Processor), 8.0 GiB; Kafka 3.9.1, 4.3.1; 2030-01-02; commit 0123abcd." in part


def test_a_page_has_the_figures_of_one_case_between_its_markers() -> None:
    begin, end = markers_of("throughput")
    page = replace_part(f"{begin}{end}", case_part(COMPARED), markers_of("throughput"))
    assert page.startswith(f"{begin}\n|")
    assert case_table(COMPARED) in page
    assert "A Processor" in page
    with pytest.raises(ValueError, match="short trials"):
        case_part(ALONE)
    with pytest.raises(ValueError, match="bench memory"):
        replace_part(page, "new", markers_of("memory"))


def test_the_readme_shows_no_trials() -> None:
    with pytest.raises(ValueError, match="no results"):
        readme_part([])
    with pytest.raises(ValueError, match="short trials"):
        readme_part([COMPARED, ALONE])


def test_each_machine_has_a_table_of_its_own_in_the_readme() -> None:
    elsewhere = replace(COMPARED, case="elsewhere", machine=MACHINE | {"Cores": "64"})
    part = readme_part([COMPARED, elsewhere, COMPARED])
    first, second = part.split("2 cores (A Processor)")
    assert first.count("throughput: CPU per record") == 2
    assert "elsewhere: CPU per record" not in first
    assert "elsewhere: CPU per record" in second
    assert second.rstrip().endswith("64 cores (A Processor), 8.0 GiB; Kafka 3.9.1, 4.3.1; 2030-01-02; commit 0123abcd.")
