"""Events are what happens to a cutover: facts are seen, operators command, effects end, time passes.

Rule: a command names the number of the cutover that its operator saw; of two that name the same one wins, and the
other is refused by name. Events of time are posted when `due` says so, and are looked at again by the machine. An
event that does not fit changes nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kmigrate.schemes.effects import Effect, End


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsSeen:
    """New facts are there; most of the time nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The operator wants to leave the step, or to try what failed again."""

    number: int
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """The operator has typed the migration's name: the next step that cannot be taken back may be left."""

    number: int
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """The operator wants back: out of a freeze to the step before it, elsewhere to the beginning."""

    number: int
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """The operator wants the service back on the source, with everything that was written meanwhile."""

    number: int
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The operator wants to end the cutover, and with it the way back."""

    number: int
    by: str = ""


class LateChoice(enum.Enum):
    """What becomes of records that came late to the source."""

    APPEND = "append"
    """Each is appended to the target once, behind what is there: their order is given up."""
    LIST = "list"
    """They stay on the source, and the report names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleLate:
    """The operator decides about records that came late to the source."""

    number: int
    choice: LateChoice
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAuto:
    """Steps are to be taken by themselves, or no longer."""

    number: int
    is_auto: bool
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectDone:
    """An effect has been carried out and read back. `ends` are where logs ended, if that is what it found."""

    effect: Effect
    ends: tuple[End, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectFailed:
    """An effect was not carried out, or not for certain. `is_final`: trying again by itself will not help."""

    effect: Effect
    reason: str
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """Writers have been kept waiting for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalExpired:
    """An approval no longer counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReached:
    """The gates have been open for as long as they must, where a step is taken by itself."""


Command = Next | Approve | Abort | RollBack | Finish | SettleLate | SetAuto
TimeEvent = DeadlinePassed | ApprovalExpired | HoldReached
Event = FactsSeen | Command | EffectDone | EffectFailed | TimeEvent


class RefusalKind(enum.Enum):
    """Why an event changes nothing."""

    STALE = "STALE"
    """The command names another number: somebody else was faster."""
    CLOSED = "CLOSED"
    """A gate is closed."""
    UNAPPROVED = "UNAPPROVED"
    """An approval is missing."""
    NOT_NOW = "NOT_NOW"
    """It does not fit what the cutover is doing."""
    OVER = "OVER"
    """The cutover has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An event that changed nothing: why, and what to do instead."""

    kind: RefusalKind
    told: str
    way: str = ""
