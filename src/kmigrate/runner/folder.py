"""One folder holds one migration: database, log and two locks; who holds `owner.lock` is its owner.

Rule: a lock is the kernel's (flock), never the existence of a file, so a killed owner leaves nothing to clean
up. Workers inherit the descriptor of `workers.lock`: as long as one lives, no second owner starts workers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from kmigrate.errors import KmigrateError, Refused
from kmigrate.state.files import lock_within, try_lock
from kmigrate.state.store import FILE_NAME

MAX_SOCKET_PATH_BYTES = 107
"""What fits into `sockaddr_un`, without its closing zero."""

OWNER_LOCK = "owner.lock"

READER_PATIENCE_SECONDS = 2.0
"""How long a new owner lets reading commands finish; they hold the lock for one read only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerNote:
    """What an owner writes into its lock file about itself."""

    pid: int
    host: str
    started_at_ms: int
    socket: str

    @classmethod
    def of_this_process(cls, socket_path: Path) -> Self:
        """What this process writes about itself."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at_ms=time.time_ns() // 1_000_000,
            socket=str(socket_path),
        )

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; of one on another machine nobody can tell, and it counts as running."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    @classmethod
    def read(cls, lock: Path) -> Self | None:
        """What stands in a lock file; None if there is none, or nothing in it yet."""
        try:
            return cls(**json.loads(lock.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, fd: int) -> None:
        """Writes it into a lock file."""
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(asdict(self)).encode(), 0)

    def __str__(self) -> str:
        started = datetime.fromtimestamp(self.started_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.pid} on {self.host}, started {started} UTC"


class Ownership:
    """The right to run a migration; lasts until `release` or the end of the process and of all its workers.

    `workers_fd` is an inheritable descriptor for worker processes. A context manager.
    """

    def __init__(self, folder: MigrationFolder, owner_fd: int, workers_fd: int, note: OwnerNote) -> None:
        self.folder = folder
        self.workers_fd = workers_fd
        self.note = note
        self._owner_fd = owner_fd
        self._released = False

    def release(self) -> None:
        """Gives the folder back; safe to call twice."""
        if not self._released:
            self._released = True
            os.ftruncate(self._owner_fd, 0)
            os.close(self.workers_fd)
            os.close(self._owner_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class MigrationFolder:
    """The folder of one migration, created with mode 0700 if there is none."""

    def __init__(self, state_root: Path, name: str) -> None:
        self.name = name
        self.path = state_root / name
        self.database = self.path / FILE_NAME
        self.log = self.path / "kmigrate.log"
        self.owner_lock = self.path / OWNER_LOCK
        self.workers_lock = self.path / "workers.lock"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KmigrateError(
                f"cannot create the folder {self.path}: {error.strerror}",
                hint="choose a folder that you may write to with --state DIR",
            ) from error

    @property
    def socket_path(self) -> Path:
        """Where an owner started from this environment listens."""
        return decide_socket_path(self.name, self.path, os.environ)

    def take_ownership(
        self,
        *,
        waiting: Callable[[str], None] = lambda message: None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = READER_PATIENCE_SECONDS,
    ) -> Ownership:
        """Becomes the owner, or raises Refused that names the one there is.

        After an owner that was killed its workers may still be ending: waits for them, up to
        `timeout_seconds`, and says so through `waiting`. So long it also waits for commands that read, one after the
        other, where the last owner is known to be dead.
        """
        owner_fd = self._open(self.owner_lock)
        try:
            if not self._is_locked(owner_fd, patience_seconds, timeout_seconds):
                raise self._refused()
            note = OwnerNote.of_this_process(self.socket_path)
            note.write(owner_fd)
            return Ownership(self, owner_fd, self._take_workers_lock(waiting, timeout_seconds), note)
        except BaseException:
            os.close(owner_fd)
            raise

    def owner_alive(self) -> bool:
        """Whether a process owns the migration now (a reading command counts while it reads)."""
        if not self.owner_lock.exists():
            return False
        with self.briefly_locked() as ours:
            return not ours

    @contextlib.contextmanager
    def briefly_locked(self) -> Iterator[bool]:
        """Holds the owner's lock for one read or one decision; gives False if an owner has it."""
        fd = self._open(self.owner_lock)
        try:
            yield try_lock(fd)
        finally:
            os.close(fd)

    def owner_note(self) -> OwnerNote | None:
        """What the owner wrote about itself; None if there is no owner or it has not written yet."""
        return OwnerNote.read(self.owner_lock)

    def find_owner(self) -> OwnerNote | None:
        """The process that owns the migration now; a command that reads does not count, nor an owner that begins."""
        if not self.owner_alive():
            return None
        note = self.owner_note()
        return note if note is not None and note.is_alive else None

    def _take_workers_lock(self, waiting: Callable[[str], None], timeout_seconds: float) -> int:
        fd = self._open(self.workers_lock)
        try:
            if not try_lock(fd):
                waiting(
                    f"waiting up to {timeout_seconds:.0f} s for the last worker of an earlier owner of "
                    f"{self.name} to end"
                )
                if not lock_within(fd, timeout_seconds):
                    raise Refused(
                        f"workers of an earlier owner of {self.name} are still running",
                        hint=f"find them with `fuser {self.workers_lock}`, end them, and run again",
                    )
            os.set_inheritable(fd, True)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _is_locked(self, fd: int, patience_seconds: float, timeout_seconds: float) -> bool:
        """Takes the owner's lock; False if an owner has it."""
        if lock_within(fd, patience_seconds):
            return True
        note = self.owner_note()
        return note is not None and not note.is_alive and lock_within(fd, timeout_seconds)

    def _refused(self) -> Refused:
        note = self.owner_note()
        return Refused(
            f"{self.name} is already run by {note or 'another process'}",
            hint="look at it with `kmigrate status`; one migration has one owner",
        )

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KmigrateError(
                f"cannot open {path}: {error.strerror}",
                hint="run as the user who started the migration, or choose another folder with --state DIR",
            ) from error


def list_migrations(state_root: Path) -> list[str]:
    """The names of the migrations that have a folder there, in order: what else lies there is none of ours."""
    try:
        folders = sorted(path for path in state_root.iterdir() if is_migration(path))
    except OSError:
        return []
    return [path.name for path in folders]


def is_migration(folder: Path) -> bool:
    """Whether a migration was begun in this folder, or is being; a command that looked for one leaves an empty lock."""
    if (folder / FILE_NAME).exists():
        return True
    try:
        return (folder / OWNER_LOCK).stat().st_size > 0
    except OSError:
        return False


def decide_socket_path(name: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """The first place whose path fits: runtime folder, then temporary one; a long name is left out."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    private = f"kmigrate-{os.getuid()}"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    rooms = [Path(runtime) / "kmigrate"] if runtime and os.access(runtime, os.W_OK | os.X_OK) else []
    rooms += [Path(tempfile.gettempdir()) / private, Path("/tmp") / private]
    for room in rooms:
        for file in (f"{name}-{digest[:8]}.sock", f"{digest[:16]}.sock"):
            path = room / file
            if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
                return path
    raise AssertionError("a path under /tmp always fits")


def create_socket_folder(path: Path) -> None:
    """Creates the private folder of a socket; raises Refused if it is another user's or open to others."""
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Refused(
            f"{folder} is not a private folder of this user",
            hint="remove it, or set XDG_RUNTIME_DIR to a folder of your own with mode 0700",
        )
