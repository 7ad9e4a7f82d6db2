"""The cutover desk is where commands, facts and the ends of effects meet: one lock, one decision at a time.

Rule: a decision is in the book before anybody acts on it. A command is judged by facts that were seen after it came.
Many threads may use it.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kmigrate.errors import GateNotReached, Refused, UsageError
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.document import CutoverDocument, WaveStatus, show_wave
from kmigrate.runner.cutover.place import WavePlace, place_of
from kmigrate.schemes.cutover import Cutover, Outcome, Phase, begin
from kmigrate.schemes.effects import Effect
from kmigrate.schemes.events import (
    Abort,
    Approve,
    Command,
    Event,
    FactsSeen,
    Finish,
    HoldReached,
    LateChoice,
    Next,
    Refusal,
    RefusalKind,
    RollBack,
    SetAuto,
    SettleLate,
)
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.machine import decide, due, resume
from kmigrate.schemes.wave import Wave
from kmigrate.state.store import Store

log = logging.getLogger(__name__)

NO_OWNER = "no owner runs: only a running migration can look at both clusters and act"


class CommandKind(enum.Enum):
    """What an operator commands."""

    NEXT = "next"
    ABORT = "abort"
    ROLLBACK = "rollback"
    FINISH = "finish"
    AUTO = "auto"
    MANUAL = "manual"
    ATTEST = "attest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command as it came: `number` is the decision that its operator saw, None: whatever is now.

    `approved`: the migration's name was typed for it. `late` says what becomes of late records. `wave` may be left out
    where there is one only.
    """

    kind: CommandKind
    wave: str | None = None
    number: int | None = None
    approved: bool = False
    late: LateChoice | None = None
    by: str = ""


class Looker(Protocol):
    """What gets fresh facts into the desk."""

    def look_again(self) -> None:
        """Returns once facts are in the desk that were seen after the call; or, after a while, without them."""


class CutoverDesk:
    """The cutovers of one migration."""

    def __init__(self, name: str, store: Store, *, wall_seconds: Callable[[], float] = time.time) -> None:
        self.book = CutoverBook(store)
        self.client_properties: Mapping[str, str] = {}
        """What applications are to use on the target, fit to be shown."""
        self._name = name
        self._now = wall_seconds
        self._lock = threading.RLock()
        self._looker: Looker | None = None
        self._problems: tuple[str, ...] = ()
        self._facts: dict[str, WaveFacts] = {}
        self._cutovers: dict[str, Cutover] = {}
        self.reload()

    def reload(self) -> None:
        """The store was recovered, or is new here: where waves stand is what it says."""
        with self._lock:
            found = {wave: self.book.load(wave) for wave in self.book.waves()}
            self._cutovers = {wave: cutover for wave, cutover in found.items() if cutover is not None}

    # -- the owner's side

    def attach(self, looker: Looker | None) -> None:
        """From now on there is an owner that looks and acts, or none any more."""
        with self._lock:
            self._looker = looker
            self._facts.clear()
            if looker is not None:
                for wave, cutover in self._cutovers.items():
                    self._cutovers[wave] = resume(cutover).cutover

    def plan(self, waves: Sequence[Wave], problems: Sequence[str] = ()) -> None:
        """The waves as they would be begun now; those that have begun stay as they are."""
        with self._lock:
            known = {name: each for name, each in self._cutovers.items() if each.number and not each.may_begin_anew}
            wanted = {wave.name: begin(wave, self._now()) for wave in waves}
            for name, cutover in wanted.items():
                before = self._cutovers.get(name)
                if before is not None and not before.number and before.wave == cutover.wave:
                    wanted[name] = before
            self._cutovers = {**wanted, **known}
            self._facts = {name: each for name, each in self._facts.items() if name in self._cutovers}
            self._problems = tuple(problems)

    def cutovers(self) -> Mapping[str, Cutover]:
        """Every wave, begun or not, as of now."""
        with self._lock:
            return dict(self._cutovers)

    @property
    def is_finished(self) -> bool:
        """Whether there are waves, and the service is on the target with every one of them."""
        cutovers = self.cutovers().values()
        return bool(cutovers) and all(each.outcome is Outcome.FINISHED for each in cutovers)

    def places(self) -> tuple[WavePlace, ...]:
        """Where every wave is now."""
        return tuple(place_of(cutover, self._now()) for cutover in self.cutovers().values())

    def see(self, wave: str, facts: WaveFacts) -> None:
        """New facts of a wave: what follows from them, and from the time, is decided."""
        with self._lock:
            if wave not in self._cutovers:
                return
            self._facts[wave] = replace(facts, attested=self.book.attested(wave))
            self.post(wave, FactsSeen())
            for _ in range(8):  # each event of time brings at most a few others
                events = due(self._cutovers[wave], self._facts[wave], self._now())
                if not events:
                    return
                for event in events:
                    self.post(wave, event)

    def pass_time(self) -> None:
        """What follows from the time alone, whatever could be seen: deadlines, and approvals that are over."""
        with self._lock:
            for wave in self._cutovers:
                now = self._now()
                for event in due(self._cutovers[wave], WaveFacts(at_seconds=now), now):
                    if not isinstance(event, HoldReached):  # that goes by what is seen
                        self.post(wave, event)

    def post(self, wave: str, event: Event) -> Refusal | None:
        """Decides about an event, and keeps the decision; None, or why nothing follows from it."""
        with self._lock:
            before = self._cutovers[wave]
            facts = self._facts.get(wave) or WaveFacts(at_seconds=self._now())
            decision = decide(before, event, facts, self._now())
            if isinstance(decision, Refusal):
                return decision
            if decision.entry is not None:
                self.book.save(decision.cutover, decision.entry)
                log.info("wave %s, decision %d: %s", wave, decision.cutover.number, decision.entry)
            self._cutovers[wave] = decision.cutover
            self._forget_words(before, decision.cutover)
            return None

    def _forget_words(self, before: Cutover, now: Cutover) -> None:
        """A step that is entered asks for its operator's word anew."""
        if (before.way, before.stage) == (now.way, now.stage) or now.phase is not Phase.WAITING:
            return
        wave, at = now.wave.name, now.at
        if (at.step.name, at.move.name) in self.book.attested(wave):
            self.book.withdraw_attestation(wave, at.step.name, at.move.name)
            facts = self._facts.get(wave)
            if facts is not None:
                self._facts[wave] = replace(facts, attested=self.book.attested(wave))

    def next_effect(self, wave: str) -> Effect | None:
        """What is to be carried out now for a wave."""
        with self._lock:
            cutover = self._cutovers.get(wave)
            return None if cutover is None else cutover.next_effect

    # -- the operator's side

    def document(self, wave: str | None = None, *, fresh: bool = False) -> CutoverDocument:
        """Where the waves stand, or one of them; `fresh`: after another look. Raises UsageError for an unknown one."""
        looker = self._looker
        if fresh and looker is not None:
            looker.look_again()
        with self._lock:
            names = list(self._cutovers) if wave is None else [self._named(wave)]
            now = self._now()
            return CutoverDocument(
                name=self._name,
                live=self._looker is not None,
                waves=tuple(show_wave(self._cutovers[name], self._facts.get(name), now) for name in names),
                problems=self._problems,
                client_properties=dict(self.client_properties),
            )

    def command(self, order: Order) -> WaveStatus:
        """Carries a command out as far as a decision; the rest is shown by `document`.

        Raises UsageError for an unknown wave, GateNotReached where a gate is closed, Refused for whatever else is in
        the way.
        """
        looker = self._looker
        if looker is None:
            raise UsageError(NO_OWNER, hint="start it with `kmigrate run -f FILE`, and try again")
        with self._lock:
            wave = self._named(order.wave)
            if self._problems and not self._cutovers[wave].number:
                raise Refused(
                    f"no cutover can begin: {'; '.join(self._problems)}", hint="mend the manifest, and start again"
                )
        came = self._now()
        looker.look_again()
        with self._lock:
            facts, cutover = self._facts.get(wave), self._cutovers[wave]
            is_over = cutover.outcome in (Outcome.FINISHED, Outcome.ROLLED_BACK)
            is_refused = is_over or order.number not in (None, cutover.number)  # whatever is seen
            is_judged = order.kind is not CommandKind.ATTEST and not is_refused
            if is_judged and (facts is None or facts.at_seconds < came):
                raise GateNotReached(
                    "the clusters could not be looked at in time: nothing was decided",
                    hint="`kmigrate status -f FILE` says what is in the way; try again",
                )
            number = self._cutovers[wave].number if order.number is None else order.number
            if order.kind is CommandKind.ATTEST:
                self._attest(wave, number, order.by)
            else:
                self._command(wave, number, order)
            return show_wave(self._cutovers[wave], self._facts.get(wave), self._now())

    def _command(self, wave: str, number: int, order: Order) -> None:
        done = "nothing was done"
        if order.approved and order.kind in (CommandKind.NEXT, CommandKind.FINISH):
            cutover = self._cutovers[wave]
            if number == cutover.number and not cutover.is_approved(self._now()) and _can_be_approved(cutover):
                _raise(self.post(wave, Approve(number=number, by=order.by)))
                number = self._cutovers[wave].number
                done = "it is approved, and nothing else was done"
        _raise(self.post(wave, _event(order, number)), done)

    def _attest(self, wave: str, number: int, by: str) -> None:
        cutover = self._cutovers[wave]
        if number != cutover.number:
            raise Refused(
                f"it was said at number {number}, and the cutover is at {cutover.number}: somebody was faster",
                hint="look at `kmigrate cutover status -f FILE` again",
            )
        at = cutover.at
        self.book.attest(wave, at.step.name, at.move.name, by)
        facts = self._facts.get(wave)
        if facts is not None:
            self._facts[wave] = replace(facts, attested=self.book.attested(wave))

    def _named(self, wave: str | None) -> str:
        if not self._cutovers:
            raise UsageError("no cutover is planned", hint="spec.scheme of the manifest says how the service moves")
        if wave is None:
            if len(self._cutovers) > 1:
                raise UsageError("which wave?", hint=f"one of {', '.join(self._cutovers)}, with --wave")
            return next(iter(self._cutovers))
        if wave not in self._cutovers:
            raise UsageError(f"there is no wave {wave!r}", hint=f"there are {', '.join(self._cutovers)}")
        return wave


def _can_be_approved(cutover: Cutover) -> bool:
    return cutover.approval_stage() is not None and cutover.phase is Phase.WAITING


def _event(order: Order, number: int) -> Command:
    match order.kind:
        case CommandKind.NEXT if order.late is not None:
            return SettleLate(number=number, choice=order.late, by=order.by)
        case CommandKind.NEXT:
            return Next(number=number, by=order.by)
        case CommandKind.ABORT:
            return Abort(number=number, by=order.by)
        case CommandKind.ROLLBACK:
            return RollBack(number=number, by=order.by)
        case CommandKind.FINISH:
            return Finish(number=number, by=order.by)
        case _:
            return SetAuto(number=number, is_auto=order.kind is CommandKind.AUTO, by=order.by)


def _raise(refusal: Refusal | None, done: str = "nothing was done") -> None:
    if refusal is None:
        return
    kind = GateNotReached if refusal.kind in (RefusalKind.CLOSED, RefusalKind.UNAPPROVED) else Refused
    told = f"{done}: {refusal.told}" if kind is GateNotReached else refusal.told
    raise kind(told, hint=refusal.way)
