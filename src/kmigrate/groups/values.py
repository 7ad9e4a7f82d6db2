"""What is known of groups, as values.  (pure)"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.wire.group_calls import Committed

UNKNOWN_MS = -1


class OutcomeKind(enum.Enum):
    """What became of a group's commit for one partition."""

    SYNCED = "Synced"
    """The target has the exact translation; it was read back."""
    WAITING = "Waiting"
    """It cannot be committed yet; it goes on by itself."""
    MOVED = "Moved"
    """The group is used on the target: it is not touched there any more."""
    SKIPPED = "Skipped"
    """There is nothing to commit, and there will not be; the reason says why."""
    FAILED = "Failed"
    """The target refuses it; somebody has to act."""


class Outcome(NamedTuple):
    """An outcome, and why it is this one."""

    kind: OutcomeKind
    reason: str = ""


SYNCED = Outcome(OutcomeKind.SYNCED)


class Value(NamedTuple):
    """A commit as it lies on a cluster. Ours have no leader epoch."""

    offset: Offset
    metadata: str
    leader_epoch: LeaderEpoch = UNKNOWN_EPOCH

    @classmethod
    def of(cls, committed: Committed) -> Value:
        """What was read."""
        return cls(committed.offset, committed.metadata, committed.leader_epoch)

    def __str__(self) -> str:
        return f"{self.offset}" + (f" {self.metadata!r}" if self.metadata else "")


def holds(committed: Committed, value: Value) -> bool:
    """Whether that is just what was read; quicker than making a value of it, which a round would do 100,000 times."""
    _, offset, leader_epoch, metadata = committed
    return (offset, metadata, leader_epoch) == value


class Written(NamedTuple):
    """What we committed last, and what was there before: until it is read back, either may be there."""

    now: Value
    before: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """Why a group is not touched on the target any more, and since when."""

    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """What must not be forgotten of a group; it is kept before anything is done that rests on it.

    `released`: an operator ended its latch, so whatever is there next may be overwritten. `refreshed_ms` is when all
    of its commits were last written anew, so that they do not expire.
    """

    moved: Latch | None = None
    released: bool = False
    written: Mapping[TopicPartition, Written] = field(default_factory=dict)
    refreshed_ms: int = UNKNOWN_MS


NO_RECORD = GroupRecord()


class Copied(NamedTuple):
    """What is copied of a partition; `hold` says why nothing can be told of it now (empty: it can).

    `source_start` is where the copy begins on the source: its log start, or above it. `source_end` is what can be read
    there.
    """

    offset_class: OffsetClass
    ends: Ends
    source_start: Offset
    source_end: Offset
    hold: str = ""
