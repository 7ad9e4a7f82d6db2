"""What crosses waves: a group, a transaction or an application that has topics in more than one of them.

Rule: it is found before anything begins, and blocks the plan, since a wave that moves alone would leave half of it
behind. Each comes with the way to mend it. What has topics in no wave at all stays where it is, and crosses nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kmigrate.kafka_types import TopicName
from kmigrate.schemes.order import Application
from kmigrate.schemes.wave import Wave


class CrossingKind(enum.Enum):
    """What crosses."""

    GROUP = "group"
    TRANSACTION = "transactional id"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Something with topics, or groups, in several waves: what it has in each, and how it is mended."""

    kind: CrossingKind
    name: str
    waves: Mapping[str, tuple[str, ...]]

    @property
    def way(self) -> str:
        """How it is mended."""
        names = " and ".join(sorted(self.waves))
        also = {
            CrossingKind.GROUP: "; or give each of its topics a group of its own",
            CrossingKind.TRANSACTION: "; or let it write to the topics of one wave only",
            CrossingKind.APPLICATION: "",
        }[self.kind]
        return f"put everything of {self.kind.value} {self.name} into one of the waves {names}{also}"

    def __str__(self) -> str:
        parts = "; ".join(f"{', '.join(has)} in wave {wave}" for wave, has in sorted(self.waves.items()))
        return f"{self.kind.value} {self.name} crosses waves: {parts}"


def find_crossings(
    waves: Sequence[Wave],
    *,
    groups: Mapping[str, Sequence[TopicName]],
    transactions: Mapping[str, Sequence[TopicName]],
    applications: Sequence[Application] = (),
) -> Iterator[Crossing]:
    """Everything that crosses waves: groups by what they read, transactional ids by what they write."""
    home = {topic: wave.name for wave in waves for topic in wave.topics}
    group_home = {group: wave.name for wave in waves for group in wave.groups}

    def crossing(kind: CrossingKind, name: str, parts: Sequence[tuple[str | None, str]]) -> Iterator[Crossing]:
        found: dict[str, list[str]] = {}
        for wave, part in parts:
            if wave is not None:
                found.setdefault(wave, []).append(part)
        if len(found) > 1:
            yield Crossing(kind=kind, name=name, waves={wave: tuple(sorted(set(has))) for wave, has in found.items()})

    for name, topics in sorted(groups.items()):
        own = [(group_home[name], "its commits")] if name in group_home else []
        yield from crossing(CrossingKind.GROUP, name, [*own, *((home.get(topic), topic) for topic in topics)])
    for name, topics in sorted(transactions.items()):
        yield from crossing(CrossingKind.TRANSACTION, name, [(home.get(topic), topic) for topic in topics])
    for each in sorted(applications, key=lambda application: application.name):
        parts = [(home.get(topic), str(topic)) for topic in (*each.reads, *each.writes)]
        parts += [(group_home.get(group), group) for group in each.groups]
        yield from crossing(CrossingKind.APPLICATION, each.name, parts)
