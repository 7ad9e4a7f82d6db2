"""The tables are whole: every gate has a check and words, every effect an undo, and every law of a table holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.schemes.checks import CHECKS
from kmigrate.schemes.effects import EFFECTS, EffectKind
from kmigrate.schemes.invariants import broken_in_table
from kmigrate.schemes.page import example
from kmigrate.schemes.steps import GATES, Gate, Writers
from kmigrate.schemes.tables import TABLES, Stage, stages_back, stages_of
from tests.unit.schemes.examples import CLEAN, LATER, OVERLAP, ROLLING


def names(stages: tuple[Stage, ...]) -> list[str]:
    return [stage.step.name for stage in stages]


def test_every_gate_has_a_check_and_words_and_every_effect_a_row() -> None:
    assert set(CHECKS) == set(GATES) == set(Gate)
    assert set(EFFECTS) == set(EffectKind)


@pytest.mark.parametrize(("scheme", "variant"), TABLES)
def test_no_table_breaks_a_law(scheme: object, variant: str) -> None:
    wave = example(scheme, variant)  # type: ignore[arg-type]
    assert list(broken_in_table(stages_of(wave))) == []
    assert list(broken_in_table(stages_back(wave))) == []


def test_every_gate_and_every_effect_but_those_of_late_records_is_used_somewhere() -> None:
    steps = [step for table in TABLES.values() for step in table.steps()]
    steps += [stage.step for stage in stages_back(CLEAN)]
    assert {gate for step in steps for gate in step.gates} == set(Gate)
    done = {kind for step in steps for kind in step.effects}
    undone = {entry.undo for kind, entry in EFFECTS.items() if kind in done}
    assert set(EffectKind) - done - undone == {EffectKind.APPEND_LATE, EffectKind.LIST_LATE, EffectKind.FORGO_LATE}


def test_what_reads_moves_before_what_writes_in_consumers_first() -> None:
    assert names(stages_of(CLEAN)) == [
        *("replicate", "stop-readers", "start-readers"),
        *("stop-application", "freeze", "promote", "start-application"),
        *("stop-writers", "freeze", "promote", "start-writers", "arm", "watch"),
    ]
    assert "arm" not in names(stages_of(replace(CLEAN, has_way_back=False)))


def test_an_application_moves_clean_even_where_writers_overlap() -> None:
    steps = names(stages_of(OVERLAP))
    assert steps.index("promote") < steps.index("open") < steps.index("move-writers")


def test_both_sides_take_writes_only_where_writers_are_restarted_one_after_the_other() -> None:
    for wave in (ROLLING, LATER, OVERLAP):
        both = {stage.step.name for stage in stages_of(wave) if stage.step.writers is Writers.BOTH}
        assert both
        assert both <= {"move-writers", "move-application"}
    assert not any(stage.step.writers is Writers.BOTH for stage in stages_of(CLEAN))


def broken(wave_stages: tuple[Stage, ...], **changes: object) -> str:
    """What the laws say of a table whose `promote` is changed."""
    changed = [
        replace(stage, step=replace(stage.step, **changes)) if stage.step.name == "promote" else stage  # type: ignore[arg-type]
        for stage in wave_stages
    ]
    return " ".join(broken_in_table(changed))


def test_the_laws_of_a_table_see_what_is_wrong() -> None:
    stages = stages_of(CLEAN)
    assert "without an approval" in broken(stages, is_irreversible=False)
    assert "not listed" in broken(stages, cannot_be_undone=())
    assert "without a deadline" in broken(stages, is_frozen=False)
    assert "nothing in between" in " ".join(broken_in_table([stage for stage in stages if not stage.step.is_frozen]))
    assert "before anybody approved" in " ".join(
        broken_in_table([stage for stage in stages if not stage.step.asks_ahead])
    )
    assert "last step" in " ".join(broken_in_table(stages[:-1]))
