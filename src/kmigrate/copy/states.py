"""The states of a partition, and the one table of stops: what it means → what the operator can choose.

    WAITING → ALIGNING → CATCHING_UP ⇄ IN_SYNC, with PAUSED and THROTTLED as reasons for standing still, and STOPPED
    with a `Stop`. ALIGNING is passed through only where the source's log starts above 0. HANDED_OVER is the end: a
    cutover ended the copy, and the topic is the applications' own.

A stop is never left by itself: only by a choice of the operator. WAITING is left as soon as its reason is gone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from kmigrate.kafka_types import Offset


class PartitionState(enum.Enum):
    """What a partition's copying is doing now."""

    WAITING = "WAITING"
    ALIGNING = "ALIGNING"
    CATCHING_UP = "CATCHING_UP"
    IN_SYNC = "IN_SYNC"
    PAUSED = "PAUSED"
    THROTTLED = "THROTTLED"
    STOPPED = "STOPPED"
    IGNORED = "IGNORED"
    HANDED_OVER = "HANDED_OVER"


class StopKind(enum.Enum):
    """Why a partition was stopped."""

    GAP_LOST = "GAP_LOST"
    SOURCE_TRUNCATED = "SOURCE_TRUNCATED"
    SOURCE_REPLACED = "SOURCE_REPLACED"
    SOURCE_DELETED = "SOURCE_DELETED"
    SOURCE_CORRUPT = "SOURCE_CORRUPT"
    FOREIGN_WRITE = "FOREIGN_WRITE"
    GAP_OVERSHOT = "GAP_OVERSHOT"
    TARGET_REJECTED = "TARGET_REJECTED"
    TARGET_LOST = "TARGET_LOST"
    UNAUTHORIZED = "UNAUTHORIZED"
    START_QUESTION = "START_QUESTION"
    CLASS_QUESTION = "CLASS_QUESTION"
    UNSUPPORTED = "UNSUPPORTED"
    STATE_LOST = "STATE_LOST"
    TOMBSTONES_MAY_BE_LOST = "TOMBSTONES_MAY_BE_LOST"


class Choice(enum.Enum):
    """What an operator can answer to a stop."""

    RESUME = "resume"
    """Look again, and go on if the cause is gone: nothing on the target is touched."""
    RECREATE = "recreate"
    """Delete the target topic, create it anew and copy all of it again."""
    SHIFTED = "shifted"
    """Go on in another offset class: target = source − constant."""
    MAPPED = "mapped"
    """Go on in another offset class: gaps are left out, a map says where everything went."""
    ACCEPT = "accept"
    """Go on with what may have been lost; the journal and the status keep that it was accepted."""
    IGNORE = "ignore"
    """Leave the partition stopped, listed as waived."""

    def command(self, topic: str, partition: int) -> str:
        """The command line that makes this choice."""
        place = f"-t {topic} -p {partition}"
        match self:
            case Choice.RESUME:
                return f"kmigrate resume -f FILE {place}"
            case Choice.RECREATE:
                return f"kmigrate resume -f FILE -t {topic} --recreate"
            case Choice.SHIFTED | Choice.MAPPED:
                return f"kmigrate resume -f FILE {place} --class {self.value}"
            case Choice.ACCEPT | Choice.IGNORE:
                return f"kmigrate resume -f FILE {place} --{self.value}"


CLASS_CHOICES = (Choice.SHIFTED, Choice.MAPPED)

_R, _C, _I = Choice.RESUME, Choice.RECREATE, Choice.IGNORE
_S, _M, _A = Choice.SHIFTED, Choice.MAPPED, Choice.ACCEPT

STOPS: Mapping[StopKind, tuple[str, tuple[Choice, ...]]] = {
    StopKind.GAP_LOST: ("the source dropped records before they were copied", (_C, _I)),
    StopKind.SOURCE_TRUNCATED: ("the source's log no longer agrees with what was copied", (_C, _I)),
    StopKind.SOURCE_REPLACED: ("the source topic was deleted and created again", (_C, _I)),
    StopKind.SOURCE_DELETED: ("the source topic or partition is gone", (_R, _I)),
    StopKind.SOURCE_CORRUPT: ("the source's bytes fail their check, twice", (_R, _I)),
    StopKind.FOREIGN_WRITE: ("somebody else wrote to the target partition", (_C, _I)),
    StopKind.GAP_OVERSHOT: ("a gap took more offsets on the target than it has on the source", (_C, _I)),
    StopKind.TARGET_REJECTED: ("the target refused a batch or markers", (_R, _C, _I)),
    StopKind.TARGET_LOST: ("the target lost records that it had acknowledged", (_C, _I)),
    StopKind.UNAUTHORIZED: ("a right is missing", (_R, _I)),
    StopKind.START_QUESTION: ("copying begins too far above 0 for the same offsets", (_R, _S, _M, _I)),
    StopKind.CLASS_QUESTION: ("the partition cannot keep its offset class", (_R, _M, _I)),
    StopKind.UNSUPPORTED: ("the partition holds what this version cannot copy", (_R, _I)),
    StopKind.STATE_LOST: ("nothing is left that could prove where the copy stands", (_C, _I)),
    StopKind.TOMBSTONES_MAY_BE_LOST: ("tombstones may have been removed before they were read", (_C, _A, _I)),
}
"""Stop → (what it means, what the operator can choose). Docs, `status` and `resume` read this table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a partition stopped: where (a source offset) and the evidence, in words for the operator."""

    kind: StopKind
    offset: Offset
    evidence: str

    @property
    def meaning(self) -> str:
        return STOPS[self.kind][0]

    @property
    def choices(self) -> tuple[Choice, ...]:
        return STOPS[self.kind][1]

    @property
    def asks_for_class(self) -> bool:
        """Whether another offset class is what it waits for."""
        return self.kind in (StopKind.START_QUESTION, StopKind.CLASS_QUESTION)

    def __str__(self) -> str:
        return f"{self.kind.value} at offset {self.offset}: {self.evidence}"
