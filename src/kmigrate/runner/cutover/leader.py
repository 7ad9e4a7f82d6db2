"""The leader is the thread that leads: it looks at the waves that are under way, lets the desk decide, and acts.

Rule: nothing is carried out that the book does not have; one effect at a time. Between two turns it holds nothing, so
that a process which dies here is followed by one that goes on from the book. Whatever goes wrong in a turn is logged,
and the next turn comes. Its thread waits for no cluster: looks, effects and confirmations are errands, so that
deadlines pass whoever is silent. Facts that were gathered while something was decided are not used.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from kmigrate.errors import KmigrateError
from kmigrate.runner.cutover.carrying import Carrier
from kmigrate.runner.cutover.desk import CutoverDesk
from kmigrate.runner.cutover.observing import Observer
from kmigrate.runner.errand import Errand
from kmigrate.schemes.cutover import Cutover, Phase
from kmigrate.schemes.facts import WaveFacts
from kmigrate.schemes.wave import Wave

log = logging.getLogger(__name__)

FROZEN_SECONDS = 0.25
"""How often waves are looked at while writers wait, and gates are to open …"""
UNDER_WAY_SECONDS = 1.0
"""… while one is under way otherwise …"""
WATCHED_SECONDS = 60.0
"""… and for so long after somebody asked; else nobody looks at what has not begun."""
PLAN_SECONDS = 5.0
CONFIRM_SECONDS = 20.0
LOOK_TIMEOUT_SECONDS = 15.0
_STOP_SECONDS = 6.0
_PAUSE_SECONDS = 0.1

Plan = Callable[[], tuple[Sequence[Wave], Sequence[str]]]
"""The waves as the manifest has them now, and what speaks against them."""


class _Look(NamedTuple):
    """A look that is under way: how many commands had asked for one, and which decisions were the last ones."""

    errand: Errand[dict[str, WaveFacts]]
    asked: int
    numbers: Mapping[str, int]
    every: float
    began: float


class Beside(Protocol):
    """Something that goes on as long as waves are led."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Leader:
    """Leads the waves of a running migration."""

    def __init__(
        self,
        desk: CutoverDesk,
        observer: Observer,
        carrier: Carrier,
        plan: Plan,
        confirm: Callable[[Cutover], None],
        beside: Beside | None = None,
    ) -> None:
        """`confirm` says of the fences of a cutover that they are to stand on. `beside` works as long as the leader
        does."""
        self._beside = beside
        self._desk = desk
        self._observer = observer
        self._carrier = carrier
        self._plan = plan
        self._confirm = confirm
        self._confirming: Errand[None] | None = None
        self._look_under_way: _Look | None = None
        self._asked = self._looked = 0
        self._asked_at = 0.0
        self._next_look = self._next_plan = self._next_confirm = 0.0
        self._done = threading.Condition()
        self._poked = threading.Event()
        self._ending = threading.Event()
        carrier.wake = self._poked.set
        self._thread = threading.Thread(target=self._run, name="cutover", daemon=True)

    def start(self) -> None:
        self._plan_waves()
        if self._beside is not None:
            self._beside.start()
        self._desk.attach(self)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the turn that is under way; what it carries out is begun again by the next owner."""
        self._desk.attach(None)
        self._ending.set()
        self._poked.set()
        if self._beside is not None:
            self._beside.stop()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def look_again(self) -> None:
        """Returns once facts are in the desk that were seen after the call; or, after a while, without them."""
        with self._done:
            self._asked += 1
            wanted = self._asked
            self._asked_at = time.monotonic()
            self._poked.set()
            self._done.wait_for(lambda: self._looked >= wanted or self._ending.is_set(), LOOK_TIMEOUT_SECONDS)

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._poked.clear()
                busy = False
                try:
                    busy = self._turn()
                except KmigrateError as error:
                    log.info("the waves could not be looked at: %s", error)
                except Exception:
                    log.exception("a turn over the waves failed")
                if not busy:
                    self._poked.wait(
                        min(_PAUSE_SECONDS, max(0.0, self._next_look - time.monotonic()) or _PAUSE_SECONDS)
                    )
        finally:
            if self._look_under_way is None or self._look_under_way.errand.wait(_STOP_SECONDS / 2):
                self._observer.close()

    def _turn(self) -> bool:
        """What the time, a look and an effect have brought, and what is begun next; whether there is more at once."""
        now = time.monotonic()
        if now >= self._next_plan:
            self._next_plan = now + PLAN_SECONDS
            self._plan_waves()
        self._desk.pass_time()
        cutovers = self._desk.cutovers()
        self._carrier.forgo(cutovers)
        moved = False
        for name, cutover in cutovers.items():
            outcome = self._carrier.step(cutover)
            if outcome is not None:
                self._desk.post(name, outcome)
                self._next_look, moved = 0.0, True
        if not moved:
            self._take_look()
            self._begin_look(time.monotonic())
        self._confirm_fences(now, cutovers)
        return moved

    def _plan_waves(self) -> None:
        waves, problems = self._plan()
        self._desk.plan(waves, problems)

    def _confirm_fences(self, now: float, cutovers: Mapping[str, Cutover]) -> None:
        if now < self._next_confirm or (self._confirming is not None and not self._confirming.done):
            return
        self._next_confirm = now + CONFIRM_SECONDS
        wanted = [each for each in cutovers.values() if each.number and each.phase is not Phase.OVER]

        def confirm() -> None:
            for cutover in wanted:
                try:
                    self._confirm(cutover)
                except KmigrateError as error:
                    log.info("the fences of wave %s could not be confirmed: %s", cutover.wave.name, error)
                except Exception:
                    log.exception("the fences of wave %s could not be confirmed", cutover.wave.name)

        if wanted:
            self._confirming = Errand(confirm, "confirm")

    # -- looks

    def _begin_look(self, now: float) -> None:
        """Looks away from this thread, if it is time; one look at a time."""
        with self._done:
            asked = self._asked
        if self._look_under_way is not None or (asked == self._looked and now < self._next_look):
            return
        is_watched = asked > self._looked or now - self._asked_at < WATCHED_SECONDS
        wanted = [
            each
            for each in self._desk.cutovers().values()
            if each.phase is not Phase.OVER and (each.number or is_watched)
        ]
        if not wanted:
            self._next_look = now + UNDER_WAY_SECONDS
            self._tell(asked)
            return
        is_waited_for = any(each.is_frozen and each.phase is Phase.WAITING for each in wanted)
        self._look_under_way = _Look(
            Errand(lambda: self._observer.look(wanted), "look", self._poked.set),
            asked,
            {each.wave.name: each.number for each in wanted},
            FROZEN_SECONDS if is_waited_for else UNDER_WAY_SECONDS,
            now,
        )

    def _take_look(self) -> None:
        look = self._look_under_way
        if look is None or not look.errand.done:
            return
        self._look_under_way = None
        now = time.monotonic()
        self._next_look = now + max(look.every, now - look.began)
        is_whole = True
        for wave, facts in look.errand.result().items():
            cutover = self._desk.cutovers().get(wave)
            if cutover is not None and cutover.number != look.numbers[wave]:
                is_whole = False
                continue
            self._desk.see(wave, facts)
        if is_whole:
            self._tell(look.asked)
        else:
            self._next_look = 0.0

    def _tell(self, asked: int) -> None:
        """Whoever asked for a look by then has it."""
        with self._done:
            self._looked = max(self._looked, asked)
            self._done.notify_all()
