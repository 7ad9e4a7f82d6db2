"""The carrier carries effects out, one at a time, each away from the leader's loop.

Rule: carrying an effect out twice changes nothing: each handler first looks whether it is done already. What can only
be waited for comes back as `Waits` and is tried again; what fails says why, and whether trying again will help. A
handler that is under way when its effect is no longer wanted comes to its end before anything else begins.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.errors import KmigrateError, Refused
from kmigrate.runner.errand import Errand
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.events import EffectDone, EffectFailed

log = logging.getLogger(__name__)

DEATH_VARIABLE = "KMIGRATE_TEST_DEATH"
"""`before end-copy at promote` (or `after …`), an effect and a step, kills this process there: for tests."""
AGAIN_SECONDS = 0.2
"""How long until what waits is tried again …"""
FAILED_SECONDS = 2.0
"""… and what failed."""


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
    errand: Errand[Carried | Waits]


class Carrier:
    """Carries out the effects of all waves; used by the leader's thread."""

    def __init__(
        self, handlers: Mapping[EffectKind, Handler], *, monotonic_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._handlers = handlers
        self._now = monotonic_seconds
        self._under_way: _UnderWay | None = None
        self._not_before: dict[str, float] = {}
        self.waits: dict[str, str] = {}
        """Wave → what its effect waits for."""

    def step(self, cutover: Cutover) -> EffectDone | EffectFailed | None:
        """Goes on with what is to be carried out now for a wave; None while it is under way."""
        wave, effect = cutover.wave.name, cutover.next_effect
        if self._under_way is not None:
            if not self._under_way.errand.done:
                return None
            if self._under_way.wave == wave:
                return self._collect(cutover)
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
        _die("before", effect, cutover)
        self._under_way = _UnderWay(effect, wave, Errand(lambda: handler(cutover, effect), str(effect)))
        return None

    def forgo(self, waves: Mapping[str, Cutover]) -> None:
        """What is under way for a wave that is not there any more is let go when it ends."""
        if self._under_way is not None and self._under_way.wave not in waves and self._under_way.errand.done:
            self._under_way = None

    def _collect(self, cutover: Cutover) -> EffectDone | EffectFailed | None:
        assert self._under_way is not None
        effect, wave, errand = self._under_way.effect, self._under_way.wave, self._under_way.errand
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
                _die("after", effect, cutover)
                outcome = EffectDone(effect=effect, ends=result.ends)
        if effect != cutover.next_effect:
            log.info("%s of wave %s is no longer wanted: %s", effect, wave, outcome)
            return None
        return outcome

    def _rest(self, wave: str, seconds: float) -> None:
        self._not_before[wave] = self._now() + seconds


def _die(when: str, effect: Effect, cutover: Cutover) -> None:
    if os.environ.get(DEATH_VARIABLE) == f"{when} {effect.kind.value} at {cutover.at.step.name}":
        os.kill(os.getpid(), signal.SIGKILL)


def _told(error: KmigrateError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)
