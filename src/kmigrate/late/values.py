"""What is kept of late records: where they begin, each batch that was decided, and why a partition stops.  (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kmigrate.kafka_types import Offset, TopicId

SEQUENCES = 1 << 31
NOTHING = Offset(-1)
"""Up to where records of a partition are wanted that are given up: no batch is sent any more, decided or not."""


class Handover(NamedTuple):
    """From where on records of a partition are late.

    `source_from`: the first source offset that is wanted; `target_from`: where the target's log ended before anything
    was appended here. `until`: the source offset up to which records are wanted; None: all that come; NOTHING: none.
    """

    source_topic_id: TopicId
    target_topic_id: TopicId
    source_from: Offset
    target_from: Offset
    until: Offset | None = None


class Batch(NamedTuple):
    """One batch of late records: those from source offset `source_from` below `source_next`, `records` of them.

    They follow each other on the target from `target_base` on; None: it was decided, and is not known to lie there.
    `number` counts the partition's batches from 0 on. `sequence` is the first one of the batch.
    """

    number: int
    sequence: int
    source_from: Offset
    source_next: Offset
    records: int
    target_base: Offset | None = None

    @property
    def next_sequence(self) -> int:
        return (self.sequence + self.records) % SEQUENCES

    @property
    def last_sequence(self) -> int:
        return (self.sequence + self.records - 1) % SEQUENCES


class Kept(NamedTuple):
    """What is kept of a partition: its last batch that is known to lie on the target, and one that is not."""

    handover: Handover
    last: Batch | None = None
    pending: Batch | None = None
    landed: int = 0
    """How many records are known to lie on the target."""


GIVE_UP = "`kmigrate cutover next -f FILE --late list` leaves what follows on the source, and lists it"


class LateStopKind(StrEnum):
    """Why nothing more of a partition is appended."""

    REFUSED = "LATE_REFUSED"
    """The target refuses a batch, and repeating it does not help by itself."""
    UNKNOWN = "LATE_UNKNOWN"
    """Whether a batch lies on the target cannot be told any more."""
    UNREADABLE = "LATE_UNREADABLE"
    """What the source shows cannot be read as records."""
    TRIMMED = "LATE_SOURCE_TRIMMED"
    """The source has deleted records before they were appended."""
    TRUNCATED = "LATE_SOURCE_TRUNCATED"
    """The source ends before what was appended of it."""
    SOURCE_REPLACED = "LATE_SOURCE_REPLACED"
    TARGET_REPLACED = "LATE_TARGET_REPLACED"
    """The topic was deleted, or created anew, there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateStop:
    """A partition's named stop, at a source offset: what was seen, and the way out. It is looked at again by itself."""

    kind: LateStopKind
    offset: Offset
    evidence: str
    way: str

    def __str__(self) -> str:
        return f"{self.kind.value} at source offset {self.offset:,}: {self.evidence}; {self.way}; or {GIVE_UP}"
