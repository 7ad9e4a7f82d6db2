"""Effects are what a cutover does to the clusters: each named, idempotent, with its undo in one table.

Rule: an effect is carried out only after the decision for it was journaled, one at a time, and again whenever its
outcome is not known: carrying it out twice changes nothing, and neither does an undo of what was never done. An effect
says *what* and its scope, never how; how is the shell's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition


class EffectKind(StrEnum):
    """What is done; the value is what the journal says."""

    END_GROUP_SYNC = "end-group-sync"
    RESUME_GROUP_SYNC = "resume-group-sync"
    END_COPY = "end-copy"
    RESUME_COPY = "resume-copy"
    LIFT_HOLDS = "lift-holds"
    SET_HOLDS = "set-holds"
    PROMOTE = "promote"
    DEMOTE = "demote"
    OPEN_OVERLAP = "open-overlap"
    CLOSE_OVERLAP = "close-overlap"
    PREPARE_GROUPS = "prepare-groups"
    WITHDRAW_COMMITS = "withdraw-commits"
    CAPTURE_COMMITS = "capture-commits"
    TRANSLATE_BACK = "translate-back"
    PUT_UP_FENCE = "put-up-fence"
    LIFT_FENCE = "lift-fence"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    COPY_TAIL = "copy-tail"
    VERIFY_TAIL = "verify-tail"
    APPEND_LATE = "append-late"
    LIST_LATE = "list-late"
    FORGO_LATE = "forgo-late"
    BEGIN_REVERSE_COPY = "begin-reverse-copy"
    END_REVERSE_COPY = "end-reverse-copy"
    PUT_UP_TARGET_FENCE = "put-up-target-fence"
    LIFT_TARGET_FENCE = "lift-target-fence"
    FREEZE_TARGET = "freeze-target"
    UNFREEZE_TARGET = "unfreeze-target"
    COPY_BACK = "copy-back"
    VERIFY_BACK = "verify-back"
    COMMIT_BACK = "commit-back"
    HAND_BACK = "hand-back"
    TAKE_AGAIN = "take-again"


class End(NamedTuple):
    """Where a log ended, as an effect found it."""

    topic: TopicName
    partition: Partition
    offset: Offset

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing to be done for a move, or for the whole wave. `undoes` names what it takes back, if it is an undo.

    `places`: the partitions that it is about, where it is not all of them.
    """

    kind: EffectKind
    scope: str
    undoes: EffectKind | None = None
    places: tuple[TopicPartition, ...] = ()

    @property
    def undo(self) -> Effect | None:
        """What takes it back; None if there is nothing to take back."""
        undo = EFFECTS[self.kind].undo
        return None if undo is None else Effect(kind=undo, scope=self.scope, undoes=self.kind)

    def __str__(self) -> str:
        return f"{self.kind.value} of {self.scope}" if self.scope else self.kind.value


class Entry(NamedTuple):
    """A row of the table: what is done, what takes it back, and from when on that is no longer possible."""

    words: str
    undo: EffectKind | None = None
    no_return: str = ""


_K = EffectKind
_FIRST_RECORD = "once an application has written to the target"

EFFECTS: Mapping[EffectKind, Entry] = {
    _K.END_GROUP_SYNC: Entry("the source's commits are no longer brought to the target", _K.RESUME_GROUP_SYNC),
    _K.RESUME_GROUP_SYNC: Entry("the source's commits are brought to the target again"),
    _K.END_COPY: Entry("the copy ends, and where it ended is recorded", _K.RESUME_COPY, _FIRST_RECORD),
    _K.RESUME_COPY: Entry("the copy goes on where it ended"),
    _K.LIFT_HOLDS: Entry("the target's topics get their intended settings", _K.SET_HOLDS),
    _K.SET_HOLDS: Entry("the target's topics get the settings for copying"),
    _K.PROMOTE: Entry("the target's topics belong to the applications", _K.DEMOTE, _FIRST_RECORD),
    _K.DEMOTE: Entry("the target's topics belong to the copy again"),
    _K.OPEN_OVERLAP: Entry(
        "applications may write to the target; what the source still gets is appended there, each record once",
        no_return="at once",
    ),
    _K.CLOSE_OVERLAP: Entry("everything that the source got is on the target, and was compared; no more is appended"),
    _K.PREPARE_GROUPS: Entry(
        "groups are committed on the target at the first new record that they have not read", _K.WITHDRAW_COMMITS
    ),
    _K.WITHDRAW_COMMITS: Entry("commits that nobody has used are taken away from the target"),
    _K.CAPTURE_COMMITS: Entry(
        "final commits are read, translated, committed on the target, and read back", _K.TRANSLATE_BACK
    ),
    _K.TRANSLATE_BACK: Entry("what groups have read on the target is committed on the source"),
    _K.PUT_UP_FENCE: Entry("the source refuses writes of applications", _K.LIFT_FENCE),
    _K.LIFT_FENCE: Entry("the source takes writes of applications again", _K.PUT_UP_FENCE),
    _K.FREEZE: Entry("the source's ends are recorded as final", _K.UNFREEZE),
    _K.UNFREEZE: Entry("the source's ends are no longer final"),
    _K.COPY_TAIL: Entry("everything up to the recorded ends is on the target"),
    _K.VERIFY_TAIL: Entry("everything up to the recorded ends was compared"),
    _K.APPEND_LATE: Entry("late records of the source are appended to the target, each once, and were compared"),
    _K.LIST_LATE: Entry("late records of the source are listed, and stay there"),
    _K.FORGO_LATE: Entry(
        "late records that cannot be appended are listed, and stay on the source with all behind them"
    ),
    _K.BEGIN_REVERSE_COPY: Entry("what is written to the target is copied to the source", _K.END_REVERSE_COPY),
    _K.END_REVERSE_COPY: Entry("nothing is copied to the source any more", _K.BEGIN_REVERSE_COPY),
    _K.PUT_UP_TARGET_FENCE: Entry("the target refuses writes of applications", _K.LIFT_TARGET_FENCE),
    _K.LIFT_TARGET_FENCE: Entry("the target takes writes of applications again"),
    _K.FREEZE_TARGET: Entry("the target's ends are recorded as final", _K.UNFREEZE_TARGET),
    _K.UNFREEZE_TARGET: Entry("the target's ends are no longer final"),
    _K.COPY_BACK: Entry("everything up to the target's recorded ends is on the source"),
    _K.VERIFY_BACK: Entry("everything up to the target's recorded ends was compared"),
    _K.COMMIT_BACK: Entry("groups are committed on the source at the first record that they have not read"),
    _K.HAND_BACK: Entry(
        "the source's topics belong to the applications again",
        _K.TAKE_AGAIN,
        "once an application has written to the source",
    ),
    _K.TAKE_AGAIN: Entry("the target's topics belong to the applications, as before the way back"),
}
"""Effect → what is so afterwards, its undo, and when that ends. Docs, `status` and the machine read this table."""
