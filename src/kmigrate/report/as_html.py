"""A page as HTML: one file that needs nothing else, neither scripts nor anything from a network.  (pure)

Rule: every text is escaped; the only markup is what stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape as escape_html

from kmigrate.report.blocks import Block, Everything, Heading, Items, Sentence, Table, clean

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { border: 1px solid #8886; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: #8882; white-space: nowrap; }
td { min-width: 4rem; max-width: 40rem; overflow-wrap: anywhere; }
.alarm { border-left: .4rem solid #c22; padding: .5rem 1rem; font-weight: bold; }
summary { cursor: pointer; font-weight: bold; }
@media print { details > * { display: block; } body { max-width: none; } }
"""


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """The whole file's text."""
    body = "\n".join(line for block in blocks for line in _block(block))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """A text that a browser shows as it is."""
    return escape_html(clean(text))


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield f"<h{level}>{escape(text)}</h{level}>"
        case Sentence(text, is_alarm):
            yield f'<p class="alarm">{escape(text)}</p>' if is_alarm else f"<p>{escape(text)}</p>"
        case Items(items):
            yield f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in items)}</ul>"
        case Table():
            yield from _table(block, block.most)
        case Everything(title, table):
            yield f"<details><summary>{escape(title)}</summary>"
            yield from _table(table, len(table.rows))
            yield "</details>"


def _table(table: Table, most: int) -> Iterator[str]:
    if not table.rows:
        yield "<p>none</p>"
        return
    yield f"<table><thead><tr>{''.join(f'<th>{escape(each)}</th>' for each in table.columns)}</tr></thead><tbody>"
    for row in table.rows[:most]:
        yield f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>"
    yield "</tbody></table>"
    if len(table.rows) > most:
        yield f"<p>… and {len(table.rows) - most:,} more; the JSON form has all {len(table.rows):,}.</p>"
