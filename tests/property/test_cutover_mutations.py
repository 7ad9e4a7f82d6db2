"""The simulated service catches a machine that is wrong: each mutation breaks a law within a few dozen seeds.

A gate that could be left out without anybody noticing would not be tested by whole cutovers at all. The same worlds
keep every law where nothing is mutated: they are among those of `test_cutovers`. Not every gate is here: many guard
what another gate or an effect guards as well, or are looked at by unit tests alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kmigrate.schemes import cutover, moving, tables
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.steps import Gate, Step
from kmigrate.schemes.tables import Table
from tests.property import test_cutovers
from tests.simulation.cutovers import CutoverWorld, MisbehavingWorld
from tests.simulation.seeds import run_worlds

SEEDS = 60
Patch = pytest.MonkeyPatch


def in_every_step(change: Callable[[Step], Step]) -> Callable[[Patch], None]:
    """A mutation of every row of every table."""

    def changed(table: Table) -> Table:
        return Table(
            opening=tuple(map(change, table.opening)),
            moves={kind: tuple(map(change, steps)) for kind, steps in table.moves.items()},
            closing=tuple(map(change, table.closing)),
        )

    def mutate(patch: Patch) -> None:
        patch.setattr(tables, "TABLES", {key: changed(table) for key, table in tables.TABLES.items()})
        patch.setattr(tables, "WAY_BACK", changed(tables.WAY_BACK))

    return mutate


def without_gate(gate: Gate) -> Callable[[Patch], None]:
    return in_every_step(lambda step: replace(step, gates=tuple(each for each in step.gates if each is not gate)))


def without_effect(kind: EffectKind) -> Callable[[Patch], None]:
    return in_every_step(lambda step: replace(step, effects=tuple(each for each in step.effects if each is not kind)))


def undo_in_the_order_of_doing(patch: Patch) -> None:
    planned = moving.planned_undo

    def reversed_undo(where: Cutover, stage: int) -> tuple[Effect, ...]:
        return planned(where, stage)[::-1]

    patch.setattr(moving, "planned_undo", reversed_undo)


MUTATIONS: dict[str, Callable[[Patch], None]] = {
    "without source-still": without_gate(Gate.SOURCE_STILL),
    "without commits-copied": without_gate(Gate.COMMITS_COPIED),
    "without drained": without_gate(Gate.DRAINED),
    "without readers-stopped": without_gate(Gate.READERS_STOPPED),
    "without writers-stopped": without_gate(Gate.WRITERS_STOPPED),
    "without capture-commits": without_effect(EffectKind.CAPTURE_COMMITS),
    "without prepare-groups": without_effect(EffectKind.PREPARE_GROUPS),
    "without copy-tail": without_effect(EffectKind.COPY_TAIL),
    "undo in the order of doing": undo_in_the_order_of_doing,
}


@contextmanager
def mutated(mutate: Callable[[Patch], None]) -> Iterator[None]:
    """The steps of a wave are remembered, so they are forgotten before and afterwards."""
    cutover._stages.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            mutate(patch)
            yield
    finally:
        cutover._stages.cache_clear()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_breaks_a_law_within_a_few_dozen_seeds(name: str) -> None:
    for make, runs in ((CutoverWorld, test_cutovers.RUNS), (MisbehavingWorld, test_cutovers.MISBEHAVING_RUNS)):
        first = test_cutovers.STEADY_SEED * runs
        with mutated(MUTATIONS[name]):
            _, broken = run_worlds(make, range(first, first + SEEDS))
        if broken is not None:
            return
    pytest.fail(f"{name}: no law was broken in {SEEDS} seeds of each kind of world")
