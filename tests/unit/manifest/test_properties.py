"""Properties are read as Java reads them; the expectations follow the Javadoc of `Properties.load`."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmigrate.manifest.properties import PropertyValue, parse_properties


def plain(text: str) -> dict[str, str]:
    return {key: value for key, (value, _) in parse_properties(text).values.items()}


@pytest.mark.parametrize(
    "text",
    [
        "Truth = Beauty",
        "  Truth:Beauty",
        "Truth                    :Beauty",
        "Truth Beauty",
        "Truth\t\f= \tBeauty",
    ],
)
def test_every_separator_gives_the_same_entry(text: str) -> None:
    assert plain(text) == {"Truth": "Beauty"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cheeses", {"cheeses": ""}),
        ("a==b", {"a": "=b"}),
        ("a = : b", {"a": ": b"}),
        ("a : = b", {"a": "= b"}),
        ("=b", {"": "b"}),
        (r"\:\= = c", {":=": "c"}),
        (r"a\ b c", {"a b": "c"}),
        ("a=b  ", {"a": "b  "}),
        (r"a=\ b", {"a": " b"}),
        (r"a=x\ty\nz\rq\f", {"a": "x\ty\nz\rq\f"}),
        (r"a=\b\z\"\\", {"a": 'bz"\\'}),
        (r"\u0061=caf\u00E9", {"a": "café"}),
        (r"a=\uD83D\uDE00", {"a": "😀"}),
        (r"a=\\u0041", {"a": r"\u0041"}),
        ("# a=b\n  ! c=d\ne=f # g", {"e": "f # g"}),
        ("a=1\nb=2\na=3", {"b": "2", "a": "3"}),
        ("a=\u0085b\x0bc", {"a": "\u0085b\x0bc"}),
        ("", {}),
        (" \t\f\n\n", {}),
    ],
)
def test_a_text_means_what_it_means_in_java(text: str, expected: dict[str, str]) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fruits  apple, \\\n    pear, \\\n    lime", {"fruits": "apple, pear, lime"}),
        ("a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),  # two backslashes continue nothing
        ("a=b\\\n# no comment here", {"a": "b# no comment here"}),
        ("# a comment ends \\\na=b", {"a": "b"}),
        ("\\\n# a comment, since nothing was gathered yet\na=b", {"a": "b"}),
        ("a=b\\\n\nc=d", {"a": "b", "c": "d"}),
        ("a\\\n =b", {"a": "b"}),
        ("a=b\\", {"a": "b"}),
        ("a=b\n\\", {"a": "b"}),
        ("a=b\n\\\n ", {"a": "b"}),
        ("a=b\\\r\n  c\rd=e", {"a": "bc", "d": "e"}),
    ],
)
def test_lines_continue_as_in_java(text: str, expected: dict[str, str]) -> None:
    assert plain(text) == expected


def test_a_value_has_the_line_of_its_key_and_the_last_key_wins() -> None:
    parsed = parse_properties("# one\na=1\\\n  2\nb=3\n\na=4")
    assert parsed.values == {"b": PropertyValue("3", 4), "a": PropertyValue("4", 6)}
    assert list(parsed.values) == ["b", "a"]


@pytest.mark.parametrize("bad", [r"\u12", r"\u12G4", r"\u", r"\uD83D", r"\uDE00x"])
def test_a_malformed_escape_is_told_with_its_line(bad: str) -> None:
    parsed = parse_properties(f"ok=1\na={bad}\nalso=2")
    assert parsed.malformed_lines == (2,)
    assert {key: value.value for key, value in parsed.values.items()} == {"ok": "1", "also": "2"}


def escaped(text: str, *, unicode: bool) -> str:
    """The text as `Properties.store` may write it: everything that could be read otherwise is escaped."""
    units = text.encode("utf-16-be")
    if unicode:
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    return "".join(named.get(c) or ("\\" + c if c in " \\=:#!" else c) for c in text)


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(" \t\f\r\n\\=:#!u0a")


@given(
    entries=st.dictionaries(texts, texts),
    separator=st.sampled_from(["=", ":", " ", "\t", " = ", " : ", "\f=\t"]),
    line_end=st.sampled_from(["\n", "\r", "\r\n", "\n\n # comment \\\n", "\r\n!\r\n"]),
    unicode=st.booleans(),
)
@example(entries={"": ""}, separator="=", line_end="\n", unicode=False)
def test_what_is_written_is_read(entries: dict[str, str], separator: str, line_end: str, unicode: bool) -> None:
    if separator.isspace():
        entries = {key: value for key, value in entries.items() if key}
    lines = [
        escaped(key, unicode=unicode) + separator + escaped(value, unicode=unicode) for key, value in entries.items()
    ]
    assert plain(line_end.join(lines)) == entries


@given(text=st.text() | st.text(" \t\f\r\n\\=:#!ua0"))
def test_any_text_is_read_and_lines_stay_inside_it(text: str) -> None:
    parsed = parse_properties(text)
    last = text.count("\n") + text.count("\r") + 1
    assert all(1 <= value.line <= last for value in parsed.values.values())
    assert all(1 <= line <= last for line in parsed.malformed_lines)
