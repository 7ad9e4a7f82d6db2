"""Java `.properties` text is read as `java.util.Properties.load` reads it.

Rule: this module knows the format and nothing about Kafka's keys. What Java accepts is accepted with the same
result, and every value keeps the line on which it begins. One exception: a lone backslash as the last line is
nothing here, and to Java an entry with neither key nor value.

Reference: the Javadoc of `java.util.Properties.load(Reader)`. Kafka's own tools load their files as
ISO-8859-1 (`Utils.loadProps`), so callers decode bytes with `PROPERTIES_ENCODING`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PROPERTIES_ENCODING = "iso-8859-1"

_BLANKS = " \t\f"
_LINE_END = re.compile(r"\r\n|\n|\r")  # not splitlines(): Java ends no line at \f, \v or U+0085
_KEY_AND_SEPARATOR = re.compile(r"((?:[^\\=: \t\f]|\\.)*)[ \t\f]*(?:[=:][ \t\f]*)?", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_NAMED_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class PropertyValue(NamedTuple):
    """A value and the line (from 1) on which its key stands."""

    value: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedProperties:
    """What a `.properties` text says: of a key given twice the last one, in the order of those last lines.

    `malformed_lines` begin entries which Java refuses too (a bad unicode escape); they are in no value.
    """

    values: Mapping[str, PropertyValue]
    malformed_lines: tuple[int, ...] = ()


def parse_properties(text: str) -> ParsedProperties:
    """Every key of the text with its value and line."""
    values: dict[str, PropertyValue] = {}
    malformed: list[int] = []
    for line, logical in _logical_lines(text):
        match = _KEY_AND_SEPARATOR.match(logical)
        assert match is not None  # the pattern matches the empty text
        key, value = _unescape(match[1]), _unescape(logical[match.end() :])
        if key is None or value is None:
            malformed.append(line)
            continue
        values.pop(key, None)  # the order tells which of two spellings of one setting came last
        values[key] = PropertyValue(value, line)
    return ParsedProperties(values=values, malformed_lines=tuple(malformed))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined, without comments and blank lines; each with its first number.

    A natural line ending in an odd number of backslashes goes on in the next, whose leading blanks do not
    count. While nothing has been gathered yet, the next line may still be a comment (so does Java).
    """
    gathered, first = "", 0
    for number, natural in enumerate(_LINE_END.split(text), start=1):
        body = natural.lstrip(_BLANKS)
        if not gathered:
            if not body or body[0] in "#!":
                continue
            first = number
        if (len(body) - len(body.rstrip("\\"))) % 2:
            gathered += body[:-1]
            continue
        yield first, gathered + body
        gathered = ""
    if gathered:
        yield first, gathered


def _unescape(raw: str) -> str | None:
    r"""The text without its escapes; None if a `\u` is not followed by four hexadecimal digits.

    Java counts in UTF-16 units: two escapes may form one character, and half a character is malformed here,
    because it could never be sent.
    """
    malformed = False

    def plain(match: re.Match[str]) -> str:
        nonlocal malformed
        escape = match[1]
        if len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape == "u":
            malformed = True
        return _NAMED_ESCAPES.get(escape, escape)

    units = _ESCAPE.sub(plain, raw)
    try:
        joined = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None
    return None if malformed else joined
