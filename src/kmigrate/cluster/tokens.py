"""Tokens for OAUTHBEARER: asked for over https, shared by all connections of a process, and renewed before they end.

Rule: the client's secret goes to the token endpoint and nowhere else. No redirect is followed, and no error keeps what
was sent or answered.

Reference: RFC 6749 §4.4 (client credentials), RFC 6750; `HttpAccessTokenRetriever` in Kafka's clients.
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus

from kmigrate.access.security import ClientCredentials, Secret
from kmigrate.cluster.clock import steady_seconds
from kmigrate.cluster.tls import TlsFailed, load_trust

if TYPE_CHECKING:
    import httpx

RENEW_PART = 0.8
"""A token is asked for anew once this part of its life is over: before sessions that end with it must be renewed."""
TIMEOUT_SECONDS = 10.0
MOST_BYTES = 1 << 20
LONGEST_SECONDS = 86_400.0


class TokenFailed(Exception):
    """Why there is no token; holds neither secret nor answer."""


class Issued(NamedTuple):
    """A token and for how long it is good; 0 where nobody says."""

    token: Secret
    seconds: float


@dataclass(slots=True)
class _Kept:
    """The last token of one client, and who asks for the next one."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: Secret | None = None
    renew_at: float = 0.0
    ends_at: float = 0.0


class Tokens:
    """The tokens of one process."""

    def __init__(
        self,
        fetch: Callable[[ClientCredentials], Issued] | None = None,
        clock: Callable[[], float] = steady_seconds,
    ) -> None:
        self._fetch = fetch or fetch_token
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[ClientCredentials, _Kept] = {}

    def take(self, credentials: ClientCredentials) -> Secret:
        """A token that is good now; raises TokenFailed. One that cannot be renewed is used to its end."""
        with self._lock:
            kept = self._kept.setdefault(credentials, _Kept())
        with kept.lock:
            now = self._clock()
            if kept.token is not None and now < kept.renew_at:
                return kept.token
            try:
                issued = self._fetch(credentials)
            except TokenFailed:
                if kept.token is not None and now < kept.ends_at:
                    return kept.token
                raise
            kept.token = issued.token
            kept.renew_at = now + issued.seconds * RENEW_PART
            kept.ends_at = now + issued.seconds
            return issued.token


def fetch_token(credentials: ClientCredentials) -> Issued:
    """Asks the token endpoint for a token; raises TokenFailed."""
    import httpx  # only who uses tokens pays for it

    place = credentials.url.partition("?")[0]
    try:
        context = ssl.create_default_context()
        if credentials.trust is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_trust(context, credentials.trust)
        with httpx.Client(verify=context, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client:
            status, answer = _ask(client, credentials)
    except TlsFailed as error:
        raise TokenFailed(f"{place}: {error}") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise TokenFailed(f"{place} does not answer: {_words(error)}") from None
    if status != 200:
        raise TokenFailed(f"{place} answers {status}{_oauth_error(answer)}")
    return parse_answer(answer, place, time.time())


def _ask(client: httpx.Client, credentials: ClientCredentials) -> tuple[int, bytes]:
    user, secret = credentials.client_id, credentials.client_secret.reveal()
    if credentials.url_encoded:
        user, secret = quote_plus(user), quote_plus(secret)
    form = {"grant_type": "client_credentials"} | ({"scope": credentials.scope} if credentials.scope else {})
    basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
    with client.stream("POST", credentials.url, data=form, headers=headers) as response:
        answer = bytearray()
        for piece in response.iter_bytes():
            answer += piece
            if len(answer) > MOST_BYTES:
                break
        return response.status_code, bytes(answer)


def parse_answer(answer: bytes, place: str, now: float) -> Issued:
    """The token of an endpoint's answer; raises TokenFailed, without a word of what the answer holds."""
    try:
        told = json.loads(answer)
        token = told["access_token"]
        seconds = float(told["expires_in"]) if "expires_in" in told else _claimed_end(token) - now
    except (ValueError, KeyError, TypeError):
        raise TokenFailed(f"{place}: the answer holds no access_token") from None
    if not isinstance(token, str) or not token or any(not 32 < ord(letter) < 127 for letter in token):
        raise TokenFailed(f"{place}: the access_token is no token")
    return Issued(Secret(token), min(max(0.0, seconds), LONGEST_SECONDS))


def claim_of(token: object, name: str) -> object:
    """What a JWT claims under this name, unproven; None where it is no JWT, or claims nothing.  (pure)"""
    try:
        body = str(token).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return None
    return claims.get(name) if isinstance(claims, dict) else None


def _claimed_end(token: object) -> float:
    """When a JWT says that it ends; 0 where it says nothing."""
    claimed = claim_of(token, "exp")
    return float(claimed) if isinstance(claimed, int | float | str) else 0.0


def _oauth_error(answer: bytes) -> str:
    """The error code of RFC 6749, of which there are few; nothing else of the answer is repeated."""
    known = ("invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client")
    try:
        error = json.loads(answer).get("error")
    except (ValueError, AttributeError):
        return ""
    return f": {error}" if error in known else ""


def _words(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
