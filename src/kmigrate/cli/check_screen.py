"""The findings of a check as people read them.  (pure)

Rule: nothing is told by color alone. A remedy stands on a line of its own that is not broken, so that a command can be
pasted.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from kmigrate.preflight.document import CheckDocument, FindingRow
from kmigrate.preflight.registry import Level

_STYLES = {
    Level.BLOCK: "bold red",
    Level.WARN: "yellow",
    Level.UNKNOWN: "magenta",
    Level.NOTE: "dim",
    Level.PASS: "green",
}
_INDENT = max(len(level.value) for level in Level) + 2

Spell = Callable[[str], str]


def check_screen(document: CheckDocument, width: int, spell: Spell, *, everything: bool) -> RenderableType:
    """All findings, the heaviest first; with `everything` their meaning too, and each that is in order by itself."""
    lines: list[RenderableType] = [*_head(document), Text()]
    for each in document.findings:
        if everything or each.level is not Level.PASS:
            lines += _finding(each, width, spell, meaning=everything)
    passed = [each.title for each in document.findings if each.level is Level.PASS]
    if passed and not everything:
        lines += _row(Level.PASS, ", ".join(dict.fromkeys(passed)), width)
    return Group(*lines)


def _head(document: CheckDocument) -> Iterator[Text]:
    counted = ", ".join(f"{number} {level.value}" for level, number in document.counts.items() if number)
    yield Text.assemble((document.name, "bold"), f"  check  {counted}")
    yield Text(f"{document.source_cluster_id or '?'} → {document.target_cluster_id or '?'}", "dim")


def _finding(each: FindingRow, width: int, spell: Spell, *, meaning: bool) -> Iterator[Text]:
    yield from _row(each.level, each.reason, width)
    for line in each.remedy.splitlines():
        yield Text(f"{'':{_INDENT}}→ {spell(line)}", no_wrap=True, overflow="ignore")
    if meaning:
        for line in _wrap(f"{each.id.value}: {each.meaning}", width):
            yield Text(f"{'':{_INDENT}}{line}", "dim", no_wrap=True, overflow="ignore")


def _row(level: Level, text: str, width: int) -> Iterator[Text]:
    label = level.value
    for line in _wrap(text, width):
        yield Text.assemble((f"{label:<{_INDENT}}", _STYLES[level]), line, no_wrap=True, overflow="ignore")
        label = ""


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(40, width - _INDENT), break_long_words=False, break_on_hyphens=False)
