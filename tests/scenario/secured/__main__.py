"""`python -m tests.scenario.secured docs/transcript.md`: goes the whole way once, and writes down what was printed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.scenario.secured.clusters import secured_pair
from tests.scenario.secured.transcript import write_down
from tests.scenario.secured.walk import walk

with tempfile.TemporaryDirectory() as folder, secured_pair(Path(folder)) as guarded:
    place = Path(folder) / "work"
    place.mkdir()
    steps = walk(guarded, place)
    if any(step.code for step in steps):
        sys.exit("\n".join(f"$ {step.command}\n{step.output}" for step in steps))
    Path(sys.argv[1]).write_text(write_down(steps, guarded), encoding="utf-8")
