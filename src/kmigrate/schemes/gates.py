"""Gates are named conditions on facts: open, or closed with the reason, the numbers and the way to open it.

Rule: unknown counts as no. A check answers what it saw in words; it never guesses, and it looks only at the topics and
groups of its step. `checks.py` has the check
of every gate, in one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from kmigrate.kafka_types import TopicName, TopicPartition
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.facts import GroupFacts, PartitionFacts, WaveFacts
from kmigrate.schemes.steps import Gate
from kmigrate.schemes.wave import Limits, Move
from kmigrate.words import count_of

NOTHING_SEEN = PartitionFacts()
NO_GROUP_SEEN = GroupFacts()
_MOST_NAMED = 3
STATUS = "`kmigrate status -f FILE` shows what holds it up"
WORD = "the operator attests it: Kafka shows no group of an application with checkpoints of its own"

Value = TypeVar("Value")
Place = TopicPartition | TopicName


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What a gate's check came to. `told`: the evidence, or what is missing; `way`: how a closed gate is opened."""

    gate: Gate
    is_open: bool
    told: str
    way: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a check looks at: the facts, through the scope of the step that a cutover is at."""

    cutover: Cutover
    facts: WaveFacts
    now: float

    @property
    def move(self) -> Move:
        return self.cutover.at.move

    @property
    def limits(self) -> Limits:
        return self.cutover.wave.limits

    def partitions(self) -> Iterator[tuple[Place, PartitionFacts]]:
        """Every partition of the scope's topics; a topic of which none is known counts as one that is unknown."""
        return partitions_of(self.facts, self.move.topics)

    def groups(self) -> Iterator[tuple[str, GroupFacts]]:
        for name in self.move.groups:
            yield name, self.facts.groups.get(name, NO_GROUP_SEEN)

    @property
    def is_attested(self) -> bool:
        """Whether what the step asks for is the operator's word, and he gave it."""
        return (self.cutover.at.step.name, self.move.name) in self.facts.attested

    @property
    def needs_word(self) -> bool:
        return self.move.is_attested and not self.is_attested


def partitions_of(facts: WaveFacts, topics: Iterable[TopicName]) -> Iterator[tuple[Place, PartitionFacts]]:
    """Every known partition of some topics; a topic of which none is known counts as one that is unknown."""
    missing = set(topics)
    wanted = frozenset(missing)
    for partition, each in facts.partitions.items():
        if partition.topic in wanted:
            missing.discard(partition.topic)
            yield partition, each
    for topic in sorted(missing):
        yield topic, NOTHING_SEEN


Answer = tuple[bool, str, str]
"""(open, what was seen or is missing, the way to open it)"""
Check = Callable[[View], Answer]


def every(
    values: Iterable[tuple[object, Value | None]],
    holds: Callable[[Value], bool],
    *,
    of: str,
    good: str,
    bad: Callable[[Value], str],
    way: str,
) -> Answer:
    """Open if every value is known and holds; else the first few that do not, by name.

    `of` is what there is a value for, as a noun; in `good`, `{all}` stands for all of them.
    """
    unknown: list[str] = []
    wrong: list[str] = []
    count = 0
    for name, value in values:
        count += 1
        if value is None:
            unknown.append(str(name))
        elif not holds(value):
            wrong.append(f"{name}: {bad(value)}")
    if not unknown and not wrong:
        return True, good.format(all=count_of(count, of)) if count else f"no {of} belongs to this step", ""
    told = [some(wrong)] if wrong else []
    if unknown:
        told.append(f"not known yet: {some(unknown)}")
    return False, "; ".join(told), way


def some(names: list[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
