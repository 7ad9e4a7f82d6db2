"""The client of serve: what `kmigrate serve add` and its like use.

Rule: one way in. Where no serve runs, the same application decides in this process, for the next one; its lock is
held for that request only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from kmigrate.api.door import NotAnswered, Reply, ask_over_socket, checked
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import OwnerNote
from kmigrate.serve.document import MigrationsDocument, MigrationSummary
from kmigrate.serve.roster import Roster
from kmigrate.serve.supervisor import Supervisor

START_SECONDS = 5.0
TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.1


class NotServed(KmigrateError):
    """There is a serve, and it does not answer."""


class ServiceClient:
    """Talks to the serve of a state folder, or decides in its place."""

    def __init__(
        self, root: Path, *, start_seconds: float = START_SECONDS, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.reached_serve = False
        """Whether the last request went to a serve; a decision without one is for the next."""
        self._roster = Roster(root)
        self._start_seconds = start_seconds
        self._sleep = sleep

    def list_all(self) -> MigrationsDocument:
        """How all migrations stand; where serve does not answer, as the folder and the owners tell it."""
        try:
            reply = self._request("GET", "")
        except NotServed:
            reply = self._in_process("GET", "/v1/migrations", None)
        return MigrationsDocument.from_json(reply.text)

    def show(self, name: str) -> MigrationSummary:
        """How one stands; raises UsageError if there is none of this name."""
        return MigrationSummary.from_json(self._request("GET", f"/{quote(name, safe='')}").text)

    def add(self, manifest: str, file: Path, *, replace: bool, run: bool) -> MigrationSummary:
        """Holds a migration from now on; raises what is wrong with its manifest."""
        body = {"manifest": manifest, "file": str(file), "replace": replace, "run": run}
        return MigrationSummary.from_json(self._request("POST", "", body).text)

    def start(self, name: str) -> MigrationSummary:
        """Has an owner run."""
        return MigrationSummary.from_json(self._request("POST", f"/{quote(name, safe='')}/start").text)

    def stop(self, name: str) -> MigrationSummary:
        """Has its owner end; it may still be ending."""
        return MigrationSummary.from_json(self._request("POST", f"/{quote(name, safe='')}/stop").text)

    def remove(self, name: str) -> None:
        """Has its owner end, and the manifest forgotten."""
        self._request("DELETE", f"/{quote(name, safe='')}")

    def _request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Reply:
        url = f"/v1/migrations{path}"
        deadline = time.monotonic() + self._start_seconds
        while True:
            with self._roster.briefly_owned() as ours:
                if ours and method != "GET":
                    return self._in_process(method, url, body)
            if ours:  # who only looks keeps no serve from starting
                return self._in_process(method, url, body)
            note = OwnerNote.read(self._roster.lock)
            socket_path = note.socket if note else str(self._roster.socket_path)
            try:
                self.reached_serve = True
                return checked(ask_over_socket(socket_path, method, url, body, TIMEOUT_SECONDS), "serve")
            except NotAnswered as error:
                if (error.was_sent and method != "GET") or time.monotonic() >= deadline:
                    raise NotServed(
                        f"{self._roster.root} is served by {note or 'a process'} which does not answer on "
                        f"{socket_path}: {error}",
                        hint=f"it may be starting or ending: try again; its log is {self._roster.log}",
                    ) from error
            self._sleep(_POLL_SECONDS)

    def _in_process(self, method: str, url: str, body: Mapping[str, object] | None) -> Reply:
        from kmigrate.api.in_process import ask_in_process
        from kmigrate.api.service import create_service

        self.reached_serve = False
        return checked(ask_in_process(create_service(Supervisor(self._roster), None), method, url, body), "serve")
