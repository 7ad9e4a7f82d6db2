"""The token that lets a client in over TCP lies in a file of the state folder that only its user can read.

Rule: it is made where there is none, and never printed, logged or taken from a command line.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from kmigrate.errors import KmigrateError, Refused
from kmigrate.manifest.files import read_limited

_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{22,1024}")


def read_token(path: Path) -> str:
    """The token; raises Refused if others can read or write its file, or if what it holds is none."""
    try:
        _make(path)
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Refused(
                f"{path} is not a private file of this user",
                hint="remove it, and a new token is made; or give it to this user alone, with mode 0600",
            )
        token = read_limited(path).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise KmigrateError(
            f"cannot read the token in {path}: {error.strerror}", hint="choose another folder with --state DIR"
        ) from error
    if _TOKEN.fullmatch(token) is None:
        raise Refused(
            f"{path} holds no token: at least 22 letters, digits and -._~+/= are expected",
            hint="remove it, and a new token is made",
        )
    return token


def _make(path: Path) -> None:
    """A new token, whole or not at all, unless there is a file."""
    if path.exists() or path.is_symlink():
        return
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_BYTES) + "\n")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
