"""What a manifest says of waves, schemes and applications that cannot be meant, each with its line.  (pure)

Rule: it works on the tree, so that it finds as much beside problems of other kinds; a value that does not fit the model
is not judged here. Which topics match a regular expression only the clusters tell: here only names count, and the plan
looks again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from kmigrate.errors import Problem
from kmigrate.manifest.model import CutoverSection, Ending, FenceChoice, History, Scheme, literal_name
from kmigrate.manifest.waves import EVERYTHING, HISTORIES, PRODUCERS
from kmigrate.manifest.yaml_tree import TreePath, YamlTree

_SPEC: TreePath = ("spec",)
_KEYS = ("history", "ending", "fence", "wayBack")
_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """One wave as it is written; `at` is its place, that of `spec` if no wave is written. None: not said, or wrong."""

    name: str
    at: TreePath
    scheme: Scheme | None
    history: History | None
    ending: Ending | None
    fence: FenceChoice | None


def problems_of_waves(tree: YamlTree) -> list[Problem]:
    """Everything about waves, schemes and applications that cannot be."""
    waves = [_wave(tree, ("spec", "waves", index), index) for index in range(_length(tree, "spec", "waves"))]
    return [
        *_twice(tree, "waves", "two waves are"),
        *_twice(tree, "applications", "two applications are"),
        *_without_scheme(tree, waves),
        *_combinations(tree, waves or [_wave(tree, _SPEC, 0)]),
        *_in_two_waves(tree, waves, "topics", "topic"),
        *_in_two_waves(tree, waves, "groups", "group"),
        *_not_selected(tree, waves),
        *_applications(tree, waves),
        *_limits(tree, waves or [_wave(tree, _SPEC, 0)]),
    ]


def _wave(tree: YamlTree, at: TreePath, index: int) -> _Written:
    name = tree.text_at(*at, "name") if at != _SPEC else EVERYTHING
    return _Written(
        name=name or f"number {index + 1}",
        at=at,
        scheme=_word(tree, Scheme, *at, "scheme") or _word(tree, Scheme, "spec", "scheme"),
        history=_word(tree, History, *at, "history"),
        ending=_word(tree, Ending, *at, "ending"),
        fence=_word(tree, FenceChoice, *at, "fence") or _word(tree, FenceChoice, "spec", "fence"),
    )


def _twice(tree: YamlTree, section: str, what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for index in range(_length(tree, "spec", section)):
        name = tree.text_at("spec", section, index, "name")
        if name is not None and name in seen:
            yield tree.problem(("spec", section, index, "name"), f"{what} named {name!r}")
        seen.add(name or "")


def _without_scheme(tree: YamlTree, waves: list[_Written]) -> Iterator[Problem]:
    """A wave that has no scheme beside others that have one, and keys that mean nothing without any."""
    places = [_SPEC, *(wave.at for wave in waves)]
    if any(tree.at(*at, "scheme") is not None for at in places):
        for wave in waves:
            if tree.at(*wave.at, "scheme") is None and tree.at("spec", "scheme") is None:
                message = f"wave {wave.name} has no scheme, and neither has spec"
                yield tree.problem(wave.at, message, "write a scheme there, or spec.scheme for all waves")
        return
    for at in places:
        for key in _KEYS:
            if tree.at(*at, key) is not None:
                message = f"{_label((*at, key))} says how a cutover goes, and there is no scheme"
                yield tree.problem((*at, key), message, "write spec.scheme, or remove the key")


def _combinations(tree: YamlTree, waves: list[_Written]) -> Iterator[Problem]:
    """Histories and endings that a scheme does not have."""
    general = _word(tree, History, "spec", "history")
    for wave in waves:
        if wave.scheme is None:
            continue
        if wave.history is not None and wave.scheme not in HISTORIES and wave.at != _SPEC:
            yield tree.problem(
                (*wave.at, "history"),
                f"wave {wave.name}: {wave.scheme.value} has no history to choose: everything comes along",
                "remove the key",
            )
        if wave.ending is not None and wave.scheme is not Scheme.CONSUMERS_FIRST and wave.at != _SPEC:
            yield tree.problem(
                (*wave.at, "ending"),
                f"wave {wave.name}: {wave.scheme.value} has no ending to choose: that is for consumers-first",
                "remove the key",
            )
        if wave.scheme is Scheme.PRODUCERS_LATER and (wave.history or general) is History.STOPPED:
            at = (*wave.at, "history") if wave.history is not None else (*wave.at, "scheme")
            yield tree.problem(
                at if tree.at(*at) is not None else ("spec", "history"),
                f"wave {wave.name}: producers-later cannot have the history stopped: its readers are on the target"
                " before it is known where the source ends",
                "choose the history none or rolling, or the scheme producers-first",
            )
    schemes = {wave.scheme for wave in waves}
    if None in schemes or not schemes:
        return
    if tree.at("spec", "history") is not None and not schemes & HISTORIES.keys():
        message = "spec.history has no meaning with consumers-first: everything comes along"
        yield tree.problem(("spec", "history"), message, "remove the key")
    if tree.at("spec", "ending") is not None and Scheme.CONSUMERS_FIRST not in schemes:
        message = "spec.ending is for consumers-first, which no wave goes by"
        yield tree.problem(("spec", "ending"), message, "remove the key")


def _in_two_waves(tree: YamlTree, waves: list[_Written], section: str, what: str) -> Iterator[Problem]:
    """Names that two waves have."""
    told: set[tuple[str, int, int]] = set()
    for number, wave in enumerate(waves):
        for index, name in _names(tree, *wave.at, section):
            for also, other in enumerate(waves):
                first, second = sorted((number, also))
                if also == number or (name, first, second) in told or not _matches(tree, name, *other.at, section):
                    continue
                told.add((name, first, second))
                yield tree.problem(
                    (*wave.at, section, index),
                    f"{what} {name} is in two waves, {waves[first].name} and {waves[second].name}",
                    f"a {what} moves with one wave",
                )


def _not_selected(tree: YamlTree, waves: list[_Written]) -> Iterator[Problem]:
    """Names that are in a wave, and do not take part at all."""
    for wave in waves:
        for section, what in (("topics", "topic"), ("groups", "group")):
            for index, name in _names(tree, *wave.at, section):
                if not _is_selected(tree, name, section):
                    message = f"wave {wave.name} names {what} {name}, which spec.{section} does not select"
                    yield tree.problem((*wave.at, section, index), message, f"add it to spec.{section}.include")


def _applications(tree: YamlTree, waves: list[_Written]) -> Iterator[Problem]:
    for number in range(_length(tree, "spec", "applications")):
        at: TreePath = ("spec", "applications", number)
        name = tree.text_at(*at, "name") or f"number {number + 1}"
        if not isinstance(tree.at(*at), dict):
            continue
        if name == PRODUCERS:
            message = f"an application cannot be named {PRODUCERS}: so the plan calls what no application writes"
            yield tree.problem((*at, "name"), message, "give it another name")
        groups, reads, writes = (_length(tree, *at, key) for key in ("groups", "reads", "writes"))
        has_own = tree.at(*at, "ownCheckpoints") is True
        if not (groups or reads or writes):
            message = f"application {name} names no group and no topic"
            yield tree.problem(at, message, "name what it reads as, reads and writes, or remove it")
        elif reads and not groups and not has_own:
            message = f"application {name} names what it reads, and no group"
            yield tree.problem(at, message, "name its groups, or write ownCheckpoints: true if it has none")
        for key, verb in (("reads", "reads"), ("writes", "writes")):
            for index, topic in _names(tree, *at, key):
                if not _has_topic(tree, waves, topic):
                    message = f"application {name} {verb} {topic}, and no wave has that topic"
                    yield tree.problem((*at, key, index), message, "add it to the topics of a wave, or remove it")
        for index, group in _names(tree, *at, "groups"):
            if not _is_selected(tree, group, "groups"):
                message = f"application {name} reads as group {group}, which spec.groups does not select"
                yield tree.problem((*at, "groups", index), message, "add it to spec.groups.include")


def _has_topic(tree: YamlTree, waves: list[_Written], topic: str) -> bool:
    if not _is_selected(tree, topic, "topics"):
        return False
    return not waves or any(_matches(tree, topic, *wave.at, "topics") for wave in waves)


def _limits(tree: YamlTree, waves: list[_Written]) -> Iterator[Problem]:
    """Times within which a step without a fence could never end."""
    if not any(wave.scheme is not None and wave.fence in (None, FenceChoice.NONE) for wave in waves):
        return
    defaults = CutoverSection()
    still = tree.at("spec", "cutover", "stillSeconds")
    still = defaults.still_seconds if still is None else still
    for key, default, what in (
        ("freezeSeconds", defaults.freeze_seconds, "writers would be free again before it is known that they stopped"),
        ("approvalSeconds", defaults.approval_seconds, "it would end before the step that it is for"),
    ):
        written = tree.at("spec", "cutover", key)
        value = default if written is None else written
        if isinstance(value, int) and isinstance(still, int) and value <= still:
            shown = key if written is not None else "stillSeconds"
            message = f"cutover.{key} {value} is not longer than stillSeconds {still}, and a wave has no fence: {what}"
            yield tree.problem(("spec", "cutover", shown), message, "make it longer, or write a fence")


# -- what the tree holds


def _word(tree: YamlTree, kind: type[_Word], *path: str | int) -> _Word | None:
    value = tree.at(*path)
    return next((each for each in kind if each.value == value), None)


def _length(tree: YamlTree, *path: str | int) -> int:
    value = tree.at(*path)
    return len(value) if isinstance(value, list) else 0


def _texts(tree: YamlTree, *path: str | int) -> list[str]:
    value = tree.at(*path)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _names(tree: YamlTree, *path: str | int) -> Iterator[tuple[int, str]]:
    """Entries that name one thing, with their places in the list."""
    value = tree.at(*path)
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        name = literal_name(entry) if isinstance(entry, str) else None
        if name:
            yield index, name


def _matches(tree: YamlTree, name: str, *path: str | int) -> bool:
    return any(_is_match(each, name) for each in _texts(tree, *path))


def _is_match(expression: str, name: str) -> bool:
    try:
        return re.fullmatch(expression, name) is not None
    except (re.error, OverflowError, RecursionError):
        return False  # the model tells


def _is_selected(tree: YamlTree, name: str, section: str) -> bool:
    include = _texts(tree, "spec", section, "include")
    is_included = not include or any(_is_match(each, name) for each in include)
    return is_included and not _matches(tree, name, "spec", section, "exclude")


def _label(path: TreePath) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
