"""A YAML text becomes values with lines; what is refused has its line and quotes no value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.manifest.yaml_tree import YamlTree, parse_tree


def tree(text: str) -> YamlTree:
    return parse_tree(text, file="m.yaml")


def problems(text: str) -> list[str]:
    return [str(problem) for problem in tree(text).problems]


def test_every_key_and_item_has_its_line() -> None:
    found = tree("a: 1\nb:\n  c:\n  - x\n  -\n    y\n  d: {e: 2,\n    f: 3}\n")
    assert found.value == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": 2, "f": 3}}}
    assert found.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 4,
        ("b", "c", 1): 6,
        ("b", "d"): 7,
        ("b", "d", "e"): 7,
        ("b", "d", "f"): 8,
    }
    assert found.line_of(("b", "d", "nope", 3)) == 7
    assert found.at("b", "c", 5) is None


def test_scalars_are_safe_and_times_stay_text() -> None:
    assert tree("[1, 2.5, true, no, null, ~, x, 2024-05-01T00:00:00Z, 2024-05-01, '1']").value == [
        1, 2.5, True, False, None, None, "x", "2024-05-01T00:00:00Z", "2024-05-01", "1",
    ]  # fmt: skip


def test_client_properties_are_verbatim() -> None:
    found = tree("spec: {source: {properties: {a: true, b: 0644, c: 1e3, d: 2024-05-01, e: , f: x}, g: true}}")
    assert found.at("spec", "source") == {
        "properties": {"a": "true", "b": "0644", "c": "1e3", "d": "2024-05-01", "e": None, "f": "x"},
        "g": True,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.yaml: is empty: it says nothing"),
        ("# only a comment\n", "m.yaml: is empty: it says nothing"),
        ("a: 1\nb: 2\na: 3", "m.yaml:3: key 'a' is given twice; first in line 1"),
        ("a:\n  b: 1\n  'b': 2", "m.yaml:3: key 'b' is given twice; first in line 2"),
        ("a: 1\n? [x]\n: 2", "m.yaml:2: a key must be plain text"),
        (
            "a: &x {b: 1}\nc:\n  <<: *x",
            "m.yaml:3: merge keys (<<) are not supported (write the keys out)",
        ),
        (
            "a: 1\nb: !hunter2",
            "m.yaml:2: a YAML tag is not supported (a text that begins with ! needs quotes)",
        ),
        (
            "a: !!int x",
            "m.yaml:1: cannot be read as the kind of value it looks like (put text in quotes)",
        ),
        (
            "a:\n  - " + "1" * 5000,
            "m.yaml:2: cannot be read as the kind of value it looks like (put text in quotes)",
        ),
        ('a: "\\ud800"', "m.yaml:1: is not valid Unicode text"),
        ("a: 1\nb: c: d", "m.yaml:2: is not readable as YAML: mapping values are not allowed here"),
        ("a: 1\nb: [1, 2", "m.yaml:2: is not readable as YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\nb: \x01", "m.yaml:2: is not readable as YAML: a character that YAML does not allow"),
        (
            "a: 1\n---\nb: 2",
            "m.yaml:2: is not readable as YAML: but found another document",
        ),
        (
            "a: 1\npassword: *hunter2",
            "m.yaml:2: is not readable as YAML: an alias, anchor or tag that is not defined "
            "(text that begins with *, & or ! needs quotes)",
        ),
        (
            "password: !hunter2!x y",
            "m.yaml:1: is not readable as YAML: an alias, anchor or tag that is not defined "
            "(text that begins with *, & or ! needs quotes)",
        ),
        ("a: &x [*x]", "m.yaml:1: is nested too deeply or too large"),
        ("[" * 20_000, "m.yaml: is nested too deeply"),
    ],
)
def test_what_is_refused_is_told_with_its_line(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "is nested too deeply or too large" in problems("\n".join(lines))[0]


def test_aliases_repeat_what_they_name() -> None:
    assert tree("a: &x [1]\nb: *x").value == {"a": [1], "b": [1]}


@given(st.text() | st.text("ab:-[]{}&*!|>'\"#%@`,? \n\t~0."))
def test_any_text_gives_values_or_problems(text: str) -> None:
    found = tree(text)
    assert found.problems or found.value is not None or found.lines
