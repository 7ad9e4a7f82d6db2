"""A folder with a manifest in it, and the problems that loading it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from kmigrate.errors import ManifestError
from kmigrate.manifest import Manifest, load_manifest

HEAD = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source: {properties: {bootstrap.servers: "a:9092"}}
  target: {properties: {bootstrap.servers: "b:9092"}}
"""
"""Six lines that load; what a test appends begins in line 7."""

Load = Callable[..., Manifest]
Told = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str, *, environ: Mapping[str, str] | None = None, **files: str) -> Manifest:
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(dedent(content), encoding="utf-8", newline="")
        path = tmp_path / "m.yaml"
        path.write_text(text, encoding="utf-8")
        return load_manifest(path, environ={} if environ is None else environ)

    return load_text


@pytest.fixture
def told(load: Load, tmp_path: Path) -> Told:
    """The problems as `file:line: message (hint)`, the folder left out."""

    def problems_of(text: str, *, environ: Mapping[str, str] | None = None, **files: str) -> list[str]:
        with pytest.raises(ManifestError) as caught:
            load(text, environ=environ, **files)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return problems_of
