"""The library that `compiled.c` becomes where kmigrate is installed on a machine with a C compiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

REVISION = 2
"""What this package and a compiled library must agree on."""
LIBRARY = Path(__file__).with_name("_compiled.so")


def load_library(library: Path) -> ctypes.CDLL | None:
    """The library; None where there is none, or none for this machine and this revision."""
    try:
        import ctypes  # not every Python has it

        loaded = ctypes.CDLL(str(library))
        loaded.compiled_revision.restype = ctypes.c_int64
        return loaded if loaded.compiled_revision() == REVISION else None
    except (ImportError, OSError, AttributeError):
        return None
