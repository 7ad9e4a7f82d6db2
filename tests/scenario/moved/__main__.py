"""`python -m tests.scenario.moved docs/move.md docs/move-report.md`: goes the way once, and writes it down."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.scenario.moved.page import write_down
from tests.scenario.moved.stage import on_stage
from tests.scenario.moved.walk import walk

with (
    tempfile.TemporaryDirectory() as place,
    EmbeddedCluster(SOURCE_VERSION) as source,
    EmbeddedCluster(TARGET_VERSION) as target,
    on_stage(source, target, Path(place)) as stage,
):
    walked = walk(stage, Path(place))
page, report = map(Path, sys.argv[1:])
page.write_text(write_down(walked), encoding="utf-8")
report.write_text(f"{walked.report}\n", encoding="utf-8")
