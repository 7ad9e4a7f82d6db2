"""The roster keeps what serve holds, in the state folder: a file for each migration, and the lock of the one serve.

Rule: one file says everything about a migration (`served.json` in its folder, mode 0600: the manifest as it was given,
with references in place of secrets, and what is wanted), and is replaced as a whole, so that whatever ends at any
moment the next serve finds either what was before or what was decided.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmigrate.errors import KmigrateError, Refused
from kmigrate.manifest import Manifest, read_manifest
from kmigrate.manifest.files import read_limited
from kmigrate.runner.folder import MigrationFolder, OwnerNote, decide_socket_path
from kmigrate.serve.exits import Exit
from kmigrate.serve.machine import Wanted
from kmigrate.state.files import lock_within, replace_json, sync_folder, try_lock

RECORD = "served.json"
MAX_MANIFEST_BYTES = 1_000_000
"""A record must fit into what is read of a file, whatever has to be escaped."""
PATIENCE_SECONDS = 5.0
"""How long a command that changes the roster may keep a serve that starts waiting."""

_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One migration as it was given: the manifest's text, and the file that it came from.

    Relative paths in it begin in the file's folder; the file itself is not read again. `ended` is why its owner is not
    started again by itself.
    """

    name: str
    manifest: str
    file: Path
    wanted: Wanted
    added_at_ms: int
    ended: Exit | None = None

    def load(self) -> Manifest:
        """The manifest with its references resolved here and now; raises ManifestError."""
        return read_manifest(self.manifest.encode(), self.file)


class Roster:
    """What is held in a state folder, and the place of the one serve there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "serve.lock"
        self.log = root / "serve.log"
        self.token = root / "serve.token"

    @property
    def socket_path(self) -> Path:
        """Where a serve started from this environment listens."""
        return decide_socket_path("serve", self.root, os.environ)

    def folder(self, name: str) -> MigrationFolder:
        """The folder of one migration."""
        return MigrationFolder(self.root, name)

    # -- the records

    def load_all(self) -> tuple[dict[str, Kept], dict[str, str]]:
        """Every migration that is held, and of those whose record cannot be read, why."""
        kept: dict[str, Kept] = {}
        troubles: dict[str, str] = {}
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            try:
                found = self.load(path.parent.name)
            except KmigrateError as error:
                troubles[path.parent.name] = str(error)
            else:
                if found is not None:
                    kept[found.name] = found
        return kept, troubles

    def load(self, name: str) -> Kept | None:
        """One that is held, or None; raises KmigrateError if its record is damaged."""
        if not is_name(name):
            return None
        path = self.root / name / RECORD
        try:
            value = json.loads(read_limited(path).decode())
            return _kept(name, value)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise KmigrateError(
                f"cannot read what serve keeps of {name} in {path}: {why}",
                hint="remove that file, and give the manifest again with `kmigrate serve add FILE`",
            ) from error

    def save(self, kept: Kept) -> None:
        """Keeps it, in place of what was kept of it before; on the disk when this returns."""
        value = {
            "manifest": kept.manifest,
            "file": str(kept.file),
            "wanted": kept.wanted.value,
            "addedAt": kept.added_at_ms,
            "ended": None if kept.ended is None else kept.ended.to_value(),
        }
        path = self.folder(kept.name).path / RECORD
        with _told(path):
            replace_json(path, value)

    def forget(self, name: str) -> None:
        """Holds it no longer; its folder with database and log stays."""
        folder = self.root / name
        with _told(folder / RECORD), contextlib.suppress(FileNotFoundError):
            (folder / RECORD).unlink()
            sync_folder(folder)

    # -- the lock

    @contextlib.contextmanager
    def owned(self, socket_path: Path) -> Iterator[OwnerNote]:
        """Makes this process the one serve of the folder; raises Refused that names the one there is."""
        fd = self._open_lock()
        try:
            if not lock_within(fd, PATIENCE_SECONDS):
                raise Refused(
                    f"{self.root} is already served by {OwnerNote.read(self.lock) or 'another process'}",
                    hint="one serve holds all migrations of a folder; `kmigrate serve list` shows them",
                )
            note = OwnerNote.of_this_process(socket_path)
            note.write(fd)
            yield note
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def briefly_owned(self) -> Iterator[bool]:
        """Holds the lock for one request; gives False if a serve has it."""
        fd = self._open_lock()
        try:
            yield try_lock(fd)
        finally:
            os.close(fd)

    def served_by(self) -> OwnerNote | None:
        """The serve that runs there, as far as it has told of itself; None if there is none."""
        if not self.lock.exists():
            return None
        with self.briefly_owned() as ours:
            return None if ours else OwnerNote.read(self.lock)

    def _open_lock(self) -> int:
        with _told(self.lock):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def is_name(name: str) -> bool:
    """Whether a migration may have this name."""
    return _NAME.fullmatch(name) is not None


def _kept(name: str, value: Any) -> Kept:
    ended = value["ended"]
    return Kept(
        name=name,
        manifest=_text(value["manifest"]),
        file=Path(_text(value["file"])),
        wanted=Wanted(value["wanted"]),
        added_at_ms=int(value["addedAt"]),
        ended=None if ended is None else Exit.from_value(ended),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text is expected")
    return value


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KmigrateError(
            f"cannot write {path}: {error.strerror}",
            hint="choose a folder that you may write to, with room on its disk, with --state DIR",
        ) from error
