"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmigrate.errors import Blocked, ClustersAway
from kmigrate.kafka_types import TopicName
from kmigrate.preflight.registry import FINDINGS, LEVELS, Entry, FindingId, Level

AWAY = frozenset({FindingId.CLUSTER_UNREACHABLE, FindingId.BROKER_UNREACHABLE})
"""Blockers that may pass by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: `what` is a sentence, `hint` what to do.

    `forgotten` are topics that this migration copied into before, and nothing remembers it.
    """

    id: FindingId
    level: Level
    what: str
    hint: str = ""
    forgotten: tuple[TopicName, ...] = ()

    @property
    def entry(self) -> Entry:
        """What the table of findings says about it."""
        return FINDINGS[self.id]

    def __str__(self) -> str:
        return f"{self.what}" + (f"\n  → {self.hint}" if self.hint else "")


def found(
    found_id: FindingId, *, level: Level | None = None, forgotten: tuple[TopicName, ...] = (), **words: object
) -> Finding:
    """A finding in the table's words; `level` where it is not the usual one."""
    entry = FINDINGS[found_id]
    assert level is None or level in entry.levels, f"{found_id.value} is never {level}"
    return Finding(
        id=found_id,
        level=level or entry.levels[0],
        what=entry.reason.format_map(words),
        hint=entry.remedy.format_map(words),
        forgotten=forgotten,
    )


def not_examined(what: str, reason: str, remedy: str = "") -> Finding:
    """Something that could not be looked at."""
    return found(FindingId.NOT_EXAMINED, what=what, reason=reason, remedy=remedy)


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """The heaviest first; else in the order in which they were found."""
    order = list(LEVELS)
    return sorted(findings, key=lambda each: order.index(each.level))


_SHOWN = 5


def name_some(names: Iterable[str]) -> str:
    """The first names of many, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def refuse_blockers(findings: Sequence[Finding]) -> None:
    """Raises Blocked with every blocker, if there are any: ClustersAway if all of them may pass by themselves."""
    blockers = [finding for finding in findings if finding.level is Level.BLOCK]
    if not blockers:
        return
    kind = ClustersAway if all(blocker.id in AWAY for blocker in blockers) else Blocked
    if len(blockers) == 1:
        raise kind(blockers[0].what, hint=blockers[0].hint)
    listed = "\n".join(f"- {blocker}" for blocker in blockers)
    raise kind(f"{len(blockers)} things must be mended first:\n{listed}", hint="nothing has been written")
