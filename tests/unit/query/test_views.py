"""What is shown can be told apart, fits its width, and does nothing to a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.query.views import View, as_value, encode, show

VIEWS = st.sampled_from(list(View))


@pytest.mark.parametrize(
    ("content", "view", "shown"),
    [
        (None, View.TEXT, "null"),
        (b"", View.TEXT, '""'),
        (b"null", View.TEXT, '"null"'),
        (b"abc", View.TEXT, "abc"),
        ("größe €".encode(), View.TEXT, "größe €"),
        (b"\xff\x00", View.TEXT, "hex:ff00"),
        (b"a\nb\x1b[2J", View.TEXT, "a\\nb\\x1b[2J"),
        (b"abc", View.HEX, "hex:616263"),
        (b'{ "a": 1 }', View.JSON, '{"a": 1}'),
        (b"no json", View.JSON, "no json"),
        (b"\xff", View.JSON, "hex:ff"),
        (b"x" * 41, View.TEXT, "x" * 32 + "… (41 B)"),
        (b"\xff" * 1_500, View.HEX, "hex:" + "ff" * 12 + "f… (1,500 B)"),
    ],
)
def test_content_is_shown_as_it_is(content: bytes | None, view: View, shown: str) -> None:
    assert show(content, view, 40) == shown


@given(st.binary(max_size=300), VIEWS, st.integers(24, 80))
def test_a_line_fits_and_is_printable_and_tells_what_is_left_out(content: bytes, view: View, width: int) -> None:
    line = show(content, view, width)
    assert len(line) <= width
    assert line.isprintable()
    if len(content) > width * 4:
        assert line.endswith(f"… ({len(content):,} B)")


@given(st.none() | st.binary(max_size=50), VIEWS)
def test_what_json_gets_is_all_there(content: bytes | None, view: View) -> None:
    value = json.loads(json.dumps(as_value(content, view)))
    match value:
        case None:
            assert content is None
        case {"text": text}:
            assert text.encode() == content
        case {"hex": digits}:
            assert bytes.fromhex(digits) == content
        case {"json": found}:
            assert found == json.loads(content or b"")
        case _:
            pytest.fail(f"{value} is of no view")


def test_json_that_is_nested_too_deeply_is_text() -> None:
    assert encode(b"[" * 200_000, View.JSON)[0] == "text"
