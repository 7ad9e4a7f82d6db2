"""The client is what commands use: the owner's API, or without an owner the same application in-process.

Rule: one way in. Without an owner the folder's lock is held for one request, so that a `run` never waits
longer than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from kmigrate.copy.states import Choice
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import Side
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.lookup import Lookup, PartitionRuns, RunsPage, Translation
from kmigrate.runner.status import MigrationState, StatusDocument
from kmigrate.state.store import Store

START_SECONDS = 3.0
"""How long an owner that is starting is waited for: its lock is held, its socket is not there yet."""

_POLL_SECONDS = 0.1
_TIMEOUT_SECONDS = 30.0
_HOST = "http://kmigrate"


class Client:
    """Talks to the owner of one migration, or acts in its place.

    `manifest_limit` is the manifest's limits.bytesPerSecond, for a desk without an owner.
    """

    def __init__(
        self,
        folder: MigrationFolder,
        *,
        manifest_limit: int | None = None,
        start_seconds: float = START_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._limit = manifest_limit
        self._start_seconds = start_seconds
        self._sleep = sleep
        self.reached_owner = False
        """Whether the last request went to an owner; a decision without one is for the next run."""

    def status(self) -> StatusDocument:
        """How the migration stands; NOT_STARTED if it never ran."""
        reply = self._request("GET", "/v1/status")
        if reply is None or reply.status_code == httpx.codes.NO_CONTENT:
            return StatusDocument(
                name=self._folder.name,
                state=MigrationState.NOT_STARTED,
                reason=f"no run of {self._folder.name} is recorded in {self._folder.path}",
                next_step="kmigrate run -f FILE starts it",
            )
        return StatusDocument.from_json(reply.text)

    def pause(self) -> None:
        """Stops all copying."""
        self._decide("/v1/pause", {})

    def resume_all(self) -> None:
        """Ends a pause."""
        self._decide("/v1/resume", {})

    def answer(self, topic: str, partition: int | None, choice: Choice) -> tuple[str, ...]:
        """Answers stops; returns the names of the partitions answered."""
        reply = self._decide("/v1/resume", {"topic": topic, "partition": partition, "choice": choice.value})
        return tuple(reply["answered"])

    def throttle(self, bytes_per_second: int | None) -> None:
        """Limits all copying together; None lifts the limit."""
        self._decide("/v1/throttle", {"bytesPerSecond": bytes_per_second})

    def translate(self, topic: str, partition: int, offset: int, from_side: Side) -> Translation:
        """Where an offset of one side is on the other."""
        asked = {"topic": topic, "partition": partition, "offset": offset, "from": from_side.value}
        return Translation.from_json(self._look_up("/v1/offsets/translation", asked))

    def runs(self, topic: str | None) -> Iterator[PartitionRuns]:
        """The runs of all partitions, or of one topic's, in parts.

        Raises KmigrateError if a partition is copied anew meanwhile.
        """
        asked: dict[str, object] = {} if topic is None else {"topic": topic}
        before: PartitionRuns | None = None
        while True:
            page = RunsPage.from_json(self._look_up("/v1/offsets/runs", asked))
            for part in page.partitions:
                _check_follows(before, part)
                yield part
                before = part
            if page.next is None:
                return
            start = page.next
            asked |= {"fromTopic": start.topic, "fromPartition": start.partition, "fromRun": start.run}

    def _look_up(self, path: str, asked: Mapping[str, object]) -> str:
        reply = self._request("GET", f"{path}?{urlencode(asked)}")
        if reply is None:
            raise UsageError(
                f"{self._folder.name} has not been started: nothing is copied",
                hint="start it with `kmigrate run -f FILE`; is --state the folder that it ran with?",
            )
        return reply.text

    def _decide(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        reply = self._request("POST", path, body)
        if reply is None:
            raise UsageError(
                f"{self._folder.name} has not been started: there is nothing to decide about",
                hint="start it with `kmigrate run`; is --state the folder that it ran with?",
            )
        answer: dict[str, Any] = reply.json()
        return answer

    def _request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> httpx.Response | None:
        """The answer of the owner or, without one, of the application here; None if there never was a run."""
        deadline = time.monotonic() + self._start_seconds
        while True:
            with self._folder.briefly_locked() as ours:
                if ours:
                    return self._in_process(method, path, body)
            note = self._folder.owner_note()
            socket_path = Path(note.socket) if note else self._folder.socket_path
            try:
                transport = httpx.HTTPTransport(uds=str(socket_path))
                with httpx.Client(transport=transport, timeout=_TIMEOUT_SECONDS) as http:
                    self.reached_owner = True
                    return _checked(http.request(method, _HOST + path, json=body))
            except httpx.HTTPError as error:
                again = method == "GET" or isinstance(error, httpx.ConnectError)
                if not again or time.monotonic() >= deadline:
                    why = str(error) or type(error).__name__
                    raise KmigrateError(
                        f"{self._folder.name} is owned by {note or 'a process'} which does not answer "
                        f"on {socket_path}: {why}",
                        hint=f"it may be starting or ending: try again; its log is {self._folder.log}",
                    ) from error
            self._sleep(_POLL_SECONDS)

    def _in_process(self, method: str, path: str, body: Mapping[str, object] | None) -> httpx.Response | None:
        if not Store.exists(self._folder.path):
            return None
        from kmigrate.api.app import create_app

        self.reached_owner = False
        store = Store.open(self._folder.path)
        try:
            desk = Desk(store, manifest_limit=self._limit)
            app = create_app(desk, Lookup(store, desk.status))
            return _checked(asyncio.run(_call(httpx.ASGITransport(app), method, path, body)))
        finally:
            store.close()


async def _call(
    transport: httpx.ASGITransport, method: str, path: str, body: Mapping[str, object] | None
) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport) as http:
        return await http.request(method, _HOST + path, json=body)


def _check_follows(before: PartitionRuns | None, part: PartitionRuns) -> None:
    """On the target the runs of a partition follow each other without a hole."""
    if before is None or (before.topic, before.partition) != (part.topic, part.partition):
        return
    _, target, count = before.runs[-1]
    if part.runs[0][1] != target + count or part.offset_class is not before.offset_class:
        raise KmigrateError(
            f"{part.topic}-{part.partition} was copied anew while its runs were read", hint="begin again"
        )


def _checked(reply: httpx.Response) -> httpx.Response:
    """The reply, or the error that it tells of."""
    if reply.is_success:
        return reply
    try:
        told = reply.json()
        error, hint, exit_code = str(told["error"]), str(told["hint"]), int(told["exitCode"])
    except (ValueError, KeyError, TypeError):
        error, hint, exit_code = f"the owner answered {reply.status_code}", "its log says more", 1
    kind = UsageError if exit_code == UsageError.exit_code else KmigrateError
    raised = kind(error, hint=hint)
    raised.exit_code = exit_code
    raise raised
