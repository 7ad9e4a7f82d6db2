"""The docs say of every finding and right what the tables say, and the tables are whole."""

import string
from pathlib import Path

import pytest

from kmigrate.preflight.registry import FINDINGS, LEVELS, FindingId, Level
from kmigrate.report.reference import BLOCKS, fill_in

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", BLOCKS)
def test_the_tables_of_a_page_are_those_of_the_code(page: str) -> None:
    text = (DOCS / page).read_text()
    assert fill_in(page, text) == text, "`make docs` was forgotten"


def test_a_page_without_a_mark_is_not_silently_left_as_it_is() -> None:
    with pytest.raises(ValueError, match=r"check\.md lacks <!-- levels -->"):
        fill_in("check.md", "# The check\n")


def test_every_finding_and_level_is_in_its_table() -> None:
    assert FINDINGS.keys() == set(FindingId)
    assert LEVELS.keys() == set(Level)


@pytest.mark.parametrize("found_id", FindingId)
def test_a_finding_says_what_it_means_and_a_blocker_what_to_do(found_id: FindingId) -> None:
    entry = FINDINGS[found_id]
    assert entry.title
    assert entry.reason
    assert entry.meaning.endswith(".")
    assert entry.remedy or Level.BLOCK not in entry.levels
    fields = {name for _, name, _, _ in string.Formatter().parse(entry.reason + entry.remedy) if name}
    assert all(name.isidentifier() for name in fields)
