"""What this version does not act on is named in a notice."""

from __future__ import annotations

import pytest

from tests.unit.manifest.conftest import HEAD, Load

NOTICE = "`plan` shows the cutover, no command of this version leads it"


@pytest.mark.parametrize("start", ["earliest", "latest", "2024-05-01T00:00:00Z"])
def test_every_start_is_copied_from(load: Load, start: str) -> None:
    manifest = load(f"{HEAD}  start: {start}\n")
    assert (manifest.start, manifest.notices) == (start, ())


@pytest.mark.parametrize(
    ("appended", "notices"),
    [
        ("", ()),
        ("  offsets: {class: identical, padBudget: 1, padBudgetTotal: 2, gapBudget: 3}\n", ()),
        ("  scheme: consumers-first\n", (f"scheme: {NOTICE}",)),
        (
            "  waves: [{name: w, topics: [a], groups: [b], scheme: producers-first}]\n"
            "  scheme: producers-first\n  groups: {include: ['.*']}\n",
            (f"scheme, waves: {NOTICE}",),
        ),
        (
            "  scheme: producers-first\n  history: none\n  wayBack: false\n  fence: none\n  cutover: {tailOffsets: 1}\n"
            "  applications: []\n",
            (f"scheme, history, fence, wayBack, applications, cutover: {NOTICE}",),
        ),
    ],
)
def test_what_is_not_acted_on_is_told_in_one_notice(load: Load, appended: str, notices: tuple[str, ...]) -> None:
    assert load(HEAD + appended).notices == notices
