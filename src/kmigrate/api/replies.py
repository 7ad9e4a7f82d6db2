"""What the applications of owners and of serve have in common: bodies, and errors as answers.

Rule: an error is JSON (`error`, `hint`, `exitCode`), so that a command ends as if it had happened there.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from kmigrate.errors import UsageError


class RequestBody(BaseModel):
    """A request or an answer: immutable, camelCase in JSON, without keys that nobody knows."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Health(RequestBody):
    """Who answers."""

    pid: int
    version: str


class ErrorReply(RequestBody):
    """What went wrong, what to do about it, and how a command ends because of it."""

    error: str
    hint: str
    exit_code: int


def answer_error(request: Request, error: Exception) -> JSONResponse:
    """What went wrong: 400 for what cannot be done as it was asked, else 500."""
    hint, exit_code = getattr(error, "hint", ""), getattr(error, "exit_code", 1)
    return error_reply(400 if isinstance(error, UsageError) else 500, str(error), hint, exit_code)


def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, each with its place."""
    problems: list[dict[str, Any]] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
    return error_reply(400, f"the request is not understood: {told}", "see /openapi.json", UsageError.exit_code)


def error_reply(status_code: int, error: str, hint: str, exit_code: int) -> JSONResponse:
    """An answer that tells of an error."""
    reply = ErrorReply(error=error, hint=hint, exit_code=exit_code)
    return JSONResponse(reply.model_dump(by_alias=True), status_code=status_code)
