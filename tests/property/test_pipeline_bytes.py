"""Whole pipelines against brokers that read and answer real bytes, while links break, leaders move and copiers die.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import pytest

from tests.simulation.pipelines import PipelineWorld
from tests.simulation.seeds import run_many

RUNS = 360
CHUNK = 10
REACHED = (
    "SOURCE_CORRUPT",
    "SOURCE_TRUNCATED",
    "TARGET_LOST",
    "UNSUPPORTED",
    "FOREIGN_WRITE",
    "appends",
    "changes of hands",
    "completed",
    "duplicates",
    "flips",
    "late appends",
    "merged rows",
    "refused sequences",
)
"""What must have happened now and then, or the runs prove nothing."""


def test_no_pipeline_breaks_a_law(seed: int, request: pytest.FixtureRequest) -> None:
    run_many(PipelineWorld, request, seed=seed, runs=RUNS, chunk=CHUNK, reached=REACHED)
