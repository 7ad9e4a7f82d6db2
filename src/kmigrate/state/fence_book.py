"""The fence book keeps the fences of a migration, each in a file of its own beside the database.

Rule: a fence is changed under one lock, from what the file says at that moment, and what was returned from is on the
disk. The book is not in the database because that belongs to the owner: whoever lifts a fence must be able to while an
owner hangs with the database in its hands.

::

    STATE/<name>/fences/1.json     one fence, replaced as a whole
    STATE/<name>/fences/lock       held while one is changed, never longer
    STATE/<name>/fences/watch      held (shared) by every watcher as long as it lives
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from kmigrate.cluster.clock import steady_seconds
from kmigrate.errors import KmigrateError
from kmigrate.security.fence import Fence, FencePhase, Instant
from kmigrate.state.files import lock_within, replace_json, try_lock

FOLDER = "fences"
MOST_LIFTED = 100
"""How many fences that were lifted are remembered."""
_LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PROBES = 4
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_instant() -> Instant:
    """Now, by both clocks."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = "unknown"
    return Instant(boot, steady_seconds(), time.time_ns() // 1_000_000)


class FenceBook:
    """The fences in the folder of one migration; many processes may use it at once.

    `now` is the clock; `step` is called before and after each change reaches the disk.
    """

    def __init__(
        self,
        migration: Path,
        *,
        now: Callable[[], Instant] = this_instant,
        step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.folder = migration / FOLDER
        self._now = now
        self._step = step
        self._held = threading.local()

    def now(self) -> Instant:
        """The book's clock."""
        return self._now()

    def fences(self) -> list[Fence]:
        """Every fence that is remembered, by number."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.glob("*.json"):
                with contextlib.suppress(FileNotFoundError):
                    found.append(_load(path))
        return sorted(found, key=lambda fence: fence.number)

    def standing(self) -> list[Fence]:
        """Those that are not lifted: a part of them may be there."""
        return [fence for fence in self.fences() if fence.phase is not FencePhase.LIFTED]

    def fence(self, number: int) -> Fence:
        """The fence of this number; raises KmigrateError if there is none."""
        try:
            return _load(self._path(number))
        except FileNotFoundError as error:
            raise KmigrateError(f"{self._path(number)} is gone: nobody knows what that fence was") from error

    def add(self, fence: Fence) -> Fence:
        """Writes a new fence down, under the next number."""
        with self.locked():
            known = self.fences()
            numbered = replace(fence, number=max((each.number for each in known), default=0) + 1)
            self._save(numbered)
            lifted = [each for each in known if each.phase is FencePhase.LIFTED]
            for old in lifted[: max(0, len(lifted) - MOST_LIFTED)]:
                self._path(old.number).unlink(missing_ok=True)
        return numbered

    def restore(self, fences: Iterable[Fence]) -> int:
        """Writes down fences as they were, but for those whose number is taken; returns how many."""
        with self.locked():
            known = {each.number for each in self.fences()}
            missing = [fence for fence in fences if fence.number not in known]
            for fence in missing:
                self._save(fence)
        return len(missing)

    def change(self, number: int, how: Callable[[Fence], Fence | None]) -> Fence | None:
        """Changes a fence from what it is now; None, and nothing is changed, if `how` says so."""
        with self.locked():
            before = self.fence(number)
            after = how(before)
            if after is not None and after != before:
                self._save(after)
            return after

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes a fence meanwhile; may be nested. Raises KmigrateError if that takes too long."""
        if getattr(self._held, "depth", 0):
            yield
            return
        fd = self._open("lock")
        try:
            if not lock_within(fd, _LOCK_SECONDS):
                raise KmigrateError(
                    f"another process has held {self.folder / 'lock'} for {_LOCK_SECONDS:.0f} s",
                    hint=f"`fuser {self.folder / 'lock'}` names it",
                )
            self._held.depth = 1
            yield
        finally:
            self._held.depth = 0
            os.close(fd)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Callable[[], None]]:
        """Says to others that a watcher lives; what it gives ends that, to be called under the lock."""
        fd = self._open("watch")
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                os.close(fd)

        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield end
        finally:
            end()

    def is_watched(self) -> bool:
        """Whether a watcher lives. Somebody else who asks at this moment is not taken for one: they are quick."""
        if not (self.folder / "watch").exists():
            return False
        for _ in range(_PROBES):
            fd = self._open("watch")
            try:
                if try_lock(fd):
                    return False
            finally:
                os.close(fd)
            time.sleep(_POLL_SECONDS)
        return True

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _save(self, fence: Fence) -> None:
        path = self._path(fence.number)
        self._step("save")
        try:
            replace_json(path, fence.to_value())
        except OSError as error:
            raise KmigrateError(
                f"cannot write {path}: {error.strerror}", hint="look at the folder's rights and its disk's free space"
            ) from error
        self._step("saved")

    def _open(self, name: str) -> int:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KmigrateError(
                f"cannot open {self.folder / name}: {error.strerror}",
                hint="run as the user who started the migration, or choose another folder with --state DIR",
            ) from error


def _load(path: Path) -> Fence:
    try:
        return Fence.from_value(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise KmigrateError(
            f"{path} is no fence that this version of kmigrate understands: {error}",
            hint="look at the file: it says what was put; was it written by a newer kmigrate?",
        ) from error
