"""The owner serves its desk, and look-ups of offsets, on the migration's unix socket, from a thread of its own.

Rule: copying never waits for the API: FastAPI and uvicorn are imported in the thread. Only the owner of the
folder serves, so a socket file that is already there is a dead owner's and is replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kmigrate.errors import KmigrateError
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import Ownership, create_socket_folder
from kmigrate.runner.lookup import Lookup

if TYPE_CHECKING:
    from uvicorn import Server

log = logging.getLogger(__name__)

BACKLOG = 16
STOP_SECONDS = 2.0


class ApiServer:
    """Serves a desk and a lookup from `start` to `stop`; a context manager."""

    def __init__(self, desk: Desk, lookup: Lookup, ownership: Ownership) -> None:
        self.path = Path(ownership.note.socket)
        self._desk = desk
        self._lookup = lookup
        self._socket: socket.socket | None = None
        self._server: Server | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)

    def start(self) -> None:
        """Opens the socket and starts the thread; clients that connect early are answered once it serves."""
        self._socket = _listen(self.path)
        self._thread.start()

    def stop(self) -> None:
        """Ends serving within moments and removes the socket's file; safe to call twice."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                self.path.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        try:
            import uvicorn

            from kmigrate.api.app import create_app

            config = uvicorn.Config(
                create_app(self._desk, self._lookup),
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
            log.exception("the API ended; commands cannot reach this owner")


def _listen(path: Path) -> socket.socket:
    """A listening socket with mode 0600 at the path."""
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
