"""The environment of processes that this one starts to run code of its own."""

from __future__ import annotations

import os
from pathlib import Path

import kmigrate


def child_environment() -> dict[str, str]:
    """Ours, with the place of this package first, so that a child runs the same program."""
    place = str(Path(kmigrate.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{inherited}" if inherited else place}
