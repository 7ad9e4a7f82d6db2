"""A page as Markdown, with tables as GitHub has them.  (pure)

Rule: whatever comes from a cluster or an operator is escaped, so that it is shown as it is and never as markup.

Source: https://github.github.com/gfm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kmigrate.report.blocks import Block, Everything, Heading, Items, Sentence, Table, clean

MOST_UNFOLDED = 100
"""Rows of `Everything` that are shown."""
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def to_markdown(blocks: Iterable[Block]) -> str:
    """The page's text."""
    return "\n\n".join(text for block in blocks for text in _block(block)) + "\n"


def escape(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    plain = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda found: f"\\{found[0]}", plain)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield f"{'#' * level} {escape(text)}"
        case Sentence(text, is_alarm):
            yield f"**{escape(text)}**" if is_alarm else escape(text)
        case Items(items):
            yield "\n".join(f"* {escape(each)}" for each in items)
        case Table():
            yield from _table(block)
        case Everything(title, table):
            if len(table.rows) <= MOST_UNFOLDED:
                yield f"### {escape(title)}"
                yield from _table(table)
            else:
                yield f"*{escape(title)}: too many for this page; the JSON and HTML forms have each of them.*"


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        yield "*none*"
        return
    yield "\n".join(
        [_row(table.columns), _row(["---"] * len(table.columns), raw=True), *map(_row, table.rows[: table.most])]
    )
    if len(table.rows) > table.most:
        yield f"*… and {len(table.rows) - table.most:,} more; the JSON form has all {len(table.rows):,}.*"


def _row(cells: Iterable[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cells if raw else map(escape, cells)) + " |"
