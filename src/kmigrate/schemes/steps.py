"""A step is a row of a scheme's table: who does what, which gates must be open to leave it, and what leaving it does.

Rule: everything that tells one step from another stands here as data; the machine has no case for any of them. A step
is entered, its gates are looked at until they are open, then it is left: by the operator's `next`, or by itself. Its
effects are carried out on leaving it, in their order, and then the next step is entered.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kmigrate.schemes.effects import EffectKind


class Actor(enum.Enum):
    """Who has to do something for the step's gates to open."""

    OPERATOR = "the operator"
    KMIGRATE = "kmigrate"


class Writers(enum.Enum):
    """Where applications may write to the topics of a step's scope while it lasts."""

    SOURCE = "source"
    NOBODY = "nobody"
    TARGET = "target"
    BOTH = "both"
    """Only where writers are restarted one after the other: no single writer, and the report says so."""


class Gate(StrEnum):
    """What must hold before a step is left; `gates.py` says how each is checked."""

    LEASE = "lease"
    NO_STOPS = "no-stops"
    TOPICS_READY = "topics-ready"
    IN_SYNC = "in-sync"
    VERIFIED = "verified"
    RATES_AGREE = "rates-agree"
    NO_EARLY_WRITERS = "no-early-writers"
    NO_EARLY_READERS = "no-early-readers"
    READERS_STOPPED = "readers-stopped"
    COMMITS_COPIED = "commits-copied"
    WRITERS_STOPPED = "writers-stopped"
    SOURCE_STILL = "source-still"
    NO_STRAGGLERS = "no-stragglers"
    TARGET_MOVING = "target-moving"
    FROZEN = "frozen"
    TAIL_COPIED = "tail-copied"
    TAIL_VERIFIED = "tail-verified"
    ALL_COPIED = "all-copied"
    DRAINED = "drained"
    PREPARED = "prepared"
    READERS_PRESENT = "readers-present"
    ALL_OWNED = "all-owned"
    POSITIONS_HOLD = "positions-hold"
    GONE_FROM_SOURCE = "gone-from-source"
    LAG_FALLING = "lag-falling"
    NO_LATE_RECORDS = "no-late-records"
    READERS_AWAY = "readers-away"
    TARGET_STOPPED = "target-stopped"
    TARGET_FROZEN = "target-frozen"
    COPIED_BACK = "copied-back"
    VERIFIED_BACK = "verified-back"
    SOURCE_IN_USE = "source-in-use"
    APPROVED = "approved"


GATES: Mapping[Gate, str] = {
    Gate.LEASE: "nobody else writes for the migration",
    Gate.NO_STOPS: "no partition's copy is stopped",
    Gate.TOPICS_READY: "every topic is on the target, with the settings for copying",
    Gate.IN_SYNC: "every partition is in sync",
    Gate.VERIFIED: "what is copied was compared, but for a tail that is short enough to be compared in a freeze",
    Gate.RATES_AGREE: "both sides grew by the same over the last minute",
    Gate.NO_EARLY_WRITERS: "no application has written to the target",
    Gate.NO_EARLY_READERS: "no group has members on the target",
    Gate.READERS_STOPPED: "no group has members on the source",
    Gate.COMMITS_COPIED: "no group has committed what is not copied",
    Gate.WRITERS_STOPPED: "no transaction is open, log ends stand still for long enough, and the fence, if any, is up",
    Gate.SOURCE_STILL: "log ends on the source stand still for long enough",
    Gate.NO_STRAGGLERS: "no partition grows on the source",
    Gate.TARGET_MOVING: "applications write to every topic on the target, or the operator attests it",
    Gate.FROZEN: "the source ends where it was frozen",
    Gate.TAIL_COPIED: "everything up to there is copied",
    Gate.TAIL_VERIFIED: "everything up to there was compared",
    Gate.ALL_COPIED: "everything that the source holds is copied",
    Gate.DRAINED: "every group has read the source to its end",
    Gate.PREPARED: "every group's commits on the target were read back",
    Gate.READERS_PRESENT: "every group has members on the target",
    Gate.ALL_OWNED: "every partition has a member of every group on the target",
    Gate.POSITIONS_HOLD: "every group began on the target where it was committed: no reset policy decided",
    Gate.GONE_FROM_SOURCE: "no group has members on the source any more",
    Gate.LAG_FALLING: "every group keeps up on the target",
    Gate.NO_LATE_RECORDS: "no record came late to the source, or all were appended or listed",
    Gate.READERS_AWAY: "no group has members on either side",
    Gate.TARGET_STOPPED: "the target stands still, as the source for `writers-stopped`",
    Gate.TARGET_FROZEN: "the target ends where it was frozen",
    Gate.COPIED_BACK: "everything up to there is on the source",
    Gate.VERIFIED_BACK: "everything up to there was compared on the source",
    Gate.SOURCE_IN_USE: "every group has members on the source, or the operator attests it",
    Gate.APPROVED: "the migration's name was typed, and that counts still",
}
"""Gate → what must hold, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row. `todo` says what happens until the gates open, with {topics}, {groups} and {name} of its scope.

    `is_frozen`: writers are kept waiting, so it has a deadline and goes on by itself. `is_irreversible`: leaving it
    makes so what `cannot_be_undone` lists, and needs an approval; `asks_ahead`: a freeze follows, so leaving it is
    the operator's word that applications are stopped, never done by itself, and needs the approval of the next
    irreversible step, so that nobody is made to wait for a decision. `undo` is what the way back is, in words.
    """

    name: str
    title: str
    actor: Actor
    todo: str
    writers: Writers
    gates: tuple[Gate, ...] = ()
    effects: tuple[EffectKind, ...] = ()
    is_frozen: bool = False
    is_irreversible: bool = False
    asks_ahead: bool = False
    is_last: bool = False
    undo: str = "abort"
    cannot_be_undone: tuple[str, ...] = ()
