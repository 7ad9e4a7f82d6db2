"""Pairs of topics that another tool copies are for verify alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.errors import ManifestError
from kmigrate.manifest import load_manifest, read_manifest
from tests.unit.manifest.conftest import HEAD

PAIRS = (
    HEAD
    + """\
  limits: {bytesPerSecond: 7}
  pairs:
    orders: source.orders
    pay: pay
"""
)


def written(folder: Path, text: str) -> Path:
    (folder / "m.yaml").write_text(text)
    return folder / "m.yaml"


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_manifest(written(folder, text), environ={}, takes_pairs=True)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_who_verifies_gets_them(tmp_path: Path) -> None:
    manifest = load_manifest(written(tmp_path, PAIRS), environ={}, takes_pairs=True)
    assert manifest.pairs == {"orders": "source.orders", "pay": "pay"}
    assert manifest.limits.bytes_per_second == 7


def test_nobody_else_takes_a_manifest_of_pairs(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"m\.yaml:8: .*for `kmigrate verify` alone"):
        load_manifest(written(tmp_path, PAIRS), environ={})
    with pytest.raises(ManifestError, match="for `kmigrate verify` alone"):
        read_manifest(PAIRS.encode(), tmp_path / "m.yaml", environ={})
    assert load_manifest(written(tmp_path, HEAD + "  pairs: {}\n"), environ={}).pairs == {}


def test_what_has_no_meaning_beside_them_is_told(tmp_path: Path) -> None:
    told = problems(tmp_path, PAIRS + "  scheme: consumers-first\n  topics: {include: [orders]}\n")
    assert [each.split(" (")[0] for each in told] == [
        "m.yaml:11: spec.scheme has no meaning beside spec.pairs",
        "m.yaml:12: spec.topics has no meaning beside spec.pairs",
    ]


def test_two_topics_have_no_copy_in_common(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, HEAD + "  pairs: {a: copy, b: copy}\n")
    assert "spec.pairs.b: copy is the copy of a already" in told


def test_names_are_names_of_topics(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, HEAD + '  pairs: {orders: "source/orders"}\n')
    assert "spec.pairs.orders must be a topic's name" in told
