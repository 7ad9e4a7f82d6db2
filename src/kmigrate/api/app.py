"""The application: each route hands a request to the desk or the lookup, and what it says back.

Rule: no logic. An error is JSON (`error`, `hint`, `exitCode`), so that a command ends as if it had happened
there.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kmigrate import __version__
from kmigrate.copy.states import Choice
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import LARGEST_OFFSET, Offset, Side
from kmigrate.runner.desk import Decisions, Desk
from kmigrate.runner.lookup import Lookup, Mark, RunsPage, Translation
from kmigrate.runner.status import StatusDocument


class _Body(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class ResumeRequest(_Body):
    """Ends a pause; with a topic, answers the stops of a topic or of one partition."""

    topic: str | None = None
    partition: Annotated[int, Field(ge=0)] | None = None
    choice: Choice = Choice.RESUME


class ThrottleRequest(_Body):
    """Limits the copying; null lifts the limit."""

    bytes_per_second: int | None


class DecisionsReply(_Body):
    """What the operator wants now, and which partitions were answered by this request."""

    paused: bool
    bytes_per_second: int | None
    recreate: tuple[str, ...]
    answered: tuple[str, ...] = ()


class Health(_Body):
    """Who answers."""

    pid: int
    version: str


class ErrorReply(_Body):
    """What went wrong, what to do about it, and how a command ends because of it."""

    error: str
    hint: str
    exit_code: int


def create_app(desk: Desk, lookup: Lookup) -> FastAPI:
    """The application over one desk and one lookup."""
    app = FastAPI(
        title="kmigrate",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses={400: {"model": ErrorReply}, 500: {"model": ErrorReply}},
    )
    app.add_exception_handler(KmigrateError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)

    @app.get("/v1/health")
    def health() -> Health:
        return Health(pid=os.getpid(), version=__version__)

    @app.get("/v1/status", response_model=StatusDocument)
    def status() -> Response:
        document = desk.status()
        if document is None:
            return Response(status_code=204)
        return Response(document.to_json(), media_type="application/json")

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
        desk.throttle(request.bytes_per_second)
        return _reply(desk.decisions())

    @app.get("/v1/offsets/translation", response_model=Translation)
    def translation(
        topic: str,
        partition: Annotated[int, Query(ge=0)],
        offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET)],
        side: Annotated[Side, Query(alias="from")] = Side.SOURCE,
    ) -> Response:
        found = lookup.translate(topic, partition, Offset(offset), side)
        return Response(found.to_json(), media_type="application/json")

    @app.get("/v1/offsets/runs", response_model=RunsPage)
    def runs(
        topic: str | None = None,
        from_topic: Annotated[str | None, Query(alias="fromTopic")] = None,
        from_partition: Annotated[int, Query(alias="fromPartition", ge=0)] = 0,
        from_run: Annotated[int, Query(alias="fromRun", ge=0)] = 0,
    ) -> Response:
        start = None if from_topic is None else Mark(topic=from_topic, partition=from_partition, run=from_run)
        return Response(lookup.runs(topic, start).to_json(), media_type="application/json")

    return app


def _reply(decisions: Decisions, answered: tuple[str, ...] = ()) -> DecisionsReply:
    return DecisionsReply(
        paused=decisions.paused,
        bytes_per_second=decisions.bytes_per_second,
        recreate=tuple(decisions.recreate),
        answered=answered,
    )


def _answer_error(request: Request, error: Exception) -> JSONResponse:
    hint, exit_code = getattr(error, "hint", ""), getattr(error, "exit_code", 1)
    return _error(400 if isinstance(error, UsageError) else 500, str(error), hint, exit_code)


def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    problems: list[dict[str, Any]] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
    return _error(400, f"the request is not understood: {told}", "see /openapi.json", UsageError.exit_code)


def _error(status_code: int, error: str, hint: str, exit_code: int) -> JSONResponse:
    reply = ErrorReply(error=error, hint=hint, exit_code=exit_code)
    return JSONResponse(reply.model_dump(by_alias=True), status_code=status_code)
