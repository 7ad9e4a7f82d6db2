"""The mixed worlds find out who is careless."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.careful import CarefulPipeline, CarefulWorld
from tests.simulation.ledger import BrokenLawError


class HastyPipeline(CarefulPipeline):
    """Goes on at once, whatever may be on its way."""

    quiet_seconds = 0.0


class BelievingPipeline(CarefulPipeline):
    """Believes what it read once, also where a batch lies, which no CRC covers."""

    readings = 1


class HastyWorld(CarefulWorld):
    pipeline = HastyPipeline


class BelievingWorld(CarefulWorld):
    pipeline = BelievingPipeline
    flip = 0.7


@pytest.mark.parametrize("kind", [HastyWorld, BelievingWorld])
def test_who_is_careless_breaks_a_law(kind: Callable[[int], CarefulWorld]) -> None:
    def run_some() -> None:
        for seed in range(60):
            kind(seed).run()

    with pytest.raises(BrokenLawError, match="landed at"):
        run_some()
