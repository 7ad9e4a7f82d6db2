"""The client of serve: what `kmigrate serve add` and its like use.

Rule: one way in. Where no serve runs, the same application decides in this process, for the next one; its lock is
held for that request only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx

from kmigrate.api.client import checked
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import OwnerNote
from kmigrate.serve.document import MigrationsDocument, MigrationSummary
from kmigrate.serve.roster import Roster
from kmigrate.serve.supervisor import Supervisor

START_SECONDS = 5.0
TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.1
_HOST = "http://kmigrate"


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
            reply = self._in_process("GET", f"{_HOST}/v1/migrations", None)
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

    def _request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> httpx.Response:
        url = f"{_HOST}/v1/migrations{path}"
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
                transport = httpx.HTTPTransport(uds=socket_path)
                with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as http:
                    self.reached_serve = True
                    return checked(http.request(method, url, json=body), "serve")
            except httpx.HTTPError as error:
                again = method == "GET" or isinstance(error, httpx.ConnectError)
                if not again or time.monotonic() >= deadline:
                    raise NotServed(
                        f"{self._roster.root} is served by {note or 'a process'} which does not answer on "
                        f"{socket_path}: {str(error) or type(error).__name__}",
                        hint=f"it may be starting or ending: try again; its log is {self._roster.log}",
                    ) from error
            self._sleep(_POLL_SECONDS)

    def _in_process(self, method: str, url: str, body: Mapping[str, object] | None) -> httpx.Response:
        from kmigrate.api.service import create_service

        async def ask() -> httpx.Response:
            app = create_service(Supervisor(self._roster), None)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
                return await http.request(method, url, json=body)

        self.reached_serve = False
        return checked(asyncio.run(ask()), "serve")
