"""How bytes are shown: as text, as hexadecimal digits, or as JSON; never mistaken for what they are not.  (pure)

Bytes that are no UTF-8 are shown as `hex:…` whatever was asked for, null as `null` and empty as `""`. What could act on
a terminal is escaped. What is cut tells its full length.
"""

from __future__ import annotations

import codecs
import enum
import json
from typing import Any

_LONGEST_CHARACTER_BYTES = 4


class View(enum.StrEnum):
    """What keys and values are taken to be."""

    TEXT = "text"
    HEX = "hex"
    JSON = "json"


def encode(content: bytes | None, view: View) -> tuple[str, Any]:
    """(`text`, `hex`, `json` or `null`, the value in this encoding), all of it.

    In `json` numbers are what JSON readers make of them; what is no JSON is text, and what is no text is hex.
    """
    if content is None:
        return "null", None
    if view is View.JSON:
        try:
            return "json", json.loads(content)
        except (ValueError, RecursionError):
            pass
    if view is not View.HEX:
        try:
            return "text", content.decode()
        except UnicodeDecodeError:
            pass
    return "hex", content.hex()


def as_value(content: bytes | None, view: View) -> dict[str, Any] | None:
    """The same as what JSON is made of: null, or an object with the encoding as its one key."""
    encoding, value = encode(content, view)
    return None if content is None else {encoding: value}


def show(content: bytes | None, view: View, width: int) -> str:
    """One line of at most `width` signs and, where that is not all, the full length in bytes."""
    if content is None:
        return "null"
    if not content:
        return '""'
    if view is View.JSON:
        encoding, value = encode(content, view)
        if encoding == "json":
            return _cut(json.dumps(value, ensure_ascii=False), width, len(content))
    if view is not View.HEX and (text := _text(content, width)) is not None:
        shown = f'"{text}"' if text in ("null", '""') else text
        return _cut(shown, width, len(content), is_all=len(text) >= len(content) // _LONGEST_CHARACTER_BYTES)
    return _cut(f"hex:{content[: width // 2 + 1].hex()}", width, len(content), is_all=len(content) <= width // 2)


def _text(content: bytes, width: int) -> str | None:
    """The beginning of the text that it is, a little more than `width` signs; None if it is no UTF-8."""
    part = content[: width * _LONGEST_CHARACTER_BYTES + _LONGEST_CHARACTER_BYTES]
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(part, final=len(part) == len(content))
    except UnicodeDecodeError:
        return None


def _cut(text: str, width: int, size: int, *, is_all: bool = True) -> str:
    visible = "".join(sign if sign.isprintable() else _escape(sign) for sign in text[: width + 1])
    if is_all and len(text) <= width and len(visible) <= width:
        return visible
    note = f"… ({size:,} B)"
    return visible[: max(1, width - len(note))] + note


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
