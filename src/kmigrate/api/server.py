"""Applications are served from threads of their own: an owner's on the migration's unix socket, serve's on its own.

Rule: copying never waits for the API: FastAPI and uvicorn are imported in the thread, and only when somebody comes:
they take half a second and 25 MB, which a copy that nobody asks anything does without. Who serves at a path has its
lock, so a socket file that is already there is a dead process's and is replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from kmigrate.cluster.bell import Bell
from kmigrate.errors import KmigrateError
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import Ownership, create_socket_folder
from kmigrate.runner.lookup import Lookup

if TYPE_CHECKING:
    from uvicorn import Server

log = logging.getLogger(__name__)

Asgi: TypeAlias = Callable[..., Any]
"""An application as uvicorn takes it."""

BACKLOG = 16
STOP_SECONDS = 2.0


class AppServer:
    """Serves an application from `start` to `stop`, on what `listen` opens; a context manager.

    At most `at_once` connections and requests together are there at a time; None: nobody counts.
    """

    def __init__(
        self,
        make_app: Callable[[], Asgi],
        listen: Callable[[], socket.socket],
        *,
        name: str = "api",
        at_once: int | None = None,
    ) -> None:
        self._make_app = make_app
        self._listen = listen
        self._at_once = at_once
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._server: Server | None = None
        self._stopping = threading.Event()
        self._bell: Bell | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Opens the socket and starts the thread; clients that connect early are answered once it serves."""
        self._socket = self._listen()
        self._bell = Bell()
        if self._socket.family == socket.AF_UNIX:
            self._path = Path(self._socket.getsockname())
        self._thread.start()

    def stop(self) -> None:
        """Ends serving within moments and removes a socket's file; safe to call twice."""
        self._stopping.set()
        if self._bell is not None:
            self._bell.ring()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._path.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        try:
            if not self._is_called():
                return
            import uvicorn

            config = uvicorn.Config(
                self._make_app(),
                limit_concurrency=self._at_once,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=1,
            )
            self._server = uvicorn.Server(config)
            if self._socket is not None and not self._stopping.is_set():
                self._server.run(sockets=[self._socket])
        except Exception:  # the outermost edge of this thread: copying goes on without the API
            log.exception("the API ended; commands cannot reach this process")

    def _is_called(self) -> bool:
        """Waits until somebody connects; False if serving ends first."""
        assert self._socket is not None, "start opens it"
        assert self._bell is not None, "the same"
        waiting = select.poll()
        for each in (self._socket, self._bell):
            waiting.register(each, select.POLLIN)
        waiting.poll()
        return not self._stopping.is_set()


class ApiServer(AppServer):
    """Serves a desk and a lookup on the unix socket of a migration."""

    def __init__(self, desk: Desk, lookup: Lookup, ownership: Ownership) -> None:
        def make_app() -> Asgi:
            from kmigrate.api.app import create_app

            return create_app(desk, lookup)

        path = Path(ownership.note.socket)
        super().__init__(make_app, lambda: listen_privately(path))


def listen_privately(path: Path) -> socket.socket:
    """A listening unix socket with mode 0600 at the path."""
    create_socket_folder(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise KmigrateError(
            f"cannot listen on {path}: {error.strerror}", hint="set XDG_RUNTIME_DIR to a folder of your own"
        ) from error
    return listener
