"""What a page is made of: headings, sentences, lists and tables, before anybody decides how they look.  (pure)

Rule: a block holds plain text, never markup; who renders it escapes it. `clean` takes away what could move a cursor.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Row: TypeAlias = tuple[str, ...]
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the page's own."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Sentence:
    """A paragraph; `is_alarm`: somebody must see it."""

    text: str
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Beyond `most` rows a page for people's eyes shows the first ones and says how many there are."""

    columns: Row
    rows: tuple[Row, ...]
    most: int = 1_000


@dataclass(frozen=True, slots=True)
class Everything:
    """A table of all there is, row by row: where pages can fold it is folded, elsewhere shown only if it is short."""

    title: str
    table: Table


Block: TypeAlias = Heading | Sentence | Items | Table | Everything


def clean(text: str) -> str:
    """A text on one line, in which every sign that is not seen, or that moves others, stands as its code."""
    if text.isprintable():
        return text
    return "".join(_visible(sign) for sign in text)


def _visible(sign: str) -> str:
    if sign == "\n":
        return " "
    if unicodedata.category(sign) not in _UNSEEN:
        return sign
    return sign.encode("unicode_escape").decode()


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], most: int = 1_000) -> Table:
    """A table of these columns and rows."""
    return Table(tuple(columns), tuple(tuple(row) for row in rows), most)
