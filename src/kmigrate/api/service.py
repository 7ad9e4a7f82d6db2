"""The application of serve: it takes decisions about migrations to the supervisor, and requests of one to its owner.

Rule: no logic. What a migration's owner answers under `/v1/…` on its own socket, serve answers under
`/v1/migrations/{name}/…`: asked of the owner or, where none runs, of the application on the store, as commands do it.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from kmigrate import __version__
from kmigrate.api.app import create_app
from kmigrate.api.client import Client
from kmigrate.api.openapi import publish
from kmigrate.api.overview import is_known, read_overview, read_summary
from kmigrate.api.replies import ErrorReply, Health, RequestBody, answer_error, answer_invalid, error_reply
from kmigrate.copy.rates import NO_LIMITS, RateLimits, rate_limits
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.manifest import ManifestDocument
from kmigrate.manifest.shape import check_shape
from kmigrate.manifest.yaml_tree import parse_tree
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import OwnerNote
from kmigrate.runner.lookup import Lookup
from kmigrate.serve.document import MigrationsDocument, MigrationSummary
from kmigrate.serve.roster import MAX_MANIFEST_BYTES
from kmigrate.serve.supervisor import Holding, Supervisor

AT_ONCE = 4
"""How many requests one migration answers at once: an owner that hangs must not keep others from being asked."""
START_SECONDS = 3.0
DESCRIPTION = """Any number of migrations, on a unix socket that only the same user can open.

Over TCP, which is there on request and on a loopback address only, every request brings the token:
`Authorization: Bearer …`. What stands under `/v1/migrations/{name}/` the migration's owner answers on its own socket,
too, under `/v1/`.
"""


class UnknownMigration(UsageError):
    """There is no migration of this name."""


class Busy(KmigrateError):
    """Too much is asked at once."""


class AddRequest(RequestBody):
    """Holds a migration from now on. `manifest` is its YAML; secrets in it should be references.

    References are resolved in serve's environment; relative paths begin in the folder of `file`, an absolute path, or
    without one in the migration's folder. `replace`: it may be held already, with another manifest. Without `run` its
    owner is not started.
    """

    manifest: Annotated[str, Field(max_length=MAX_MANIFEST_BYTES)]
    file: Annotated[str, Field(max_length=4096)] | None = None
    replace: bool = False
    run: bool = True


def create_service(supervisor: Supervisor, note: OwnerNote | None) -> FastAPI:
    """The application over one supervisor; `note` is this serve's own."""
    root = supervisor.roster.root
    app = FastAPI(
        title="kmigrate serve",
        description=DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses={code: {"model": ErrorReply} for code in (400, 401, 404, 413, 500, 503)},
    )
    app.add_exception_handler(KmigrateError, _answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    doors = _Doors()

    def known(name: str) -> Holding | None:
        holding = supervisor.holding(name)
        if not is_known(root, name, holding):
            raise UnknownMigration(f"there is no migration {name}", hint="`kmigrate serve list` shows all there are")
        return holding

    def summary(name: str) -> Response:
        return Response(read_summary(root, name, known(name)).to_json(), media_type="application/json")

    @app.get("/v1/health")
    def health() -> Health:
        return Health(pid=os.getpid(), version=__version__)

    @app.get("/v1/migrations", response_model=MigrationsDocument)
    def list_all() -> Response:
        document = read_overview(root, supervisor.holdings(), note, supervisor.troubles)
        return Response(document.to_json(), media_type="application/json")

    @app.post("/v1/migrations", response_model=MigrationSummary)
    def add(request: AddRequest) -> Response:
        file = None if request.file is None else Path(request.file)
        return summary(supervisor.add(request.manifest, file, run=request.run, is_new=not request.replace))

    @app.get("/v1/migrations/{name}", response_model=MigrationSummary)
    def show(name: str) -> Response:
        return summary(name)

    @app.delete("/v1/migrations/{name}", status_code=204)
    def remove(name: str) -> None:
        known(name)
        supervisor.remove(name)

    @app.post("/v1/migrations/{name}/start", response_model=MigrationSummary)
    def start(name: str) -> Response:
        known(name)
        supervisor.start(name)
        return summary(name)

    @app.post("/v1/migrations/{name}/stop", response_model=MigrationSummary)
    def stop(name: str) -> Response:
        known(name)
        supervisor.stop(name)
        return summary(name)

    @app.api_route("/v1/migrations/{name}/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    def pass_on(name: str, path: str, request: Request, body: Annotated[Any, Depends(_json_body)]) -> Response:
        holding = known(name)
        with doors.of(name):
            return _pass_on(supervisor, name, holding, request, path, body)

    # of the owner's application only the description is used: nothing is asked of it
    publish(app, lambda: create_app(cast(Desk, None), cast(Lookup, None)))
    return app


async def _json_body(request: Request) -> Any:
    """The body of a request as what JSON says; None if there is none."""
    content = await request.body()
    if not content:
        return None
    try:
        value = await request.json()
    except ValueError as error:
        raise UsageError("the request is not understood: its body is no JSON", hint="see /openapi.json") from error
    if not isinstance(value, dict):
        raise UsageError("the request is not understood: its body is no object", hint="see /openapi.json")
    return value


def _pass_on(
    supervisor: Supervisor, name: str, holding: Holding | None, request: Request, path: str, body: dict[str, Any] | None
) -> Response:
    folder = supervisor.roster.folder(name)
    if request.method == "POST" and holding is None and not folder.owner_alive():
        raise UsageError(
            f"no owner of {name} runs, and serve does not hold it: its manifest is not known here",
            hint="use the command with -f FILE, or give serve the manifest with `kmigrate serve add FILE`",
        )
    asked = f"/v1/{quote(path)}" + (f"?{request.url.query}" if request.url.query else "")
    client = Client(folder, manifest_limits=_limits_of(holding), start_seconds=START_SECONDS)
    reply = client.ask(request.method, asked, body)
    if reply is None and request.method == "GET" and path in ("status", "groups"):
        return Response(status_code=204)
    if reply is None:
        raise UsageError(f"{name} has not been started", hint=f"start it with `kmigrate serve start {name}`")
    return Response(reply.content, status_code=reply.status_code, media_type=reply.media_type or None)


def _limits_of(holding: Holding | None) -> RateLimits:
    """The limits of the manifest that is kept; they need none of its secrets."""
    if holding is None:
        return NO_LIMITS
    document = check_shape(parse_tree(holding.kept.manifest, file=str(holding.kept.file)))
    return rate_limits(document.spec.limits) if isinstance(document, ManifestDocument) else NO_LIMITS


class _Doors:
    """Lets a few requests at once through to each migration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        with self._lock:
            if self._inside[name] >= AT_ONCE:
                raise Busy(f"{name} is asked {AT_ONCE} things already", hint="try again when one of them is answered")
            self._inside[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[name] -= 1
                if not self._inside[name]:
                    del self._inside[name]


def _answer_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, UnknownMigration | Busy):
        status_code = 404 if isinstance(error, UnknownMigration) else 503
        return error_reply(status_code, str(error), error.hint, error.exit_code)
    return answer_error(request, error)
