"""What is done about one migration that serve holds: one table of phases, one function that moves it.  (pure)

Rule: it looks at what is there (a child of ours, a lock that somebody else has) and what is wanted, never at what was
done before. An owner that may try again is started with growing pauses; one that must not stays ended, with its reason,
until an operator starts it. What a process of somebody else owns is not touched.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from kmigrate.errors import Refused
from kmigrate.serve.exits import Exit

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0
"""After having run for so long an owner's end is the first of its kind again."""
END_SECONDS = 30.0
"""How long an owner that was asked to end may take: what was sent is finished first."""
LOOK_SECONDS = 1.0
"""How often it is looked whether somebody else still owns a migration."""


class Wanted(enum.Enum):
    """What the operator wants of a migration that is held; kept on the disk before anything is done about it."""

    RUNNING = "running"
    STOPPED = "stopped"
    FORGOTTEN = "forgotten"


class Phase(enum.Enum):
    """What serve is doing about a migration."""

    RUNNING = "running"
    WAITING = "waiting"
    ELSEWHERE = "elsewhere"
    ENDING = "ending"
    STOPPED = "stopped"
    ENDED = "ended"


PHASES: dict[Phase, str] = {
    Phase.RUNNING: "an owner runs that serve started",
    Phase.WAITING: "no owner runs; one is started, after a pause if the last one failed",
    Phase.ELSEWHERE: "a process owns it that serve did not start; it is left alone; when it ends, an owner is started",
    Phase.ENDING: "its owner was asked to end",
    Phase.STOPPED: "no owner is wanted: `kmigrate serve start NAME` starts one",
    Phase.ENDED: "its owner ended for a reason that time does not mend; `kmigrate serve start NAME` tries again",
}
"""Phase → what it means. Docs read this table."""


class Act(enum.Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    START = "start"
    END = "end"
    KILL = "kill"
    FORGET = "forget"


class Alive(enum.Enum):
    """A child that runs."""

    ALIVE = "alive"


ALIVE = Alive.ALIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One migration that is held. Times are seconds of a steady clock.

    `due`: not started before that. `since`: when the owner was started, or asked to end. `renew`: the owner is to be
    replaced by one that knows the new manifest. `last` is how the last owner ended.
    """

    wanted: Wanted
    phase: Phase = Phase.WAITING
    due: float = 0.0
    since: float = 0.0
    renew: bool = False
    failures: int = 0
    restarts: int = 0
    last: Exit | None = None

    @property
    def asks_for_lock(self) -> bool:
        """Whether the next decision depends on somebody else's lock."""
        return self.wanted is Wanted.RUNNING and self.phase not in (Phase.ENDED, Phase.ENDING)


def decide(held: Held, child: Alive | Exit | None, *, locked: bool, now: float) -> tuple[Held, Act]:
    """Where it stands now, and what to do.

    `child` is the owner that serve started: alive, how it ended (told once), or that there is none. `locked`: a process
    that is none of ours has the migration's lock.
    """
    if isinstance(child, Exit):
        held, child = _after(held, child, locked=locked, now=now), None
    if child is ALIVE:
        return _with_owner(held, now)
    return _without_owner(held, locked=locked, now=now)


def started(held: Held, now: float) -> Held:
    """After an operator asked for it: nothing that happened before counts."""
    if held.phase is Phase.RUNNING:
        return replace(held, wanted=Wanted.RUNNING)
    phase = Phase.ENDING if held.phase is Phase.ENDING else Phase.WAITING
    return replace(held, wanted=Wanted.RUNNING, phase=phase, due=now, failures=0, last=None)


def _after(held: Held, ended: Exit, *, locked: bool, now: float) -> Held:
    """What an owner's end leaves."""
    if held.wanted is not Wanted.RUNNING:
        return replace(held, phase=Phase.STOPPED, renew=False, last=ended)
    if held.phase is Phase.ENDING:  # it was asked to, and is wanted again
        return replace(held, phase=Phase.WAITING, renew=False, due=now, failures=0, last=None)
    if ended.exit_code == Refused.exit_code and locked:
        return replace(held, phase=Phase.ELSEWHERE, due=now + LOOK_SECONDS, last=None)
    if not ended.again:
        return replace(held, phase=Phase.ENDED, last=ended)
    failures = 0 if now - held.since >= STEADY_SECONDS else held.failures
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**failures)
    return replace(held, phase=Phase.WAITING, due=now + pause, failures=failures + 1, last=ended)


def _with_owner(held: Held, now: float) -> tuple[Held, Act]:
    if held.phase is Phase.ENDING:
        return held, Act.KILL if now - held.since >= END_SECONDS else Act.NOTHING
    if held.wanted is not Wanted.RUNNING or held.renew:
        return replace(held, phase=Phase.ENDING, since=now), Act.END
    return replace(held, phase=Phase.RUNNING), Act.NOTHING


def _without_owner(held: Held, *, locked: bool, now: float) -> tuple[Held, Act]:
    if held.wanted is Wanted.FORGOTTEN:
        return replace(held, phase=Phase.STOPPED), Act.FORGET
    if held.wanted is Wanted.STOPPED:
        return replace(held, phase=Phase.STOPPED), Act.NOTHING
    if held.phase is Phase.ENDED:
        return held, Act.NOTHING
    if locked:
        return replace(held, phase=Phase.ELSEWHERE, due=now + LOOK_SECONDS), Act.NOTHING
    if now < held.due:
        return held, Act.NOTHING
    is_again = held.last is not None
    return replace(held, phase=Phase.RUNNING, since=now, restarts=held.restarts + is_again, renew=False), Act.START
