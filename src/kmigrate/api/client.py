"""The client is what commands use: the owner's API, or without an owner the same application in-process.

Rule: one way in. Without an owner the folder's lock is held for one request, so that a `run` never waits
longer than that. What only some requests need is imported by them: a command is to begin at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import TypeAdapter

from kmigrate.api import reads
from kmigrate.api.door import NO_CONTENT, START_SECONDS, TIMEOUT_SECONDS, Door, Reply
from kmigrate.copy.rates import NO_LIMITS, RateLimits
from kmigrate.copy.states import Choice
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import Side
from kmigrate.runner.fence_notice import read_fences
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.lookup import PartitionRuns, RunsPage, Translation
from kmigrate.runner.retention import Raised
from kmigrate.runner.status import MigrationState, StatusDocument
from kmigrate.state.store import Store

if TYPE_CHECKING:
    from kmigrate.plan.actions import Kind, PlannedAction
    from kmigrate.report.account import ReportDocument
    from kmigrate.runner.apply_desk import ApplyStatus, ApplyWish
    from kmigrate.runner.cutover.document import CutoverDocument
    from kmigrate.runner.groups_document import GroupsDocument
    from kmigrate.runner.verification import PartitionVerification
    from kmigrate.runner.verify_partition import Mode

_ROWS_A_REQUEST = 1_000


class Client:
    """Talks to the owner of one migration, or acts in its place.

    `manifest_limits` are the manifest's, for a desk without an owner.
    """

    def __init__(
        self,
        folder: MigrationFolder,
        *,
        manifest_limits: RateLimits = NO_LIMITS,
        start_seconds: float = START_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._limits = manifest_limits
        self._door = Door(folder, start_seconds=start_seconds, timeout_seconds=timeout_seconds, sleep=sleep)
        self.reached_owner = False
        """Whether the last request went to an owner; a decision without one is for the next run."""

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Reply | None:
        """The answer to any request of the API; None if the migration never ran. Raises what the answer tells of."""
        return self._request(method, path, body)

    def status(self, *, brief: bool = False) -> StatusDocument:
        """How the migration stands; NOT_STARTED if it never ran. `brief` leaves topics and what goes on out."""
        reply = self._request("GET", "/v1/status" + ("?brief=true" if brief else ""))
        if reply is None or reply.status_code == NO_CONTENT:
            return StatusDocument(
                name=self._folder.name,
                state=MigrationState.NOT_STARTED,
                reason=f"no run of {self._folder.name} is recorded in {self._folder.path}",
                next_step="kmigrate run -f FILE starts it",
                fences=read_fences(self._folder.path),
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

    def throttle_brokers(self, bytes_per_second: int | None) -> None:
        """Limits what goes through each broker; None lifts the limit."""
        self._decide("/v1/throttle", {"bytesPerSecond": bytes_per_second, "eachBroker": True})

    def throttle_topics(self, topics: Sequence[str], bytes_per_second: int | None) -> None:
        """Limits each of these topics; None lifts the limits."""
        self._decide("/v1/throttle", {"bytesPerSecond": bytes_per_second, "topics": list(topics)})

    def raised_retention(self) -> dict[str, Raised]:
        """Topics of the source whose retention was raised and is not restored."""
        reply = self._request("GET", "/v1/retention")
        return {} if reply is None else {each["topic"]: Raised(each["before"], each["wanted"]) for each in reply.json()}

    def plan_retention(self, kind: str, topic: str, change: Raised) -> int:
        """Journals a change of the source's retention before it is made; returns its number."""
        body = {"kind": kind, "topic": topic, "before": dict(change.before), "wanted": dict(change.wanted)}
        reply = self._request("POST", "/v1/retention", body, creates=True)
        assert reply is not None, "the store is there now"
        return int(reply.json()["number"])

    def end_retention(self, number: int) -> None:
        """Journals that the source shows the change."""
        self._decide("/v1/retention/done", {"number": number})

    def groups(self, *, details: bool = False) -> GroupsDocument:
        """How the consumer groups stand on both sides; `details` asks for their members now."""
        from kmigrate.runner.groups_document import GroupsDocument

        text = self._look_up("/v1/groups", {"details": str(details).lower()})
        return GroupsDocument.from_json(text) if text else GroupsDocument(name=self._folder.name)

    def sync_groups(self, release: Sequence[str] = ()) -> tuple[str, ...]:
        """Has all groups looked at anew, and ends the latches of some; returns the groups that had one."""
        return tuple(self._decide("/v1/groups/sync", {"release": list(release)})["released"])

    def reset_group(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Moves a group's commits on the target, or shows what that would do; see /openapi.json."""
        return self._decide("/v1/groups/reset", request)

    def is_served(self) -> bool:
        """Whether an owner answers; not one that is only another command at work."""
        with self._folder.briefly_locked() as ours:
            if ours:
                return False
        try:
            self._request("GET", "/v1/health")
        except KmigrateError:
            return False
        return self.reached_owner

    def plan_apply(self, wish: ApplyWish) -> ApplyStatus:
        """Has a running owner look at what `apply` would do."""
        return _applies(self._decide("/v1/apply/plan", {"wish": wish.to_json()}))

    def begin_apply(self, number: int, kinds: Iterable[Kind], passwords: Mapping[str, str]) -> ApplyStatus:
        """Has it carried out."""
        body = {"number": number, "kinds": [each.value for each in kinds], "passwords": dict(passwords)}
        return _applies(self._decide("/v1/apply/begin", body))

    def stop_apply(self, number: int) -> ApplyStatus:
        """Has nothing more of it begun."""
        return _applies(self._decide("/v1/apply/stop", {"number": number}))

    def apply_status(self, number: int, start: int) -> ApplyStatus:
        """How it goes, with what was done from row `start` on."""
        return _apply_status().validate_json(self._look_up("/v1/apply", {"number": number, "start": start}))

    def apply_actions(self, number: int) -> list[PlannedAction]:
        """What is planned."""
        return _actions().validate_json(self._look_up("/v1/apply/actions", {"number": number}))

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

    def cutover(self, wave: str | None = None, *, fresh: bool = False) -> CutoverDocument:
        """Where the waves stand, or one of them; `fresh`: after the owner has looked again."""
        from kmigrate.runner.cutover.document import CutoverDocument

        asked: dict[str, object] = {"fresh": str(fresh).lower()}
        return CutoverDocument.from_json(
            self._look_up("/v1/cutover", asked if wave is None else asked | {"wave": wave})
        )

    def command_cutover(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Commands a wave; see /openapi.json."""
        return self._decide("/v1/cutover", request)

    def verifications(self, mode: Mode) -> list[PartitionVerification]:
        """What was verified in this mode."""
        return _verifications().validate_json(self._look_up("/v1/verifications", {"mode": mode.value}))

    def save_verifications(self, rows: Sequence[PartitionVerification]) -> None:
        """Keeps what was verified."""
        for first in range(0, len(rows), _ROWS_A_REQUEST):
            some = list(rows[first : first + _ROWS_A_REQUEST])
            self._decide(
                "/v1/verifications", {"partitions": _verifications().dump_python(some, mode="json", by_alias=True)}
            )

    def report(self) -> ReportDocument:
        """The account of everything that was done."""
        from kmigrate.report.account import ReportDocument

        return ReportDocument.from_json(self._look_up("/v1/report", {}))

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

    def _request(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, creates: bool = False
    ) -> Reply | None:
        """The answer of the owner or, without one, of the application here.

        None if there never was a run, unless the request `creates` what there is to remember.
        """
        try:
            return self._door.ask(method, path, body, lambda: self._in_process(method, path, body, creates=creates))
        finally:
            self.reached_owner = self._door.reached_owner

    def _in_process(self, method: str, path: str, body: Mapping[str, object] | None, *, creates: bool) -> Reply | None:
        if not creates and not Store.exists(self._folder.path):
            return None
        store = Store.open(self._folder.path)
        try:
            read = reads.answer(store, method, path)
            if read is not None:
                return read
            from kmigrate.api.app import create_app
            from kmigrate.api.in_process import ask_in_process
            from kmigrate.runner.desk import Desk
            from kmigrate.runner.lookup import Lookup

            desk = Desk(store, manifest_limits=self._limits)
            return ask_in_process(create_app(desk, Lookup(store, desk.status)), method, path, body)
        finally:
            store.close()


@cache
def _apply_status() -> TypeAdapter[ApplyStatus]:
    from kmigrate.runner.apply_desk import ApplyStatus

    return TypeAdapter(ApplyStatus)


@cache
def _verifications() -> TypeAdapter[list[PartitionVerification]]:
    from kmigrate.runner.verification import PartitionVerification

    return TypeAdapter(list[PartitionVerification])


@cache
def _actions() -> TypeAdapter[list[PlannedAction]]:
    from kmigrate.plan.actions import PlannedAction

    return TypeAdapter(list[PlannedAction])


def _applies(reply: Mapping[str, Any]) -> ApplyStatus:
    return _apply_status().validate_python(reply)


def _check_follows(before: PartitionRuns | None, part: PartitionRuns) -> None:
    """On the target the runs of a partition follow each other without a hole."""
    if before is None or (before.topic, before.partition) != (part.topic, part.partition):
        return
    _, target, count = before.runs[-1]
    if part.runs[0][1] != target + count or part.offset_class is not before.offset_class:
        raise KmigrateError(
            f"{part.topic}-{part.partition} was copied anew while its runs were read", hint="begin again"
        )
