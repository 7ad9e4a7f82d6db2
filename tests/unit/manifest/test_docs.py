"""The manifests that the docs print load, and the docs name every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmigrate.manifest import load_manifest, manifest_schema

PAGE = (Path(__file__).parents[3] / "docs" / "manifest.md").read_text(encoding="utf-8")
MANIFESTS = re.findall(r"```yaml\n(apiVersion.*?)```", PAGE, re.DOTALL)
PROPERTIES = re.findall(r"```properties\n(# (\S+)\n.*?)```", PAGE, re.DOTALL)


def test_the_docs_have_examples() -> None:
    assert len(MANIFESTS) == 3
    assert [name for _, name in PROPERTIES] == ["source.properties", "target.properties"]


@pytest.mark.parametrize("text", MANIFESTS)
def test_an_example_loads(tmp_path: Path, text: str) -> None:
    for content, name in PROPERTIES:
        (tmp_path / name).write_text(content)
    (tmp_path / "m.yaml").write_text(text)
    environ = {"KMIGRATE_TARGET": "new-1.example:9092"}
    manifest = load_manifest(tmp_path / "m.yaml", environ=environ, takes_pairs="pairs:" in text)
    assert [str(address) for address in manifest.source.bootstrap] == [
        "old-1.example:9092",
        "old-2.example:9092",
    ]
    assert [str(address) for address in manifest.target.bootstrap] == ["new-1.example:9092"]
    assert manifest.notices == ()


def test_the_docs_name_every_key() -> None:
    keys = {key for section in manifest_schema()["$defs"].values() for key in section.get("properties", {})}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", PAGE)] == []
