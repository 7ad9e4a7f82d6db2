"""What became of every cell, as JSON lines in a file that is only ever appended to.

A line names the commit and the seed. Rule: a cell with a line for this commit is finished, whether it passed or not.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".long" / "results.jsonl"
CODE = ["src", "tests"]
"""What a result depends on; changes that are not committed count as another commit."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run of one cell; `figures` are what the test noted."""

    cell: str
    commit: str
    seed: int
    passed: bool
    seconds: float
    figures: Mapping[str, object] = field(default_factory=dict)
    failure: str = ""


def current_commit() -> str:
    """The commit of the checkout, with a digest of what is not committed."""
    commit = _git("rev-parse", "--short=12", "HEAD").decode().strip()
    changes = _git("diff", "HEAD", "--", *CODE)
    for name in _git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE).split(b"\0"):
        if name:
            changes += name + (ROOT / name.decode()).read_bytes()
    return f"{commit}+{hashlib.sha256(changes).hexdigest()[:8]}" if changes else commit


def load_results(commit: str, file: Path = FILE) -> list[Result]:
    """All results of a commit, oldest first; a line that was cut off by a crash is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            result = Result(**json.loads(line))
        except ValueError:
            continue
        if result.commit == commit:
            found.append(result)
    return found


def append_result(result: Result, file: Path = FILE) -> None:
    """Adds a line."""
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")


def latest(results: Sequence[Result]) -> dict[str, Result]:
    """The last result of every cell."""
    return {result.cell: result for result in results}


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
