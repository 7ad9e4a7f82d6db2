"""A cluster's section is read from the tree, with the properties file it names and the references in both.

Rule: keys in the manifest win over those of the file, and only the value that wins is resolved. It works on
the tree and not on the document, so that its problems are told together with those of the document's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from kmigrate.errors import Problem
from kmigrate.manifest.files import read_limited
from kmigrate.manifest.properties import PROPERTIES_ENCODING, parse_properties
from kmigrate.manifest.references import Resolved, resolve_references
from kmigrate.manifest.security_properties import interpret_security
from kmigrate.manifest.settings import (
    BOOTSTRAP_KEYS,
    ClientProperties,
    ClusterSettings,
    HostPort,
    PropertyEntry,
    interpret_properties,
    parse_bootstrap,
    parse_host_port,
)
from kmigrate.manifest.yaml_tree import TreePath, YamlTree


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A value as it stands in a file; `folder` is where its relative paths start."""

    text: str = field(repr=False)
    file: str
    line: int | None
    folder: Path


class ClusterReader:
    """Reads the clusters of one manifest and gathers what is wrong with them in `problems`."""

    def __init__(self, tree: YamlTree, *, folder: Path, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._tree = tree
        self._folder = folder
        self._environ = environ

    def settings_of(self, side: Literal["source", "target"]) -> ClusterSettings | None:
        """The settings of one side; None where a problem says why there are none."""
        section: TreePath = ("spec", side)
        if not isinstance(self._tree.at(*section), dict):
            return None  # the document's shape tells
        cluster_id = self._resolved_text((*section, "clusterId"))
        in_file = self._properties_file(section)
        written = dict(in_file or {})
        for key, value in self._properties_section((*section, "properties")).items():
            written.pop(key, None)  # what wins comes last, which decides between two spellings of one setting
            written[key] = value
        entries = self._resolve(written)
        secured = interpret_security(entries, unresolved=written.keys() - entries.keys())
        self.problems += secured.problems
        address_map = self._address_map((*section, "addressMap"))

        missing: Problem | None = None
        if in_file is not None and not any(key in written for key in BOOTSTRAP_KEYS):
            where = "name the brokers in propertiesFile or properties"
            missing = self._tree.problem(section, f"spec.{side} has no bootstrap.servers", where)
        interpreted = interpret_properties(entries, cluster_id=cluster_id, if_missing=missing)
        self.problems += interpreted.problems
        if interpreted.settings is None or secured.security is None:
            return None
        return replace(
            interpreted.settings,
            security=secured.security,
            address_map=tuple(address_map.items()),
            notices=tuple(f"{side}: {notice}" for notice in secured.notices),
        )

    def _address_map(self, path: TreePath) -> dict[HostPort, HostPort]:
        """Advertised addresses and where they are reached; what is no address is told."""
        found: dict[HostPort, HostPort] = {}
        for key, text in self._tree.texts_at(*path).items():
            written = self._in_manifest(text, (*path, key))
            resolved = self._resolved(written, key)
            if resolved is None:
                continue
            advertised, reachable = parse_host_port(key.strip()), parse_host_port(resolved.value.strip())
            for address, shown in ((advertised, key), (reachable, text)):
                if address is None:
                    self._tell(written, f"{path[-1]}: {shown!r} is not host:port")
            if advertised is not None and reachable is not None:
                found[advertised] = reachable
        return found

    def client_properties(self) -> ClientProperties:
        """What applications will use on the target; any key may stand there, as no copy uses it."""
        entries = self._resolve(self._properties_section(("spec", "target", "clientProperties")))
        for key in BOOTSTRAP_KEYS:
            if key in entries:
                self.problems += parse_bootstrap(entries[key])[1]
        return ClientProperties.of(entries)

    def _properties_section(self, path: TreePath) -> dict[str, _Written]:
        return {key: self._in_manifest(text, (*path, key)) for key, text in self._tree.texts_at(*path).items()}

    def _properties_file(self, section: TreePath) -> dict[str, _Written] | None:
        """The entries of the file that the section names: empty without a file, None if it cannot be read."""
        path: TreePath = (*section, "propertiesFile")
        named = self._tree.text_at(*path)
        if named is None:
            return {}
        resolved = self._resolved_text(path)
        if resolved is None:
            return None
        file = self._folder / resolved
        shown = str(self._folder / named)  # as written: a reference is not shown resolved
        try:
            text = read_limited(file).decode(PROPERTIES_ENCODING)
        except OSError as error:
            self._tell(self._in_manifest(named, path), f"{shown} cannot be read: {error.strerror}")
            return None
        parsed = parse_properties(text)
        self.problems += (
            Problem(file=shown, line=line, message=r"a \u needs four hexadecimal digits that form a character")
            for line in parsed.malformed_lines
        )
        return {
            key: _Written(text=value, file=shown, line=line, folder=file.parent)
            for key, (value, line) in parsed.values.items()
        }

    def _resolve(self, written: Mapping[str, _Written]) -> dict[str, PropertyEntry]:
        """The entries whose references lead somewhere, in the same order."""
        entries: dict[str, PropertyEntry] = {}
        for key, value in written.items():
            resolved = self._resolved(value, key)
            if resolved is not None:
                entries[key] = PropertyEntry(
                    key=key,
                    written=value.text,
                    value=resolved.value,
                    secret=resolved.secret,
                    file=value.file,
                    line=value.line,
                    folder=value.folder,
                )
        return entries

    def _resolved_text(self, path: TreePath) -> str | None:
        text = self._tree.text_at(*path)
        if text is None:
            return None
        resolved = self._resolved(self._in_manifest(text, path), str(path[-1]))
        return resolved.value if resolved is not None else None

    def _resolved(self, written: _Written, key: str) -> Resolved | None:
        outcome = resolve_references(written.text, folder=written.folder, environ=self._environ)
        if isinstance(outcome, Resolved):
            return outcome
        for reason in outcome.reasons:
            self._tell(written, f"{key}: {reason}")
        return None

    def _in_manifest(self, text: str, path: TreePath) -> _Written:
        return _Written(text=text, file=self._tree.file, line=self._tree.line_of(path), folder=self._folder)

    def _tell(self, written: _Written, message: str, hint: str = "") -> None:
        self.problems.append(Problem(file=written.file, line=written.line, message=message, hint=hint))
