"""Where each wave of a cutover is, in a few numbers: for the status of the migration, and for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ConfigDict, with_config
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from kmigrate.schemes.cutover import Cutover

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class WavePlace:
    """The step that a wave is at, `step` of `steps` from 1 on, on the way forward or back, and since when: `seconds`.

    `begun` is false before the first decision. `phase` is what is done there: see docs/cutover.md.
    """

    wave: str
    way: str
    phase: str
    begun: bool
    step: int
    steps: int
    name: str
    seconds: float


def place_of(cutover: Cutover, now: float) -> WavePlace:
    """Where this wave is; `now` in seconds since the epoch."""
    return WavePlace(
        wave=cutover.wave.name,
        way=cutover.way.value,
        phase=cutover.phase.value,
        begun=cutover.number > 0,
        step=cutover.at.number,
        steps=len(cutover.stages),
        name=cutover.at.step.name,
        seconds=round(max(0.0, now - cutover.entered_at), 1),
    )
