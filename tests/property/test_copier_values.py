"""Ten thousand lives of one partition: real copiers, real inquiries, modelled brokers, and everything that goes wrong.

A failing seed is run again, alone, with the command that the failure prints.
"""

from __future__ import annotations

import pytest

from kmigrate.copy.states import StopKind
from tests.simulation.seeds import run_many
from tests.simulation.values import World

RUNS = 12_000
CHUNK = 200
UNREACHED = {
    StopKind.SOURCE_DELETED,
    StopKind.TARGET_REJECTED,
    StopKind.UNAUTHORIZED,
    StopKind.GAP_OVERSHOT,
    StopKind.STATE_LOST,
    StopKind.START_QUESTION,
    StopKind.CLASS_QUESTION,
}
"""Stops that only an order, a refusal, markers or a class bring, or chance too seldom; the copier's own tests and the
runs on bytes reach them."""
REACHED = (
    "appends",
    "appends behind what others wrote",
    "appends to an unknown id",
    "completed",
    "duplicates",
    "late appends",
    "merged rows",
    "misplaced in flight",
    "read in time",
    "refused sequences",
    "very late appends",
    "waits for a quiet end",
    *(kind.value for kind in StopKind if kind not in UNREACHED),
)
"""What must have happened now and then, or the runs prove nothing."""


def test_no_life_of_a_partition_breaks_a_law(seed: int, request: pytest.FixtureRequest) -> None:
    run_many(World, request, seed=seed, runs=RUNS, chunk=CHUNK, reached=REACHED)
