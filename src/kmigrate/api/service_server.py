"""Serve's application on its unix socket and, on request, on a loopback port with a token.

Rule: nothing leaves this machine by itself, and whoever can open the socket or read the token's file is the user.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kmigrate.api.gate import BodyLimit, TokenGate
from kmigrate.api.loopback import parse_address
from kmigrate.api.server import BACKLOG, AppServer, Asgi, listen_privately
from kmigrate.api.token_file import read_token
from kmigrate.errors import KmigrateError
from kmigrate.runner.folder import OwnerNote
from kmigrate.serve.supervisor import Supervisor

MOST_AT_ONCE = 64
"""Connections and requests together, on each of the two."""


def check_listen(address: str) -> tuple[str, int]:
    """Host and port of --listen; raises UsageError unless they are this machine's."""
    return parse_address(address, option="--listen", served="the API is")


@contextmanager
def serving(supervisor: Supervisor, note: OwnerNote, *, listen: str | None) -> Iterator[int | None]:
    """Serves until the end of the block; gives the TCP port, if one was asked for.

    Raises KmigrateError if it is taken, Refused if the token's file is not private.
    """

    def make_app() -> Asgi:
        from kmigrate.api.service import create_service

        return BodyLimit(create_service(supervisor, note))

    with ExitStack() as stack:
        path = Path(note.socket)
        stack.enter_context(AppServer(make_app, lambda: listen_privately(path), at_once=MOST_AT_ONCE))
        if listen is None:
            yield None
            return
        token = read_token(supervisor.roster.token)
        listener = _listen(listen)
        stack.enter_context(
            AppServer(lambda: TokenGate(make_app(), token), lambda: listener, name="api-tcp", at_once=MOST_AT_ONCE)
        )
        yield listener.getsockname()[1]


def _listen(address: str) -> socket.socket:
    host, port = check_listen(address)
    try:
        (family, kind, protocol, _, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise KmigrateError(
            f"cannot listen on {address}: {error.strerror}", hint="choose another port for --listen"
        ) from error
    return listener
