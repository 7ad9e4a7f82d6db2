"""What a check found, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmigrate.errors import Blocked
from kmigrate.kafka_types import TopicName


class Level(enum.Enum):
    """How much a finding weighs."""

    PASS = "pass"
    WARN = "warn"
    """The copy will be right, but something may surprise."""
    BLOCK = "block"
    """The copy would fail or be wrong: it must be mended before the first write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: `what` is a sentence, `hint` what to do.

    `forgotten` are topics that this migration copied into before, and nothing remembers it.
    """

    level: Level
    what: str
    hint: str = ""
    forgotten: tuple[TopicName, ...] = ()

    def __str__(self) -> str:
        return f"{self.what}" + (f"\n  → {self.hint}" if self.hint else "")


_SHOWN = 5


def name_some(names: Iterable[str]) -> str:
    """The first names of many, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def refuse_blockers(findings: Sequence[Finding]) -> None:
    """Raises Blocked with every blocker, if there are any."""
    blockers = [finding for finding in findings if finding.level is Level.BLOCK]
    if not blockers:
        return
    if len(blockers) == 1:
        raise Blocked(blockers[0].what, hint=blockers[0].hint)
    listed = "\n".join(f"- {blocker}" for blocker in blockers)
    raise Blocked(f"{len(blockers)} things must be mended first:\n{listed}", hint="nothing has been written")
