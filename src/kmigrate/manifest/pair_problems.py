"""Pairs of topics are for `verify` alone: no other command takes a manifest of them, and not all of it can be meant.

Rule: where another tool copies, this one must not begin to copy as well, with the default that selects every topic.
"""

from __future__ import annotations

from kmigrate.errors import Problem
from kmigrate.manifest.yaml_tree import YamlTree

_BESIDE = frozenset({"source", "target", "pairs", "limits"})


def problems_of_pairs(tree: YamlTree, *, takes_pairs: bool) -> list[Problem]:
    """What contradicts `spec.pairs`, if there is any."""
    pairs = tree.at("spec", "pairs")
    if not isinstance(pairs, dict) or not pairs:
        return []
    here = ("spec", "pairs")
    if not takes_pairs:
        told = "spec.pairs names topics that another tool copies: the manifest is for `kmigrate verify` alone"
        return [tree.problem(here, told, "take spec.pairs away, or write another manifest for what is to be migrated")]
    spec = tree.at("spec")
    problems = [
        tree.problem(("spec", key), f"spec.{key} has no meaning beside spec.pairs", "take one of them away")
        for key in (spec if isinstance(spec, dict) else ())
        if key not in _BESIDE
    ]
    seen: dict[object, str] = {}
    for source, target in pairs.items():
        if target in seen:
            told = f"spec.pairs.{source}: {target} is the copy of {seen[target]} already"
            problems.append(tree.problem((*here, source), told))
        elif isinstance(target, str):
            seen[target] = source
    return problems
