"""The application: each route hands a request to the desk or the lookup, and what it says back.

Rule: no logic. An error is JSON (`error`, `hint`, `exitCode`), so that a command ends as if it had happened
there.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field

from kmigrate import __version__
from kmigrate.api import reads
from kmigrate.api.door import Reply
from kmigrate.api.replies import ErrorReply, Health, RequestBody, answer_error, answer_invalid
from kmigrate.copy.states import Choice
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import LARGEST_OFFSET, Offset, Side, TopicName
from kmigrate.offsets.classes import OffsetClass
from kmigrate.plan.actions import Kind, PlannedAction
from kmigrate.report.account import ReportDocument
from kmigrate.report.accounting import make_account
from kmigrate.runner.apply_desk import ApplyStatus, ApplyWish
from kmigrate.runner.cutover.account import cutovers_of, unavailable_of
from kmigrate.runner.cutover.desk import CommandKind, Order
from kmigrate.runner.cutover.document import CutoverDocument, WaveStatus
from kmigrate.runner.desk import Decisions, Desk
from kmigrate.runner.group_reset import ResetMode, ResetReply, ResetWish
from kmigrate.runner.groups_document import GroupsDocument
from kmigrate.runner.lookup import Lookup, Mark, RunsPage, Translation
from kmigrate.runner.retention import Raised
from kmigrate.runner.status import StatusDocument
from kmigrate.runner.verification import PartitionVerification
from kmigrate.runner.verify_partition import Mode
from kmigrate.schemes.events import LateChoice

ANOTHER_VERSION = "is this another version of kmigrate than the owner's? end the run and start it again"


class ResumeRequest(RequestBody):
    """Ends a pause; with a topic, answers the stops of a topic or of one partition."""

    topic: str | None = None
    partition: Annotated[int, Field(ge=0)] | None = None
    choice: Choice = Choice.RESUME


class ThrottleRequest(RequestBody):
    """Limits the copying; null lifts the limit. It is for everything together, for each broker, or for each topic."""

    bytes_per_second: int | None
    each_broker: bool = False
    topics: tuple[str, ...] = ()


class RaisedRetention(RequestBody):
    """A topic's own retention on the source: as it was, and what it was raised to; null is the broker's default."""

    topic: str
    before: dict[str, str | None]
    wanted: dict[str, str | None]


class RetentionRequest(RaisedRetention):
    """Journals a change of the source's retention before it is made."""

    kind: Literal["raise-retention", "restore-retention"]


class RetentionReply(RequestBody):
    """The number of a change that is planned."""

    number: int


class SyncRequest(RequestBody):
    """Ends the latches of these groups, and looks at all groups anew."""

    release: tuple[str, ...] = ()


class SyncReply(RequestBody):
    """The groups whose latch ended."""

    released: tuple[str, ...]


class ResetRequest(RequestBody):
    """Moves a group's commits on the target; a preview unless `execute`. With `undo` the last one is taken back.

    `scope` maps topics to partitions, none for all of them; an empty scope is everything that the group committed.
    """

    group: str
    mode: ResetMode | None = None
    number: int = 0
    scope: dict[str, tuple[int, ...]] = Field(default={})
    execute: bool = False
    undo: bool = False


class ApplyRequest(RequestBody):
    """Looks at what `apply` would do: `wish` is JSON of what the manifest wants beside the copy."""

    wish: str


class ApplyBegin(RequestBody):
    """Carries a plan out; passwords by user."""

    number: int
    kinds: tuple[Kind, ...]
    passwords: dict[str, str] = Field(default={}, repr=False)


class ApplyStop(RequestBody):
    """Begins nothing more of a plan that is carried out."""

    number: int


class CutoverRequest(RequestBody):
    """A command for one wave: `number` is the decision that its operator saw, null is whatever is now.

    `approved`: the migration's name was typed for it. `late` says what becomes of late records, with `next`.
    """

    kind: CommandKind
    wave: str | None = None
    number: Annotated[int, Field(ge=0)] | None = None
    approved: bool = False
    late: LateChoice | None = None
    by: str = ""


class VerificationsRequest(RequestBody):
    """Keeps what was verified, in place of what was known of these partitions in these modes."""

    partitions: tuple[PartitionVerification, ...]


class VerificationsReply(RequestBody):
    """How many partitions were kept."""

    kept: int


class ClassesReply(RequestBody):
    """The offset class of each partition, by topic and partition."""

    topics: dict[str, dict[int, OffsetClass]]


class DecisionsReply(RequestBody):
    """What the operator wants now, and which partitions were answered by this request."""

    paused: bool
    bytes_per_second: int | None
    recreate: tuple[str, ...]
    answered: tuple[str, ...] = ()


def create_app(desk: Desk, lookup: Lookup) -> FastAPI:
    """The application over one desk and one lookup."""
    app = FastAPI(
        title="kmigrate",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses={400: {"model": ErrorReply}, 500: {"model": ErrorReply}},
    )
    app.add_exception_handler(KmigrateError, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)

    @app.get("/v1/health")
    def health() -> Health:
        return Health(pid=os.getpid(), version=__version__)

    @app.get("/v1/status", response_model=StatusDocument)
    def status(brief: bool = False) -> Response:
        return _response(reads.status(desk, brief=brief))

    @app.post("/v1/pause")
    def pause() -> DecisionsReply:
        desk.pause()
        return _reply(desk.decisions())

    @app.post("/v1/resume")
    def resume(request: ResumeRequest) -> DecisionsReply:
        if request.topic is not None:
            answered = desk.answer(request.topic, request.partition, request.choice)
            return _reply(desk.decisions(), tuple(map(str, answered)))
        if request.partition is not None or request.choice is not Choice.RESUME:
            raise UsageError(f"{request.choice.value} of which topic?", hint="name the topic whose stop is answered")
        desk.resume_all()
        return _reply(desk.decisions())

    @app.post("/v1/throttle")
    def throttle(request: ThrottleRequest) -> DecisionsReply:
        if request.each_broker and request.topics:
            raise UsageError("a limit is for each broker or for topics", hint="ask for one after the other")
        if request.each_broker:
            desk.throttle_brokers(request.bytes_per_second)
        elif request.topics:
            desk.throttle_topics(request.topics, request.bytes_per_second)
        else:
            desk.throttle(request.bytes_per_second)
        return _reply(desk.decisions())

    @app.get("/v1/retention")
    def retention() -> list[RaisedRetention]:
        return [
            RaisedRetention(topic=topic, before=dict(each.before), wanted=dict(each.wanted))
            for topic, each in desk.retention.raised().items()
        ]

    @app.post("/v1/retention")
    def plan_retention(request: RetentionRequest) -> RetentionReply:
        change = Raised(request.before, request.wanted)
        return RetentionReply(number=desk.retention.plan(request.kind, TopicName(request.topic), change))

    @app.post("/v1/retention/done")
    def end_retention(request: RetentionReply) -> RetentionReply:
        desk.retention.end(request.number)
        return request

    @app.get("/v1/groups", response_model=GroupsDocument)
    def groups(details: bool = False) -> Response:
        document = desk.groups.document(details=details)
        if document is None:
            return Response(status_code=204)
        return Response(document.to_json(), media_type="application/json")

    @app.post("/v1/groups/sync")
    def sync_groups(request: SyncRequest) -> SyncReply:
        return SyncReply(released=desk.groups.sync(request.release))

    @app.post("/v1/groups/reset", response_model=ResetReply)
    def reset_group(request: ResetRequest) -> ResetReply:
        if request.undo:
            return desk.groups.undo_reset(request.group, execute=request.execute)
        if request.mode is None:
            raise UsageError("reset to where?", hint="give a mode, or undo")
        wish = ResetWish(group=request.group, mode=request.mode, number=request.number, scope=request.scope)
        return desk.groups.reset(wish, execute=request.execute)

    @app.post("/v1/apply/plan")
    def plan_apply(request: ApplyRequest) -> ApplyStatus:
        try:
            wish = ApplyWish.from_json(request.wish)
        except ValueError as error:
            raise UsageError(f"the wish is not understood: {error}", hint=ANOTHER_VERSION) from error
        return desk.apply.plan(wish)

    @app.get("/v1/apply")
    def apply_status(number: int, start: Annotated[int, Query(ge=0)] = 0) -> ApplyStatus:
        return desk.apply.status(number, start)

    @app.get("/v1/apply/actions")
    def apply_actions(number: int) -> list[PlannedAction]:
        return list(desk.apply.actions(number))

    @app.post("/v1/apply/begin")
    def begin_apply(request: ApplyBegin) -> ApplyStatus:
        return desk.apply.begin(request.number, request.kinds, request.passwords)

    @app.post("/v1/apply/stop")
    def stop_apply(request: ApplyStop) -> ApplyStatus:
        return desk.apply.stop(request.number)

    @app.get("/v1/cutover", response_model=CutoverDocument)
    def cutover(wave: str | None = None, fresh: bool = False) -> Response:
        return _response(reads.cutover(desk, wave, fresh=fresh))

    @app.post("/v1/cutover", response_model=WaveStatus)
    def command_cutover(request: CutoverRequest) -> WaveStatus:
        return desk.cutover.command(
            Order(
                kind=request.kind,
                wave=request.wave,
                number=request.number,
                approved=request.approved,
                late=request.late,
                by=request.by,
            )
        )

    @app.get("/v1/offsets/translation", response_model=Translation)
    def translation(
        topic: str,
        partition: Annotated[int, Query(ge=0)],
        offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET)],
        side: Annotated[Side, Query(alias="from")] = Side.SOURCE,
    ) -> Response:
        found = lookup.translate(topic, partition, Offset(offset), side)
        return Response(found.to_json(), media_type="application/json")

    @app.get("/v1/offsets/classes", response_model=ClassesReply)
    def classes() -> Response:
        return _response(reads.classes(lookup.store))

    @app.get("/v1/offsets/runs", response_model=RunsPage)
    def runs(
        topic: str | None = None,
        from_topic: Annotated[str | None, Query(alias="fromTopic")] = None,
        from_partition: Annotated[int, Query(alias="fromPartition", ge=0)] = 0,
        from_run: Annotated[int, Query(alias="fromRun", ge=0)] = 0,
    ) -> Response:
        start = None if from_topic is None else Mark(topic=from_topic, partition=from_partition, run=from_run)
        return Response(lookup.runs(topic, start).to_json(), media_type="application/json")

    @app.get("/v1/verifications")
    def verifications(mode: Mode | None = None) -> list[PartitionVerification]:
        return desk.verifications.load(mode)

    @app.post("/v1/verifications")
    def keep_verifications(request: VerificationsRequest) -> VerificationsReply:
        return VerificationsReply(kept=desk.verifications.keep(request.partitions))

    @app.get("/v1/report", response_model=ReportDocument)
    def report() -> Response:
        ledger = desk.ledger()
        made = make_account(
            status=desk.status(),
            groups=desk.groups.document(details=False),
            verified=desk.verifications.load(),
            ledger=ledger,
            cutovers=cutovers_of(ledger.journal),
            unavailable=unavailable_of(ledger.journal),
        )
        return Response(made.to_json(), media_type="application/json")

    return app


def _response(reply: Reply) -> Response:
    return Response(
        reply.content, status_code=reply.status_code, media_type=reply.media_type if reply.content else None
    )


def _reply(decisions: Decisions, answered: tuple[str, ...] = ()) -> DecisionsReply:
    return DecisionsReply(
        paused=decisions.paused,
        bytes_per_second=decisions.limits.total,
        recreate=tuple(decisions.recreate),
        answered=answered,
    )
