"""The compiled loops, built for a test from the sources of this checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hatch_build import SOURCE, compile_library

ROOT = Path(__file__).parents[1]
COMPILER = shutil.which("cc")


def compiled_library(folder: Path) -> Path:
    """A fresh library in this folder; skips where there is no C compiler."""
    if COMPILER is None:
        pytest.skip("there is no C compiler on this machine")
    library = folder / "fresh.so"
    assert compile_library(ROOT / SOURCE, library, COMPILER) == ""
    return library
