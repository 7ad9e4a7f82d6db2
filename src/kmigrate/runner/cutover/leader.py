"""The leader is the thread that leads: it looks at the waves that are under way, lets the desk decide, and acts.

Rule: nothing is carried out that the book does not have; one effect at a time. Between two turns it holds nothing, so
that a process which dies here is followed by one that goes on from the book. Whatever goes wrong in a turn is logged,
and the next turn comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from kmigrate.errors import KmigrateError
from kmigrate.runner.cutover.carrying import Carrier
from kmigrate.runner.cutover.desk import CutoverDesk
from kmigrate.runner.cutover.observing import Observer
from kmigrate.schemes.cutover import Cutover, Phase
from kmigrate.schemes.wave import Wave

log = logging.getLogger(__name__)

FROZEN_SECONDS = 0.25
"""How often waves are looked at while writers wait …"""
UNDER_WAY_SECONDS = 1.0
"""… while one is under way …"""
WATCHED_SECONDS = 60.0
"""… and for so long after somebody asked; else nobody looks at what has not begun."""
PLAN_SECONDS = 5.0
CONFIRM_SECONDS = 20.0
LOOK_TIMEOUT_SECONDS = 15.0
_STOP_SECONDS = 6.0
_PAUSE_SECONDS = 0.1

Plan = Callable[[], tuple[Sequence[Wave], Sequence[str]]]
"""The waves as the manifest has them now, and what speaks against them."""


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
        secure: Callable[[], None],
        beside: Beside,
    ) -> None:
        """`confirm` says of the fences of a cutover that they are to stand on; `secure` sees to it that what was
        decided survives this machine's disk. `beside` works as long as the leader does."""
        self._beside = beside
        self._desk = desk
        self._observer = observer
        self._carrier = carrier
        self._plan = plan
        self._confirm = confirm
        self._secure = secure
        self._secured: dict[str, int] = {}
        self._asked = self._looked = 0
        self._asked_at = 0.0
        self._next_look = self._next_plan = self._next_confirm = 0.0
        self._done = threading.Condition()
        self._poked = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cutover", daemon=True)

    def start(self) -> None:
        self._plan_waves()
        self._beside.start()
        self._desk.attach(self)
        self._thread.start()

    def stop(self) -> None:
        """Ends after the turn that is under way; what it carries out is begun again by the next owner."""
        self._desk.attach(None)
        self._ending.set()
        self._poked.set()
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
                busy = False
                try:
                    busy = self._turn()
                except KmigrateError as error:
                    log.info("the waves could not be looked at: %s", error)
                except Exception:
                    log.exception("a turn over the waves failed")
                if not busy:
                    self._poked.wait(_PAUSE_SECONDS)
                self._poked.clear()
        finally:
            self._observer.close()

    def _turn(self) -> bool:
        """One look, if it is time, and one step of what is carried out; whether there is more to do at once."""
        now = time.monotonic()
        if now >= self._next_plan:
            self._next_plan = now + PLAN_SECONDS
            self._plan_waves()
        self._look(now)
        cutovers = self._desk.cutovers()
        self._carrier.forgo(cutovers)
        moved = False
        for name, cutover in cutovers.items():
            if cutover.next_effect is not None and self._secured.get(name) != cutover.number:
                self._secure()
                self._secured[name] = cutover.number
            outcome = self._carrier.step(cutover)
            if outcome is not None:
                self._desk.post(name, outcome)
                self._next_look, moved = 0.0, True
        if now >= self._next_confirm:
            self._next_confirm = now + CONFIRM_SECONDS
            for cutover in cutovers.values():
                if cutover.number and cutover.phase is not Phase.OVER:
                    self._confirm(cutover)
        return moved

    def _plan_waves(self) -> None:
        waves, problems = self._plan()
        self._desk.plan(waves, problems)

    def _look(self, now: float) -> None:
        with self._done:
            asked = self._asked
        is_watched = asked > self._looked or now - self._asked_at < WATCHED_SECONDS
        wanted = [
            each
            for each in self._desk.cutovers().values()
            if each.phase is not Phase.OVER and (each.number or is_watched)
        ]
        if asked == self._looked and now < self._next_look:
            return
        if wanted:
            for wave, facts in self._observer.look(wanted).items():
                self._desk.see(wave, facts)
        every = FROZEN_SECONDS if any(each.is_frozen for each in wanted) else UNDER_WAY_SECONDS
        took = time.monotonic() - now
        self._next_look = now + took + max(every, took)
        with self._done:
            self._looked = max(self._looked, asked)
            self._done.notify_all()
