"""Waves as actions: what moves with each, in order, and what speaks against it.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.plan.waves import CutoverPlan, MovePlan, WavePlan
from kmigrate.schemes.gates import some


def wave_actions(cutover: CutoverPlan) -> Iterator[PlannedAction]:
    """One for each move, in the order in which they are made; then what is in no wave, and what is in the way."""
    for wave in cutover.waves:
        for move in wave.moves:
            yield PlannedAction(
                kind=Kind.WAVES,
                name=wave.name,
                action=Verb.MOVE,
                what=f"{move.number} of {len(wave.moves)}, {move.name}: {_what(move)}",
                reason=_how(wave),
                when=When.CUTOVER,
            )
    for what, names in (("topic", cutover.topics_outside), ("group", cutover.groups_outside)):
        for name in names:
            yield PlannedAction(
                kind=Kind.WAVES,
                name=name,
                action=Verb.LEAVE_OUT,
                what=what,
                reason="it is in no wave, and does not move",
            )
    for told, way in cutover.problems:
        yield PlannedAction(kind=Kind.WAVES, name="cutover", action=Verb.BLOCKED, what="", reason=told, hint=way)


def _what(move: MovePlan) -> str:
    parts = []
    if move.groups:
        parts.append(f"reads as {some([*move.groups])}")
    if move.topics:
        parts.append(f"writes {some([*move.topics])}")
    if move.attested:
        parts.append("keeps its own checkpoints")
    return ", ".join(parts)


def _how(wave: WavePlan) -> str:
    variant = wave.history or wave.ending
    return f"{wave.scheme.value}, {variant.value}" if variant is not None else wave.scheme.value
