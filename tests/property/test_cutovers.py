"""Whole cutovers in a simulated service: every scheme, crashes, two operators, clients that misbehave.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import pytest

from kmigrate.manifest.model import Scheme
from kmigrate.schemes.cutover import Outcome
from kmigrate.schemes.tables import TABLES
from tests.simulation.cutovers import CutoverWorld, Fault, MisbehavingWorld
from tests.simulation.seeds import run_many

RUNS = 900
MISBEHAVING_RUNS = 700
CHUNK = 50
STEADY_SEED = 5
"""Always the same worlds, until more of the others were looked at: a simulated operator who gets stuck looks like a
machine that does."""
REACHED = (
    *(f"{scheme.value} {variant} {Outcome.FINISHED.value}" for scheme, variant in TABLES),
    *(f"{scheme.value} {variant} {Outcome.ROLLED_BACK.value}" for scheme, variant in TABLES if variant != "overlap"),
    *(f"{Scheme.CONSUMERS_FIRST.value} {ending} {Outcome.ABORTED.value}" for ending in ("clean", "overlap")),
    "late records",
    "died after an effect",
    "died before an effect",
    "died before the journal",
    "effects done twice",
    "refused CLOSED",
    "refused NOT_NOW",
    "refused STALE",
    "restarts",
    "two at once",
)
"""What must have happened now and then, or the runs prove nothing."""
FAULTS_REACHED = (
    *(fault.value for fault in Fault),
    "early writers found",
    "freezes taken back",
    "late append",
    "late list",
)
"""What must also have happened where clients misbehave."""


def test_nothing_is_lost_or_repeated_whatever_dies(request: pytest.FixtureRequest) -> None:
    reached = (*REACHED, "late records given up")
    run_many(CutoverWorld, request, seed=STEADY_SEED, runs=RUNS, chunk=CHUNK, reached=reached)


def test_clients_that_misbehave_are_noticed_and_nothing_is_lost(request: pytest.FixtureRequest) -> None:
    reached = (*REACHED, *FAULTS_REACHED)
    run_many(MisbehavingWorld, request, seed=STEADY_SEED, runs=MISBEHAVING_RUNS, chunk=CHUNK, reached=reached)
