"""Compiles `compiled.c` where kmigrate is installed; without a C compiler kmigrate works too, slower on small batches.

Only the standard library and hatchling: this runs before anything else is there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

RECORDS = Path("src", "kmigrate", "records")
SOURCE = RECORDS / "compiled.c"
LIBRARY = RECORDS / "_compiled.so"


def compile_library(source: Path, library: Path, compiler: str) -> str:
    """Writes the library; returns why there is none, or nothing. An old one is not left in its place."""
    try:
        library.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as work:
            fresh = Path(work, library.name)
            command = [*shlex.split(compiler), "-O2", "-shared", "-fPIC", "-o", str(fresh), str(source)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            load = [sys.executable, "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", str(fresh)]
            subprocess.run(load, check=True, capture_output=True, text=True)  # what cannot be loaded is none
            shutil.copyfile(fresh, library)
    except subprocess.CalledProcessError as error:
        return f"{compiler!r} failed: {error.stderr.strip() or error}"
    except (OSError, ValueError) as error:
        return f"{compiler!r}: {error}"
    return ""


def this_platform() -> str:
    """The platform as a wheel's name has it, for what was compiled here and not for others."""
    return next(tag.platform for tag in sys_tags() if not tag.platform.startswith(("manylinux", "musllinux")))


class Hook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's own generic is not exported
    """Adds the compiled library to the wheel, which then belongs to this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel, or the editable one, is written."""
        root = Path(self.root)
        why_not = compile_library(root / SOURCE, root / LIBRARY, os.environ.get("CC") or "cc")
        if why_not:
            print(f"kmigrate: small batches are merged by plain Python: {why_not}", file=sys.stderr)
            return
        build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{this_platform()}"
