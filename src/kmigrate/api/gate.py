"""What stands before serve's application: a limit for bodies and, on TCP, a token.

Rule: without the token nothing is answered, not even that there is something. A body that is too large is refused by
its announced length, or cut off when it turns out to be.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html, RFC 6750.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 8_000_000
"""A manifest of the largest size, with every character escaped, fits in."""


class BodyLimit:
    """Refuses requests with a body above the limit."""

    def __init__(self, app: App, *, most_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced) > self._most_bytes:
            await self._refuse(send)
            return
        taken, begun = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= self._most_bytes else {"type": "http.disconnect"}

        async def noted(message: Message) -> None:
            nonlocal begun
            if begun or taken <= self._most_bytes:  # what is said about a body that was cut off is not meant
                begun = True
                await send(message)

        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, counted, noted)
        if not begun and taken > self._most_bytes:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        error = f"the request has more than {self._most_bytes:,} bytes"
        await _answer(send, 413, error, "one regular expression may select many topics")


class TokenGate:
    """Lets only requests through that bring the token, as `Authorization: Bearer`."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not hmac.compare_digest(_header(scope, b"authorization"), self._expected):
            hint = "send the token of serve.token in the state folder: Authorization: Bearer …"
            await _answer(send, 401, "the request brings no valid token", hint, (b"www-authenticate", b"Bearer"))
            return
        await self._app(scope, receive, send)


def _header(scope: Message, name: bytes) -> bytes:
    found: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return found


async def _answer(send: Send, status: int, error: str, hint: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": error, "hint": hint, "exitCode": 2}).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": [*told, *headers]})
    await send({"type": "http.response.body", "body": body})
