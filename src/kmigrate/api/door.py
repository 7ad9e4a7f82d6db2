"""The way to the owner of a migration: over its socket or, where there is none, in its place.

Rule: without an owner the folder's lock is held for one request, so that a `run` never waits longer than that. Nothing
heavy is imported here: a command is to begin at once.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from kmigrate.errors import KmigrateError, UsageError
from kmigrate.runner.folder import MigrationFolder

START_SECONDS = 3.0
"""How long an owner that is starting is waited for: its lock is held, its socket is not there yet."""

TIMEOUT_SECONDS = 45.0
"""How long an owner may take for an answer."""

NO_CONTENT = 204
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of the API."""

    status_code: int
    content: bytes = b""
    media_type: str = "application/json"

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        """What the answer says; raises ValueError if it is no JSON."""
        return json.loads(self.content)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


class NotAnswered(Exception):
    """Why nothing came back; `was_sent`: the request may have been taken."""

    def __init__(self, why: str, *, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


class _SocketConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__("kmigrate", timeout=timeout_seconds)
        self._path = path
        self._seconds = timeout_seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def ask_over_socket(
    path: str, method: str, target: str, body: Mapping[str, object] | None, timeout_seconds: float
) -> Reply:
    """One request over the unix socket at this path; raises NotAnswered."""
    connection = _SocketConnection(path, timeout_seconds)
    was_sent = False
    try:
        connection.connect()
        was_sent = True
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, target, content, {} if content is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return Reply(status_code=answer.status, content=answer.read(), media_type=answer.getheader("Content-Type", ""))
    except (OSError, HTTPException) as error:
        raise NotAnswered(str(error) or type(error).__name__, was_sent=was_sent) from error
    finally:
        connection.close()


class Door:
    """The door of one migration's folder."""

    def __init__(
        self,
        folder: MigrationFolder,
        *,
        start_seconds: float = START_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.reached_owner = False
        """Whether the last request went to an owner; a decision without one is for the next run."""
        self._start_seconds = start_seconds
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    def ask(
        self, method: str, target: str, body: Mapping[str, object] | None, instead: Callable[[], Reply | None]
    ) -> Reply | None:
        """What the owner answers or, without one, what `instead` does; raises what the answer tells of."""
        deadline = time.monotonic() + self._start_seconds
        while True:
            with self.folder.briefly_locked() as ours:
                if ours:
                    self.reached_owner = False
                    reply = instead()
                    return None if reply is None else checked(reply)
            note = self.folder.owner_note()
            socket_path = Path(note.socket) if note else self.folder.socket_path
            try:
                self.reached_owner = True
                return checked(ask_over_socket(str(socket_path), method, target, body, self._timeout_seconds))
            except NotAnswered as error:
                if (error.was_sent and method != "GET") or time.monotonic() >= deadline:
                    raise KmigrateError(
                        f"{self.folder.name} is owned by {note or 'a process'} which does not answer "
                        f"on {socket_path}: {error}",
                        hint=f"it may be starting or ending: try again; its log is {self.folder.log}",
                    ) from error
            self._sleep(_POLL_SECONDS)


def checked(reply: Reply, who: str = "the owner") -> Reply:
    """The reply, or the error that it tells of."""
    if reply.is_success:
        return reply
    try:
        told = reply.json()
        error, hint, exit_code = str(told["error"]), str(told["hint"]), int(told["exitCode"])
    except (ValueError, KeyError, TypeError):
        error, hint, exit_code = f"{who} answered {reply.status_code}", "its log says more", 1
    raise told_error(error, hint, exit_code)


def told_error(error: str, hint: str, exit_code: int) -> KmigrateError:
    """An error that an owner told of, which ends a command as it would have ended there."""
    kind = UsageError if exit_code == UsageError.exit_code else KmigrateError
    raised = kind(error, hint=hint)
    raised.exit_code = exit_code
    return raised
