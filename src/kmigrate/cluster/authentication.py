"""Says to a broker who we are: the exchange that the settings want, over calls on one connection.

Nothing that is raised here has a cause that could hold a password or a token.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from kmigrate.access.security import Mechanism, Password, Sasl
from kmigrate.cluster.tokens import TokenFailed, Tokens
from kmigrate.wire.call import Call, error_name
from kmigrate.wire.sasl import BearerExchange, Exchange, PlainExchange, SaslFailed, sasl_authenticate, sasl_handshake
from kmigrate.wire.scram import ScramExchange

T = TypeVar("T")
UNSUPPORTED_MECHANISM = 33
ILLEGAL_STATE = 34
_MOST_STEPS = 8

TOKENS = Tokens()
"""Those of this process: all its connections share them."""

_CHECK_PASSWORD = (
    "check user and password; for SCRAM the user must exist on this cluster, in this mechanism: "
    "kafka-configs --describe --entity-type users"
)
_CHECK_TOKEN = "check client id, client secret, scope and sasl.oauthbearer.token.endpoint.url"


class NotAuthenticated(NamedTuple):
    """Why a broker does not take us, and what can be done."""

    reason: str
    hint: str


def authenticate(call: Callable[[Call[Any]], Any], sasl: Sasl, tokens: Tokens = TOKENS) -> int | NotAuthenticated:
    """Runs the exchange; returns after how many milliseconds the session ends (0: never).

    `call` sends one and gives its answer, and may raise what a connection raises.
    """
    hint = _CHECK_TOKEN if sasl.mechanism is Mechanism.OAUTHBEARER else _CHECK_PASSWORD
    try:
        exchange = _exchange(sasl, tokens)
    except TokenFailed as error:
        return NotAuthenticated(f"no token: {error}", _CHECK_TOKEN)
    handshake = call(sasl_handshake(sasl.mechanism))
    if handshake.error == UNSUPPORTED_MECHANISM:
        offered = ", ".join(handshake.mechanisms) or "none"
        return NotAuthenticated(
            f"the broker does not take this mechanism on this listener; it takes {offered}", "set sasl.mechanism"
        )
    if handshake.error == ILLEGAL_STATE:
        return NotAuthenticated(
            "this listener wants no SASL", "security.protocol must be that of the listener: PLAINTEXT or SSL"
        )
    if handshake.error:
        return NotAuthenticated(f"the broker refused: {error_name(handshake.error)} ({handshake.error})", hint)
    message: bytes | None = exchange.first()
    for _ in range(_MOST_STEPS):
        answer = call(sasl_authenticate(message or b""))
        if answer.error:
            words = answer.message or error_name(answer.error)
            return NotAuthenticated(f"the broker refused: {words}", hint)
        try:
            message = exchange.next(answer.challenge)
        except SaslFailed as error:
            return NotAuthenticated(str(error), hint)
        if message is None:
            return int(answer.lifetime_ms)
    return NotAuthenticated("the broker never ends the exchange", hint)


def _exchange(sasl: Sasl, tokens: Tokens) -> Exchange:
    credentials = sasl.credentials
    if not isinstance(credentials, Password):
        return BearerExchange(tokens.take(credentials).reveal(), credentials.extensions)
    password = credentials.password.reveal()
    if sasl.mechanism is Mechanism.PLAIN:
        return PlainExchange(credentials.user, password)
    return ScramExchange(sasl.mechanism, credentials.user, password, secrets.token_urlsafe(24))
