"""A wave is what moves together: topics, groups, how they move, and in which order its applications do.

Rule: a wave does not change once its cutover has begun; the cutover carries it. An application that reads some topics
and writes others is one move: its groups and the topics that it writes change sides in the same steps.

Reference: docs/schemes/.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from kmigrate.kafka_types import TopicName
from kmigrate.manifest.model import Ending as Ending
from kmigrate.manifest.model import History as History
from kmigrate.manifest.model import Scheme

WHOLE_WAVE = ""
"""The scope of what concerns every topic and group of a wave."""


class MoveKind(enum.Enum):
    """What a move takes along."""

    READERS = "readers"
    WRITERS = "writers"
    APPLICATION = "application"
    """Both: it reads, and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take or must hold, in seconds, and how much may be left."""

    freeze_seconds: float = 600.0
    """How long writers may be kept waiting before they are free again by themselves."""
    still_seconds: float = 330.0
    """How long a log end must stand still without a fence: clients retry for minutes."""
    fenced_still_seconds: float = 1.0
    """The same behind a fence, where only what was under way can still arrive."""
    approval_seconds: float = 900.0
    tail_offsets: int = 10_000
    """How much of a partition may be left to verify while writers wait, in offsets."""
    auto_hold_seconds: float = 30.0
    """How long a step's gates must have been open before `--auto` takes it; inside a freeze it is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Applications that change sides in the same steps: groups that read, topics that are written.

    `is_attested`: it keeps its own checkpoints (Flink, a database), so that Kafka shows no group of it: whether it
    stopped and started is the operator's word.
    """

    name: str
    topics: tuple[TopicName, ...] = ()
    groups: tuple[str, ...] = ()
    is_attested: bool = False

    @property
    def kind(self) -> MoveKind:
        if self.topics:
            return MoveKind.APPLICATION if self.groups or self.is_attested else MoveKind.WRITERS
        return MoveKind.READERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Topics and groups that move together, and how. `moves` are in the order in which they are made.

    `is_fenced`: writers are kept out by the brokers, not only by the operator's word. `has_way_back`: a reverse copy
    runs until the end.
    """

    name: str
    scheme: Scheme
    topics: tuple[TopicName, ...]
    groups: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    history: History = History.NONE
    ending: Ending = Ending.CLEAN
    is_fenced: bool = False
    has_way_back: bool = True
    limits: Limits = field(default_factory=Limits)

    def __hash__(self) -> int:
        return hash(self.name)  # waves are looked up often, and two of one name are hardly ever compared

    @property
    def ends_with_copy(self) -> bool:
        """Whether the source ends where its copy does: where writers go on there afterwards, no way back can begin."""
        if self.scheme is Scheme.CONSUMERS_FIRST:
            return self.ending is Ending.CLEAN or all(move.kind is not MoveKind.WRITERS for move in self.moves)
        return self.history is History.STOPPED

    def scope(self, name: str) -> Move:
        """The topics and groups of a move, or of the whole wave."""
        if name == WHOLE_WAVE:
            return Move(name=WHOLE_WAVE, topics=self.topics, groups=self.groups)
        return next(move for move in self.moves if move.name == name)
