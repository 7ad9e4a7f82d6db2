"""The document's shape is checked by its model; this module says in plain words what does not fit.

Rule: one problem for each place, at the line of the offending key; no value of a cluster's section is quoted.
"""

from __future__ import annotations

import difflib
import json
from typing import Any, get_args

from pydantic import ValidationError

from kmigrate.errors import Problem
from kmigrate.manifest.model import API_VERSION, KIND, ManifestDocument
from kmigrate.manifest.yaml_tree import TreePath, YamlTree, YamlValue

_WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "int_from_float": "must be a whole number",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be 1 to 100 letters, digits, '.', '_' or '-'",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}
_EXPLAINED = {
    ("apiVersion",): f"apiVersion must be {API_VERSION}",
    ("kind",): f"kind must be {KIND}",
}


def check_shape(tree: YamlTree) -> ManifestDocument | tuple[Problem, ...]:
    """The document, or every place where the tree does not fit the model."""
    if not isinstance(tree.value, dict):
        return (tree.problem((), "must be a mapping with apiVersion, kind, metadata and spec"),)
    try:
        # As JSON, since there a strict model takes lists for tuples and texts for enums, and nothing else.
        return ManifestDocument.model_validate_json(json.dumps(tree.value), by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False)
    problems: dict[TreePath, Problem] = {}
    for entry in found:
        path: TreePath = entry["loc"]
        problems.setdefault(path, _problem(tree, path, entry["type"], entry["msg"], entry.get("ctx", {})))
    return tuple(problems.values())


def _problem(tree: YamlTree, path: TreePath, kind: str, message: str, context: dict[str, Any]) -> Problem:
    place = tree.existing(path)
    if kind == "extra_forbidden":
        return tree.problem(path, f"unknown key {_label(path)}", _suggestion(path))
    if kind == "missing":
        return tree.problem(path, f"{_label(path)} is missing", _example(path))
    value = tree.at(*place)
    if place in _EXPLAINED:
        return tree.problem(path, f"{_EXPLAINED[place]}, {_shown(value)}")
    if value is None:
        return tree.problem(path, f"{_label(place)} is empty", "give it a value or remove the key")
    words = _WORDS[kind].format_map(context) if kind in _WORDS else message
    hint = "put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float) else ""
    if kind in (
        "enum",
        "literal_error",
        "int_type",
        "int_from_float",
        "greater_than_equal",
        "less_than_equal",
    ):
        words = f"{words}, {_shown(value)}"
    return tree.problem(path, f"{_label(place)} {words}", hint)


def _label(path: TreePath) -> str:
    """`spec.topics.include[0]` for a path."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _shown(value: YamlValue) -> str:
    match value:
        case None:
            return "it is empty"
        case dict():
            return "not a mapping"
        case list():
            return "not a list"
        case bool():
            return f"not {str(value).lower()}"
        case _:
            return f"not {value!r}"


def _example(path: TreePath) -> str:
    expected = {"apiVersion": API_VERSION, "kind": KIND}.get(str(path[-1])) if len(path) == 1 else None
    return f"write {path[-1]}: {expected}" if expected else ""


def _suggestion(path: TreePath) -> str:
    known = _keys_of(path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _keys_of(section: TreePath) -> list[str]:
    """The keys that the model knows in a section."""
    kind: Any = ManifestDocument
    for step in section:
        if isinstance(step, int):
            kind = get_args(kind)[0]
        else:
            kind = next(f.annotation for f in kind.model_fields.values() if f.alias == step)
    return [str(f.alias) for f in kind.model_fields.values()]
