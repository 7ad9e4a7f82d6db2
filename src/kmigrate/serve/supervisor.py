"""The supervisor holds migrations: it starts an owner for each, watches it, starts it again, and ends it.

Rule: a decision is on the disk before anything is done about it. Decisions come from any thread; owners are started,
and die, with the one thread that calls `turn`. Without that thread the same object takes decisions for the next serve.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kmigrate.errors import KmigrateError, Refused, UsageError
from kmigrate.manifest import Manifest
from kmigrate.serve.child import OwnerProcess, start_owner
from kmigrate.serve.exits import Exit
from kmigrate.serve.machine import ALIVE, Act, Held, Phase, Wanted, decide, started
from kmigrate.serve.roster import MAX_MANIFEST_BYTES, RECORD, Kept, Roster

log = logging.getLogger(__name__)

MAX_MIGRATIONS = 1_000
TURN_SECONDS = 0.2
STARTS_A_TURN = 2
"""How many owners are started in one turn: each needs a good part of a second of CPU until it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """How one held migration stands. `again_in_seconds`: when its owner is started; None if it is not, or runs."""

    kept: Kept
    phase: Phase | None
    pid: int | None = None
    restarts: int = 0
    last: Exit | None = None
    again_in_seconds: float | None = None


@dataclass(slots=True)
class _Place:
    kept: Kept
    held: Held
    child: OwnerProcess | None = None


class Supervisor:
    """Everything that one serve holds.

    `tell` gets a line about whatever an operator may want to know; `start_owner` starts the owner of a migration of a
    state folder.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        tell: Callable[[str], None] = lambda message: None,
        start_owner: Callable[[Path, str], OwnerProcess] = start_owner,
        monotonic_seconds: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.roster = roster
        self._tell = tell
        self._start_owner = start_owner
        self._monotonic_seconds = monotonic_seconds
        self._wall_ms = wall_ms
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._closing = False
        self._running = False
        kept, self.troubles = roster.load_all()
        """Migrations whose record cannot be read, each with the reason; they are left alone."""
        self._places = {name: _Place(each, _first(each)) for name, each in kept.items()}

    # -- decisions, from any thread

    def add(self, text: str, file: Path | None, *, run: bool = True, is_new: bool = True) -> str:
        """Holds a migration from now on, or with another manifest; returns its name.

        `file` is where the text comes from. Raises ManifestError with everything that is wrong in it, UsageError if
        it is held already with another one and `is_new`.
        """
        if len(text.encode()) > MAX_MANIFEST_BYTES:
            raise UsageError(
                f"the manifest has more than {MAX_MANIFEST_BYTES:,} bytes",
                hint="one regular expression may select many topics",
            )
        if file is not None and not file.is_absolute():
            raise UsageError(f"{file} is no absolute path", hint="name the manifest's file by its whole path")
        wanted = Wanted.RUNNING if run else Wanted.STOPPED
        draft = Kept(name="", manifest=text, file=file or Path(), wanted=wanted, added_at_ms=self._wall_ms())
        name = self._name_of(draft)
        if file is None:
            draft = replace(draft, file=self.roster.root / name / "manifest.yaml")
        with self._lock:
            kept = replace(draft, name=name)
            place = self._places.get(name)
            if place is None:
                if name in self.troubles:
                    raise KmigrateError(self.troubles[name], hint=f"remove {RECORD} in its folder and add it again")
                if len(self._places) >= MAX_MIGRATIONS:
                    raise Refused(f"{MAX_MIGRATIONS:,} migrations are held already", hint="remove one of them")
                self.roster.save(kept)
                self._places[name] = _Place(kept, _first(kept))
            else:
                self._change(place, kept, is_new=is_new)
        log.info("%s is held, %s", name, wanted.value)
        self._wake.set()
        return name

    def start(self, name: str) -> None:
        """Has an owner run from now on; one that ended for good is tried again."""
        with self._lock:
            place = self._place(name)
            if place.held.wanted is Wanted.FORGOTTEN:
                raise UsageError(f"{name} is being removed", hint="add it again once it is gone")
            self._keep(place, replace(place.kept, wanted=Wanted.RUNNING, ended=None))
            place.held = started(place.held, self._monotonic_seconds())
        self._wake.set()

    def stop(self, name: str) -> None:
        """Has its owner end, and none run until `start`."""
        self._want(name, Wanted.STOPPED)

    def remove(self, name: str) -> None:
        """Has its owner end, and forgets the manifest; the migration's folder stays."""
        self._want(name, Wanted.FORGOTTEN)

    def holdings(self) -> dict[str, Holding]:
        """Everything that is held, by name."""
        with self._lock:
            now = self._monotonic_seconds()
            return {name: self._holding(each, now) for name, each in self._places.items()}

    def holding(self, name: str) -> Holding | None:
        """How one stands; None if it is not held."""
        with self._lock:
            place = self._places.get(name)
            return None if place is None else self._holding(place, self._monotonic_seconds())

    # -- the loop, in the thread whose children the owners are

    def run(self, between_turns: Callable[[], None]) -> None:
        """Turns for ever; what `between_turns` raises ends it."""
        while True:
            self._wake.clear()
            self.turn()
            between_turns()
            self._wake.wait(TURN_SECONDS)

    def turn(self) -> None:
        """Looks at every migration once and does what is to be done now."""
        self._running = True
        starts = 0
        with self._lock:
            for name, place in [*self._places.items()]:
                try:
                    starts += self._turn(name, place, may_start=starts < STARTS_A_TURN)
                except KmigrateError as error:  # of its folder: the others go on
                    log.error("%s: %s", name, error)

    def close(self, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ends all owners, politely as long as that takes no longer than one may; at once when `hurry` says so.

        What is wanted stays as it is: the next serve goes on with it.
        """
        self._closing = True
        while True:
            self.turn()
            with self._lock:
                children = [each.child for each in self._places.values() if each.child is not None]
            if not children:
                return
            if hurry():
                for child in children:
                    child.kill()
            time.sleep(TURN_SECONDS / 4)

    # --

    def _turn(self, name: str, place: _Place, *, may_start: bool) -> bool:
        """One migration's turn; returns whether an owner was started."""
        ended = None if place.child is None else place.child.look()
        if ended is not None:
            place.child = None
        child = ended if place.child is None else ALIVE
        held, now = place.held, self._monotonic_seconds()
        if child is None and (self._closing or (held.asks_for_lock and (now < held.due or not may_start))):
            return False
        if self._closing and held.wanted is Wanted.RUNNING:
            held = replace(held, wanted=Wanted.STOPPED)
        asks = child is not ALIVE and held.asks_for_lock
        other = self.roster.folder(name).find_owner() if asks else None
        after, act = decide(held, child, locked=other is not None, now=now)
        before, place.held = held.phase, replace(after, wanted=place.held.wanted)
        if after.phase is Phase.ELSEWHERE:
            if before is not Phase.ELSEWHERE:
                self._say(f"{name}: owned by {other}; it is left alone")
        elif ended is not None:
            self._tell_end(place, ended)
        self._act(name, place, act)
        return act is Act.START

    def _act(self, name: str, place: _Place, act: Act) -> None:
        match act:
            case Act.START:
                self._start(name, place)
            case Act.END if place.child is not None:
                place.child.end()
            case Act.KILL if place.child is not None:
                log.warning("the owner of %s does not end: it is killed", name)
                place.child.kill()
            case Act.FORGET:
                self._forget(name)

    def _start(self, name: str, place: _Place) -> None:
        try:
            place.child = self._start_owner(self.roster.root, name)
        except OSError as error:
            ended = Exit(exit_code=1, reason=f"no process can be started: {error.strerror}", at=self._wall_ms())
            place.held, _ = decide(place.held, ended, locked=False, now=self._monotonic_seconds())
            self._tell_end(place, ended)
        else:
            self._say(f"{name}: owner started, process {place.child.pid}")

    def _tell_end(self, place: _Place, ended: Exit) -> None:
        held, name = place.held, place.kept.name
        if held.phase is Phase.ENDED:
            self._say(f"{name}: its owner is not started again: {ended.reason}")
            try:
                self._keep(place, replace(place.kept, ended=ended))
            except KmigrateError as error:  # a full disk must not take the others along
                log.error("%s", error)
        elif held.phase is Phase.WAITING and held.last is not None and not self._closing:
            seconds = max(0.0, held.due - self._monotonic_seconds())
            self._say(f"{name}: {ended.reason}; started again in {seconds:.0f} s")
        else:
            self._say(f"{name}: its owner ended")

    def _want(self, name: str, wanted: Wanted) -> None:
        with self._lock:
            place = self._place(name)
            if place.held.wanted is Wanted.FORGOTTEN:
                return
            self._keep(place, replace(place.kept, wanted=wanted))
            place.held = replace(place.held, wanted=wanted)
            if place.child is None and wanted is Wanted.FORGOTTEN:
                self._forget(name)
            elif place.child is None:
                place.held = replace(place.held, phase=Phase.STOPPED)
        self._wake.set()

    def _change(self, place: _Place, kept: Kept, *, is_new: bool) -> None:
        """Another manifest for one that is held; the same one again changes nothing but whether it is to run."""
        same = (kept.manifest, kept.file) == (place.kept.manifest, place.kept.file)
        if place.held.wanted is Wanted.FORGOTTEN:
            raise UsageError(f"{kept.name} is being removed", hint="add it again once it is gone")
        if is_new and not same:
            raise UsageError(
                f"{kept.name} is held already, with another manifest",
                hint="`kmigrate serve add FILE --replace` gives it this one, and it a new owner",
            )
        self._keep(place, replace(kept, added_at_ms=place.kept.added_at_ms))
        held = replace(place.held, wanted=kept.wanted, renew=place.child is not None and not same)
        if kept.wanted is Wanted.RUNNING:
            held = started(held, self._monotonic_seconds())
        elif place.child is None:
            held = replace(held, phase=Phase.STOPPED)
        place.held = held

    def _keep(self, place: _Place, kept: Kept) -> None:
        self.roster.save(kept)
        place.kept = kept

    def _forget(self, name: str) -> None:
        self.roster.forget(name)
        del self._places[name]
        self._say(f"{name}: held no longer")

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            raise UsageError(f"serve does not hold {name}", hint="`kmigrate serve list` shows what it holds")
        return place

    def _name_of(self, draft: Kept) -> str:
        """The name that the manifest gives the migration; the whole of it must be right."""
        manifest: Manifest = draft.load()
        return manifest.name

    def _holding(self, place: _Place, now: float) -> Holding:
        held = place.held
        waits = held.phase is Phase.WAITING and self._running
        return Holding(
            kept=place.kept,
            phase=held.phase if self._running or held.phase is Phase.ENDED else None,
            pid=None if place.child is None else place.child.pid,
            restarts=held.restarts,
            last=held.last,
            again_in_seconds=max(0.0, held.due - now) if waits else None,
        )

    def _say(self, message: str) -> None:
        log.info("%s", message)
        self._tell(message)


def _first(kept: Kept) -> Held:
    """Where a migration stands when a serve begins to hold it."""
    if kept.wanted is Wanted.RUNNING and kept.ended is not None:
        return Held(wanted=kept.wanted, phase=Phase.ENDED, last=kept.ended)
    phase = Phase.WAITING if kept.wanted is Wanted.RUNNING else Phase.STOPPED
    return Held(wanted=kept.wanted, phase=phase)
