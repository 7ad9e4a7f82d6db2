"""A YAML text becomes plain values, each with the line of its key.

Rule: safe scalars only, no merge keys, no key twice; what is refused is told with its line and never quotes a
value, for a value may be a password that lacks its quotes.

Reference: YAML 1.1 as PyYAML's SafeLoader composes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from kmigrate.errors import Problem

TreePath: TypeAlias = tuple[str | int, ...]
YamlValue: TypeAlias = "str | int | float | bool | list[YamlValue] | dict[str, YamlValue] | None"

MAX_NODES = 200_000
MAX_DEPTH = 50

VERBATIM_SECTIONS = ("properties", "clientProperties", "addressMap")
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlTree:
    """The values of a file, the line of every path in it, and what is wrong with the text itself."""

    file: str
    value: YamlValue = field(default=None, repr=False)
    lines: Mapping[TreePath, int] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()

    def at(self, *path: str | int) -> YamlValue:
        """The value at the path; None where there is none."""
        value = self.value
        for step in path:
            if isinstance(value, dict) and isinstance(step, str):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def text_at(self, *path: str | int) -> str | None:
        """The value at the path if it is a text that is not empty."""
        value = self.at(*path)
        return value if isinstance(value, str) and value else None

    def texts_at(self, *path: str | int) -> dict[str, str]:
        """The mapping at the path, as far as its values are texts."""
        value = self.at(*path)
        return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}

    def existing(self, path: TreePath) -> TreePath:
        """The longest beginning of the path that the file has."""
        while path not in self.lines and path:
            path = path[:-1]
        return path

    def line_of(self, path: TreePath) -> int | None:
        """The line of the path's key, or of the nearest section around it."""
        return self.lines.get(self.existing(path))

    def problem(self, path: TreePath, message: str, hint: str = "") -> Problem:
        """A problem at the line of the path."""
        return Problem(file=self.file, line=self.line_of(path), message=message, hint=hint)


def parse_tree(text: str, *, file: str) -> YamlTree:
    """The tree of a YAML text; a text that is no YAML, or empty, gives a tree with only its problem."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        return YamlTree(file=file, problems=(_syntax_problem(error, text, file),))
    except RecursionError:
        return YamlTree(file=file, problems=(Problem(file=file, line=None, message="is nested too deeply"),))
    if root is None:
        return YamlTree(file=file, problems=(Problem(file=file, line=None, message="is empty: it says nothing"),))
    return _Builder(loader, file).build(root)


class _Builder:
    """Walks the composed nodes once and gathers values, lines and problems."""

    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._lines: dict[TreePath, int] = {}
        self._problems: list[Problem] = []
        self._nodes = 0

    def build(self, root: yaml.Node) -> YamlTree:
        self._lines[()] = _line(root)
        value = self._value(root, ())
        return YamlTree(file=self._file, value=value, lines=self._lines, problems=tuple(self._problems))

    def _value(self, node: yaml.Node, path: TreePath) -> YamlValue:
        self._nodes += 1
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:  # aliases may contain themselves, or each other
            if not any(p.message.startswith("is nested") for p in self._problems):
                self._refuse(node, "is nested too deeply or too large")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines[*path, index] = _line(item)
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise TypeError(f"YAML has no node {type(node).__name__}")

    def _mapping(self, node: yaml.MappingNode, path: TreePath) -> dict[str, YamlValue]:
        result: dict[str, YamlValue] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be plain text")
                continue
            key = key_node.value
            if key_node.tag == _TAG + "merge":
                self._refuse(key_node, "merge keys (<<) are not supported", "write the keys out")
                continue
            if key in result:
                first = self._lines[*path, key]
                self._refuse(key_node, f"key {key!r} is given twice; first in line {first}")
                continue
            self._lines[*path, key] = _line(key_node)
            result[key] = self._value(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode, path: TreePath) -> YamlValue:
        kind = node.tag.removeprefix(_TAG)
        text: str = node.value
        try:
            text.encode("utf-8")
            if kind == "null":
                return None
            # Client properties are taken verbatim: "true" stays "true", 0644 stays 0644. Times stay text too.
            if kind in ("str", "timestamp", "value") or _is_verbatim(path):
                return text
            if kind == "bool":
                return bool(self._loader.construct_yaml_bool(node))
            if kind == "int":
                return int(self._loader.construct_yaml_int(node))
            if kind == "float":
                return float(self._loader.construct_yaml_float(node))
        except UnicodeEncodeError:
            self._refuse(node, "is not valid Unicode text")
            return None
        except (ValueError, KeyError):
            self._refuse(node, "cannot be read as the kind of value it looks like", "put text in quotes")
            return None
        self._refuse(node, "a YAML tag is not supported", "a text that begins with ! needs quotes")
        return None

    def _refuse(self, node: yaml.Node, message: str, hint: str = "") -> None:
        self._problems.append(Problem(file=self._file, line=_line(node), message=message, hint=hint))


def _is_verbatim(path: TreePath) -> bool:
    return len(path) == 4 and path[0] == "spec" and path[2] in VERBATIM_SECTIONS


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    line: int | None = None
    reason, hint = "a character that YAML does not allow", ""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        reason = error.problem or "unexpected end"
        if any(word in reason for word in ("alias", "anchor", "tag")):  # they quote what may be a password
            reason, hint = (
                "an alias, anchor or tag that is not defined",
                "text that begins with *, & or ! needs quotes",
            )
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
    return Problem(file=file, line=line, message=f"is not readable as YAML: {reason}", hint=hint)
