"""A manifest is loaded whole or not at all: all problems of its files are told at once, each with its line.

Rule: the checks are independent of each other and all work on the same tree, so that none hides what another
finds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kmigrate.errors import ManifestError, Problem
from kmigrate.manifest.clusters import ClusterReader
from kmigrate.manifest.files import read_limited
from kmigrate.manifest.model import Manifest, ManifestDocument
from kmigrate.manifest.pair_problems import problems_of_pairs
from kmigrate.manifest.references import Unresolved, resolve_references
from kmigrate.manifest.shape import check_shape
from kmigrate.manifest.wave_problems import problems_of_waves
from kmigrate.manifest.yaml_tree import YamlTree, parse_tree


def load_manifest(path: Path | str, *, environ: Mapping[str, str] | None = None, takes_pairs: bool = False) -> Manifest:
    """The manifest at the path, with its properties files read and its references resolved.

    `environ` is where `${env:…}` looks; by default the environment of the process. A manifest of pairs is for whoever
    `takes_pairs`. Raises `ManifestError`.
    """
    path = Path(path)
    return _load(path, _read_tree(path), environ, takes_pairs=takes_pairs)


def read_manifest(content: bytes, path: Path, *, environ: Mapping[str, str] | None = None) -> Manifest:
    """The manifest that a file at the path would be, if it had this content; whether there is one does not matter.

    Relative paths begin in the path's folder. Raises `ManifestError`.
    """
    return _load(path, _tree_of(content, path), environ, takes_pairs=False)


def _load(path: Path, tree: YamlTree, environ: Mapping[str, str] | None, *, takes_pairs: bool) -> Manifest:
    if tree.value is None:
        raise ManifestError(_in_order(tree.problems or (tree.problem((), "is empty: it says nothing"),)))

    clusters = ClusterReader(tree, folder=path.parent, environ=os.environ if environ is None else environ)
    source, target = clusters.settings_of("source"), clusters.settings_of("target")
    client_properties = clusters.client_properties()
    document = check_shape(tree)
    problems = [*tree.problems, *_contradictions(tree), *problems_of_pairs(tree, takes_pairs=takes_pairs)]
    problems += clusters.problems
    if not isinstance(document, ManifestDocument):
        problems += document
    if problems or source is None or target is None or not isinstance(document, ManifestDocument):
        raise ManifestError(_in_order(problems))

    spec = document.spec
    return Manifest(
        name=document.metadata.name,
        source=source,
        target=target,
        topics=spec.topics,
        groups=spec.groups,
        scheme=spec.scheme,
        start=spec.start,
        offsets=spec.offsets,
        replication_factor=spec.replication_factor,
        principals=spec.principals,
        users=spec.users,
        waves=spec.waves,
        pairs=spec.pairs,
        history=spec.history,
        ending=spec.ending,
        fence=spec.fence,
        way_back=spec.way_back,
        applications=spec.applications,
        cutover=spec.cutover,
        limits=spec.limits,
        sizes=spec.sizes,
        workers=None if spec.workers == "auto" else spec.workers,
        lanes=None if spec.lanes == "auto" else spec.lanes,
        client_properties=client_properties,
        notices=(*source.notices, *target.notices),
        path=path,
    )


def read_passwords(manifest: Manifest, *, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The passwords of `spec.users`, by user; raises `ManifestError` with every reference that leads nowhere.

    They are read when they are needed and not before: other commands need none of them.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for user, section in manifest.users.items():
        resolved = resolve_references(
            section.password, folder=manifest.path.parent, environ=os.environ if environ is None else environ
        )
        if isinstance(resolved, Unresolved):
            problems += [_whole(str(manifest.path), f"spec.users.{user}.password: {why}") for why in resolved.reasons]
        elif not resolved.value:
            problems.append(_whole(str(manifest.path), f"spec.users.{user}.password: the reference leads to nothing"))
        else:
            found[user] = resolved.value
    if problems:
        raise ManifestError(problems)
    return found


def _read_tree(path: Path) -> YamlTree:
    file = str(path)
    try:
        content = read_limited(path)
    except OSError as error:
        return YamlTree(file=file, problems=(_whole(file, f"cannot be read: {error.strerror}"),))
    return _tree_of(content, path)


def _tree_of(content: bytes, path: Path) -> YamlTree:
    file = str(path)
    try:
        return parse_tree(content.decode("utf-8-sig"), file=file)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return YamlTree(file=file, problems=(Problem(file=file, line=line, message="is not UTF-8 text"),))


def _contradictions(tree: YamlTree) -> list[Problem]:
    """What fits the model, each value for itself, and still cannot be meant."""
    problems: list[Problem] = []
    if tree.at("spec", "topics", "include") == []:
        problems.append(tree.problem(("spec", "topics", "include"), "spec.topics.include selects no topic"))
    problems += problems_of_waves(tree)
    return problems


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file and line, and nothing twice: both clusters may name the same properties file."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.file, p.line or 0, p.message))


def _whole(file: str, message: str) -> Problem:
    return Problem(file=file, line=None, message=message)
