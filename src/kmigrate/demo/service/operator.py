"""The operator of the demo: looks at the cutover, does what its step asks for, and decides, until every wave is over.

Rule: all that is known comes from `cutover status`, all that is decided goes through a command; applications are moved
by the table of plays. What a command refuses is looked at again. A step at which nothing changes ends the demo.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from kmigrate.demo.service.commands import Answer, CommandFailed, Cutover
from kmigrate.demo.service.plays import ABORTED, PLAYS, Deed, Leave, Play, Verb, Who
from kmigrate.demo.service.situation import Situation
from kmigrate.errors import GateNotReached, KmigrateError
from kmigrate.kafka_types import Side

STEP_SECONDS = 180.0
"""How long a step may take: that of a rebalance, a freeze, and a slow machine."""
VERIFIED = "verified"
"""The gate that is opened by a command of its own, once all else is as it should be."""
SILENCE_SECONDS = 30.0
"""How long `status` may fail, or show no wave: the owner may just be starting, or be started again."""
MOST_TIMES = 3
"""How often a step is left, if it is entered again, as after a freeze that was taken back."""
_LOOK_SECONDS = 0.3
_DONE = {Verb.START: "started", Verb.STOP: "stopped", Verb.ROLL: "restarted one after the other"}


class Applications(Protocol):
    """The service, as its operator sees it."""

    def writers(self, topics: Collection[str]) -> tuple[str, ...]: ...
    def readers(self, groups: Collection[str]) -> tuple[str, ...]: ...
    def sides(self, name: str) -> frozenset[Side]: ...
    def start(self, names: Iterable[str], on: Side) -> None: ...
    def stop(self, names: Iterable[str], on: Side | None = None) -> None: ...
    def roll(self, names: Iterable[str], to: Side) -> None: ...


@dataclass(slots=True)
class _Scope:
    """All topics and groups of a wave that steps were about so far."""

    topics: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)


class UnknownStep(KmigrateError):
    """A step that the operator has no play for."""


class Operator:
    """Leads a service through a cutover. `say` is told what is going on, a sentence at a time.

    `attests` are the steps at which he gives his word, for what Kafka does not show.
    """

    def __init__(
        self,
        cutover: Cutover,
        applications: Applications,
        *,
        say: Callable[[str], None] = lambda _: None,
        attests: Collection[str] = (),
        step_seconds: float = STEP_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cutover = cutover
        self._applications = applications
        self._say = say
        self._attests = frozenset(attests)
        self._step_seconds = step_seconds
        self._silence_seconds = silence_seconds
        self._look_seconds = look_seconds
        self._clock = clock
        self._since: dict[str, tuple[tuple[str, int], float]] = {}
        self._times_left: Counter[tuple[str, str, int]] = Counter()
        self._scopes: defaultdict[str, _Scope] = defaultdict(_Scope)
        self._settled: set[str] = set()

    def lead(self, *, until: Callable[[Situation], bool] = lambda _: False) -> dict[str, str]:
        """Goes on until every wave is over, or one is where `until` says; returns the outcome of those that are over.

        Raises GateNotReached where a step takes too long, and whatever a command or an application raises.
        """
        while True:
            situations = self._look()
            for each in situations:
                if until(each):
                    return _outcomes(situations)
            going_on = [each for each in situations if not each.is_over]
            for each in situations:
                if each.is_over:
                    self._settle(each)
            if not going_on:
                return _outcomes(situations)
            if not [each for each in going_on if self._advance(each)]:
                time.sleep(self._look_seconds)

    def _look(self) -> tuple[Situation, ...]:
        """Where every wave stands; raises what the command raises, if it does so for a while, or shows no wave."""
        deadline = self._clock() + self._silence_seconds
        while True:
            try:
                if situations := self._cutover.status():
                    return situations
                trouble = CommandFailed("cutover status shows no wave", hint="does the manifest name a scheme?")
            except CommandFailed as error:
                trouble = error
            if self._clock() > deadline:
                raise trouble
            time.sleep(self._look_seconds)

    def abort(self, wave: str) -> Answer:
        """Stops the groups on the target, and has everything taken back; `lead` then sees it to its end."""
        self._note_scope(self._situation(wave))
        groups = self._applications.readers(self._scopes[wave].groups)
        self._applications.stop([name for name in groups if Side.TARGET in self._applications.sides(name)])
        return self._cutover.abort(wave)

    def roll_back(self, wave: str) -> Answer:
        """Begins the way back, which `lead` then goes."""
        return self._cutover.rollback(wave)

    # -- one wave -------------------------------------------------------------------------------

    def _advance(self, situation: Situation) -> bool:
        """Does what there is to do now; returns whether the step was left."""
        self._note_step(situation)
        if not situation.is_waiting:
            return False
        play = PLAYS.get(situation.step)
        if play is None:
            raise UnknownStep(f"wave {situation.wave} is at the step {situation.step}, which the demo does not know")
        if play.leave is Leave.BY_ITSELF:
            return False
        is_closed = bool(situation.closed) and situation.step not in self._attests
        if is_closed or not play.opened:
            self._do(play.entered, situation)
        if is_closed:
            if {each.name for each in situation.closed} == {VERIFIED}:
                self._cutover.verify()
            return False
        self._do(play.opened, situation)
        if self._leave(play, situation) is not Answer.DONE:
            return False
        self._note_left(situation)
        return True

    def _leave(self, play: Play, situation: Situation) -> Answer:
        if play.leave is Leave.FINISH:
            return self._cutover.finish(situation.wave)
        attest = situation.step in self._attests
        return self._cutover.next(situation.wave, approve=situation.needs_approval, attest=attest)

    def _do(self, deeds: Iterable[Deed], scope: Situation | _Scope) -> None:
        for deed in deeds:
            names = self._lacking(deed, scope)
            if not names:
                continue
            on = "" if deed.side is None else f" on the {deed.side}"
            if deed.verb is Verb.STOP:
                self._applications.stop(names, deed.side)
            else:
                assert deed.side is not None, "applications are started somewhere"
                act = self._applications.start if deed.verb is Verb.START else self._applications.roll
                act(names, deed.side)
            self._say(f"{_DONE[deed.verb]}{on}: {', '.join(names)}")

    def _lacking(self, deed: Deed, scope: Situation | _Scope) -> list[str]:
        """The applications that are not yet as a deed wants them."""
        names: list[str] = []
        if deed.who is not Who.READERS:
            names += self._applications.writers(scope.topics)
        if deed.who is not Who.WRITERS:
            names += self._applications.readers(scope.groups)
        return [name for name in dict.fromkeys(names) if not self._is_done(deed, self._applications.sides(name))]

    def _is_done(self, deed: Deed, sides: frozenset[Side]) -> bool:
        if deed.verb is Verb.STOP:
            return not sides if deed.side is None else deed.side not in sides
        return deed.side in sides

    def _settle(self, situation: Situation) -> None:
        """Where a wave was aborted its applications go on on the source."""
        if situation.wave not in self._settled:
            self._settled.add(situation.wave)
            self._say(situation.sentence)
            if situation.outcome == "aborted":
                self._do(ABORTED, self._scopes[situation.wave])

    def _note_step(self, situation: Situation) -> None:
        now = self._clock()
        place, since = self._since.get(situation.wave, (None, now))
        if place != situation.place:
            self._since[situation.wave] = situation.place, now
            self._say(situation.sentence)
            self._note_scope(situation)
        elif now - since > self._step_seconds:
            missing = "; ".join(f"{each.name}: {each.told}" for each in situation.closed)
            raise GateNotReached(
                f"wave {situation.wave} has been at {situation.sentence} for {self._step_seconds:.0f} s",
                hint=missing or situation.todo,
            )

    def _note_left(self, situation: Situation) -> None:
        """A step that is left again and again was thrown back each time: by a deadline, a late writer, a failure."""
        left = situation.wave, *situation.place
        self._times_left[left] += 1
        if self._times_left[left] > MOST_TIMES:
            told = f"wave {situation.wave} was thrown back {MOST_TIMES} times to {situation.sentence}"
            raise GateNotReached(told, hint=situation.todo)
        self._since.pop(situation.wave, None)

    def _note_scope(self, situation: Situation) -> None:
        scope = self._scopes[situation.wave]
        scope.topics.update(situation.topics)
        scope.groups.update(situation.groups)

    def _situation(self, wave: str) -> Situation:
        found = next((each for each in self._look() if each.wave == wave), None)
        if found is None:
            raise KmigrateError(f"there is no wave {wave}")
        return found


def _outcomes(situations: Iterable[Situation]) -> dict[str, str]:
    return {each.wave: each.outcome for each in situations if each.is_over and each.outcome is not None}
