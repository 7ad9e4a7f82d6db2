"""What became of every cell, as JSON lines in a file that is only ever appended to.

A line names the commit, the seed, and the code that it is a result of: the trees of `src` and `tests`. Rule: a cell
with a line for this code is finished, whether it passed or not.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".long" / "results.jsonl"
CODE = ["src", "tests"]
"""What a result depends on; changes that are not committed count as other code."""


class Version(NamedTuple):
    """A commit, and a digest of what results depend on in it; with a plus sign where not all of it is committed."""

    commit: str
    code: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run of one cell; `figures` are what the test noted."""

    cell: str
    code: str
    commit: str
    seed: int
    passed: bool
    seconds: float
    figures: Mapping[str, object] = field(default_factory=dict)
    failure: str = ""


def current_version() -> Version:
    """What is checked out."""
    commit = _git("rev-parse", "--short=12", "HEAD").decode().strip()
    code = hashlib.sha256(_git("rev-parse", *(f"HEAD:{tree}" for tree in CODE))).hexdigest()[:12]
    changes = _git("diff", "HEAD", "--", *CODE)
    for name in _git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE).split(b"\0"):
        if name:
            changes += name + (ROOT / name.decode()).read_bytes()
    if not changes:
        return Version(commit, code)
    return Version(f"{commit}+", f"{code}+{hashlib.sha256(changes).hexdigest()[:8]}")


def load_results(code: str, file: Path = FILE) -> list[Result]:
    """All results of some code, oldest first; a line that was cut off by a crash is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            result = Result(**json.loads(line))
        except (TypeError, ValueError):
            continue
        if result.code == code:
            found.append(result)
    return found


def append_result(result: Result, file: Path = FILE) -> None:
    """Adds a line, whole: others may add theirs at the same time."""
    file.parent.mkdir(exist_ok=True)
    with file.open("ab", buffering=0) as lines:
        lines.write((json.dumps(asdict(result), ensure_ascii=False) + "\n").encode())


def latest(results: Sequence[Result]) -> dict[str, Result]:
    """The last result of every cell."""
    return {result.cell: result for result in results}


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
