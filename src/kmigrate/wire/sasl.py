"""SASL as Kafka frames it: two calls, and the exchanges of PLAIN and OAUTHBEARER.

An exchange is bytes in, bytes out: `first` is sent, each answer of the broker goes into `next`, until that is None.

Reference: KIP-43, KIP-152, KIP-368 (session lifetimes); RFC 4616, RFC 7628.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kmigrate.wire.call import Call
from kmigrate.wire.library import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

_SEPARATOR = "\x01"


class SaslFailed(Exception):
    """Why an exchange cannot go on; holds no secret."""


class Exchange(Protocol):
    """One side of an authentication."""

    def first(self) -> bytes:
        """What is sent first."""

    def next(self, challenge: bytes) -> bytes | None:
        """What is sent next; None at the end. Raises SaslFailed."""


class Handshake(NamedTuple):
    """Whether the broker takes the mechanism, and which ones it has."""

    error: int
    mechanisms: tuple[str, ...]


class Authenticated(NamedTuple):
    """A broker's step; `lifetime_ms` is how long the session lasts from the last one on, 0 for ever."""

    error: int
    message: str
    challenge: bytes
    lifetime_ms: int


class PlainExchange:
    """The password as it is, in one message."""

    def __init__(self, user: str, password: str) -> None:
        self._message = f"\0{user}\0{password}".encode()

    def first(self) -> bytes:
        return self._message

    def next(self, challenge: bytes) -> bytes | None:
        return None


class BearerExchange:
    """A token in one message; a broker that refuses it says why, and wants one more to say no."""

    def __init__(self, token: str, extensions: Sequence[tuple[str, str]] = ()) -> None:
        pairs = [f"auth=Bearer {token}", *(f"{key}={value}" for key, value in extensions)]
        self._message = f"n,,{_SEPARATOR}{_SEPARATOR.join(pairs)}{_SEPARATOR}{_SEPARATOR}".encode()
        self._refusal = ""

    def first(self) -> bytes:
        return self._message

    def next(self, challenge: bytes) -> bytes | None:
        if self._refusal:
            raise SaslFailed(f"the broker refused the token: {self._refusal}")
        if not challenge:
            return None
        self._refusal = challenge.decode("utf-8", errors="replace")
        return _SEPARATOR.encode()


def sasl_handshake(mechanism: str) -> Call[Handshake]:
    """Asks for a mechanism; also how a session begins anew on a connection that has one."""
    return Call(
        what="SaslHandshake",
        request=SaslHandshakeRequest,
        response=SaslHandshakeResponse,
        oldest=1,
        newest=1,
        build=lambda _version: SaslHandshakeRequest(mechanism=mechanism),
        parse=lambda answer: Handshake(answer.error_code, tuple(answer.mechanisms)),
    )


def sasl_authenticate(message: bytes) -> Call[Authenticated]:
    """One step of the exchange."""
    return Call(
        what="SaslAuthenticate",
        request=SaslAuthenticateRequest,
        response=SaslAuthenticateResponse,
        oldest=0,
        newest=2,
        build=lambda _version: SaslAuthenticateRequest(auth_bytes=message),
        parse=lambda answer: Authenticated(
            answer.error_code,
            answer.error_message or "",
            bytes(answer.auth_bytes or b""),
            int(getattr(answer, "session_lifetime_ms", 0) or 0),
        ),
    )
