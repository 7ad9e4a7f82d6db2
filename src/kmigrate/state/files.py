"""Files that several processes share: replaced as a whole, and locked for as long as a descriptor is open."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

_POLL_SECONDS = 0.05


def replace_json(path: Path, value: object) -> None:
    """Puts a JSON text with mode 0600 in a file's place, whole or not at all; on the disk when this returns.

    One at a time: whoever calls it holds a lock. Raises OSError.
    """
    replace_lines(path, [json.dumps(value, ensure_ascii=False)], end="")


def replace_lines(path: Path, lines: Iterable[str], *, end: str = "\n") -> None:
    """Puts lines with mode 0600 in a file's place, in the same way. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o600)
        for line in lines:
            file.write(line + end)
        file.flush()
        os.fsync(fd)
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was created, replaced or removed in the folder is so on the disk, too; raises OSError."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Takes a file's lock if nobody has it; it lasts until the descriptor is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(fd: int, seconds: float) -> bool:
    """Takes a file's lock as soon as nobody has it; False if that takes longer."""
    deadline = time.monotonic() + seconds
    while not try_lock(fd):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
