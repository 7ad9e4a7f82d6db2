"""What `kmigrate cutover status -o json` says of a wave, as far as an operator goes by it.  (pure)

Rule: what is not known here is not needed: keys may be added to the document, and none of these may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

APPROVED = "approved"
"""The gate that the operator's own command opens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate of a step."""

    name: str
    is_open: bool
    told: str
    way: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Where one wave stands. `step` is the name of the table's row, `topics` and `groups` its scope."""

    wave: str
    phase: str
    outcome: str | None
    number: int
    way: str
    step: str
    step_number: int
    topics: tuple[str, ...]
    groups: tuple[str, ...]
    sentence: str
    todo: str
    gates: tuple[Gate, ...]
    needs_approval: bool

    @property
    def is_over(self) -> bool:
        return self.phase == "over"

    @property
    def is_waiting(self) -> bool:
        return self.phase == "waiting"

    @property
    def closed(self) -> tuple[Gate, ...]:
        """The gates that keep the step from being left, but for the approval."""
        return tuple(each for each in self.gates if not each.is_open and each.name != APPROVED)

    @property
    def place(self) -> tuple[str, int]:
        """Which step of which way it is."""
        return self.way, self.step_number


def situations_of(document: Mapping[str, Any]) -> tuple[Situation, ...]:
    """The waves of a status document; raises KeyError for one that lacks a key."""
    return tuple(_situation(wave) for wave in document["waves"])


def _situation(wave: Mapping[str, Any]) -> Situation:
    step = wave["step"]
    return Situation(
        wave=wave["wave"],
        phase=wave["phase"],
        outcome=wave["outcome"],
        number=wave["number"],
        way=wave["way"],
        step=step["name"],
        step_number=step["number"],
        topics=tuple(step["topics"]),
        groups=tuple(step["groups"]),
        sentence=wave["sentence"],
        todo=wave["todo"],
        gates=tuple(
            Gate(name=each["gate"], is_open=each["open"], told=each["told"], way=each["way"])
            for each in wave["evidence"]
        ),
        needs_approval=wave["needsApproval"],
    )
