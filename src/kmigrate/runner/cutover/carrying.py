"""The carrier carries effects out, one at a time, each away from the leader's loop.

Rule: carrying an effect out twice changes nothing: each handler first looks whether it is done already. What can only
be waited for comes back as `Waits` and is tried again; what fails says why, and whether trying again will help. A
handler that is under way when its effect is no longer wanted comes to its end before anything else begins, and after
a moment its connections are cut, so that no broker that is silent keeps it: what it sent may still be carried out, as
if this process had died.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.cluster.cord import Cord, working_on
from kmigrate.errors import KmigrateError, Refused
from kmigrate.runner.errand import Errand
from kmigrate.schemes.cutover import Cutover, Phase
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.events import EffectDone, EffectFailed

log = logging.getLogger(__name__)

DEATH_VARIABLE = "KMIGRATE_TEST_DEATH"
"""`before freeze` or `after freeze` kills this process there, once: for tests of what follows."""
AGAIN_SECONDS = 0.2
"""How long until what waits is tried again …"""
FAILED_SECONDS = 2.0
"""… and what failed."""
GRACE_SECONDS = 1.0
"""How long a handler has to come to its end by itself when its effect is no longer wanted."""


class Carried(NamedTuple):
    """It is done, and was read back; `ends` are where logs ended, if that is what it found."""

    ends: tuple[End, ...] = ()


class Waits(NamedTuple):
    """It is not done yet, and there is nothing to mend."""

    reason: str


Handler = Callable[[Cutover, Effect], Carried | Waits]


def carry_nothing(_cutover: Cutover, _effect: Effect) -> Carried | Waits:
    """The handler of effects of which the decision itself is all there is."""
    return Carried()


@dataclass(slots=True)
class _UnderWay:
    effect: Effect
    wave: str
    cord: Cord
    errand: Errand[Carried | Waits]
    unwanted_since: float | None = None


class Carrier:
    """Carries out the effects of all waves; used by the leader's thread."""

    def __init__(
        self,
        handlers: Mapping[EffectKind, Handler],
        *,
        secure: Callable[[], None] = lambda: None,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secure` sees to it, before anything is done about a decision, that it survives this machine's disk."""
        self._handlers = handlers
        self._secure = secure
        self._secured: dict[str, int] = {}
        self._now = monotonic_seconds
        self.wake: Callable[[], None] = lambda: None
        """Is called, by another thread, when what is under way is done."""
        self._under_way: _UnderWay | None = None
        self._not_before: dict[str, float] = {}
        self.waits: dict[str, str] = {}
        """Wave → what its effect waits for."""

    def step(self, cutover: Cutover) -> EffectDone | EffectFailed | None:
        """Goes on with what is to be carried out now for a wave; None while it is under way."""
        wave, effect = cutover.wave.name, cutover.next_effect
        if self._under_way is not None:
            if not self._under_way.errand.done:
                is_ours = self._under_way.wave == wave
                if (is_ours and self._under_way.effect != effect) or (not is_ours and _is_on_its_way_back(cutover)):
                    self._give_up(self._under_way)
                return None
            if self._under_way.wave == wave:
                return self._collect(effect)
            return None  # another wave's turn takes it up
        if effect is None:
            self.waits.pop(wave, None)
            return None
        if self._now() < self._not_before.get(wave, 0.0):
            return None
        handler = self._handlers.get(effect.kind)
        if handler is None:
            reason = "this version of kmigrate cannot do that yet"
            return EffectFailed(effect=effect, reason=reason, is_final=True)
        _die(f"before {effect.kind.value}")
        self._begin(cutover, effect, handler)
        return None

    def _begin(self, cutover: Cutover, effect: Effect, handler: Handler) -> None:
        wave, cord = cutover.wave.name, Cord()
        is_new = self._secured.get(wave) != cutover.number
        self._secured[wave] = cutover.number

        def work() -> Carried | Waits:
            with working_on(cord):
                if is_new:
                    self._secure()
                return handler(cutover, effect)

        self._under_way = _UnderWay(effect, wave, cord, Errand(work, str(effect), self.wake))

    def _give_up(self, under_way: _UnderWay) -> None:
        """It is no longer wanted, or in the way: it may end by itself for a moment, then it waits for nothing more."""
        now = self._now()
        if under_way.unwanted_since is None:
            under_way.unwanted_since = now
        if now - under_way.unwanted_since >= GRACE_SECONDS and not under_way.cord.is_cut:
            log.info("%s of wave %s is no longer wanted and cut off", under_way.effect, under_way.wave)
            under_way.cord.cut()

    def forgo(self, waves: Mapping[str, Cutover]) -> None:
        """What is under way for a wave that is not there any more is let go when it ends."""
        if self._under_way is None or self._under_way.wave in waves:
            return
        if self._under_way.errand.done:
            self._under_way = None
        else:
            self._give_up(self._under_way)

    def _collect(self, wanted: Effect | None) -> EffectDone | EffectFailed | None:
        assert self._under_way is not None
        effect, wave, errand = self._under_way.effect, self._under_way.wave, self._under_way.errand
        is_cut = self._under_way.cord.is_cut
        self._under_way = None
        outcome: EffectDone | EffectFailed | None = None
        try:
            result = errand.result()
        except KmigrateError as error:
            self._rest(wave, FAILED_SECONDS)
            outcome = EffectFailed(effect=effect, reason=_told(error), is_final=isinstance(error, Refused))
        except Exception as error:
            log.exception("%s of wave %s", effect, wave)
            self._rest(wave, FAILED_SECONDS)
            outcome = EffectFailed(effect=effect, reason=f"{type(error).__name__}: {error}")
        else:
            if isinstance(result, Waits):
                self.waits[wave] = result.reason
                self._rest(wave, AGAIN_SECONDS)
            else:
                self.waits.pop(wave, None)
                _die(f"after {effect.kind.value}")
                outcome = EffectDone(effect=effect, ends=result.ends)
        if effect != wanted:
            self._not_before.pop(wave, None)  # what is wanted now waits for nothing of it
        if is_cut or effect != wanted:
            log.info("%s of wave %s is no longer wanted: %s", effect, wave, outcome)
            return None
        return outcome

    def _rest(self, wave: str, seconds: float) -> None:
        self._not_before[wave] = self._now() + seconds


def _is_on_its_way_back(cutover: Cutover) -> bool:
    """Whether it takes back what was done: writers may wait for that, and no other wave's effect may keep it."""
    return cutover.phase is Phase.RETURNING


def _die(moment: str) -> None:
    if os.environ.get(DEATH_VARIABLE) == moment:
        os.kill(os.getpid(), signal.SIGKILL)


def _told(error: KmigrateError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)
