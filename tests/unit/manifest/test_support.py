"""What this version does not act on is named in a notice."""

from __future__ import annotations

import pytest

from tests.unit.manifest.conftest import HEAD, Load


@pytest.mark.parametrize("start", ["earliest", "latest", "2024-05-01T00:00:00Z"])
def test_every_start_is_copied_from(load: Load, start: str) -> None:
    manifest = load(f"{HEAD}  start: {start}\n")
    assert (manifest.start, manifest.notices) == (start, ())


@pytest.mark.parametrize(
    ("appended", "notices"),
    [
        ("", ()),
        ("  offsets: {class: identical, padBudget: 1, padBudgetTotal: 2, gapBudget: 3}\n", ()),
        ("  scheme: consumers-first\n", ("scheme: accepted, not acted on by this version",)),
        (
            "  waves: [{name: w, topics: [a], groups: [b], scheme: producers-first}]\n"
            "  scheme: producers-first\n  groups: {include: ['.*']}\n",
            ("scheme, waves: accepted, not acted on by this version",),
        ),
    ],
)
def test_what_is_not_acted_on_is_told_in_one_notice(load: Load, appended: str, notices: tuple[str, ...]) -> None:
    assert load(HEAD + appended).notices == notices
