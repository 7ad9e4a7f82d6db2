"""Tokens are shared, renewed in time, and never shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from kmigrate.access.security import ClientCredentials, Secret
from kmigrate.cluster.tokens import Issued, TokenFailed, Tokens, parse_answer

CREDENTIALS = ClientCredentials(url="https://login.example/token", client_id="me", client_secret=Secret("hunter2"))


class Endpoint:
    """Hands out numbered tokens, or fails."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seconds = 10.0
        self.asked = 0
        self.down = False

    def fetch(self, credentials: ClientCredentials) -> Issued:
        self.asked += 1
        if self.down:
            raise TokenFailed("down")
        return Issued(Secret(f"token {self.asked}"), self.seconds)

    def tokens(self) -> Callable[[ClientCredentials], Secret]:
        return Tokens(self.fetch, lambda: self.now).take


def test_a_token_is_asked_for_once_and_again_before_its_end() -> None:
    endpoint = Endpoint()
    take = endpoint.tokens()
    assert {take(CREDENTIALS).reveal() for _ in range(3)} == {"token 1"}
    endpoint.now += 7.9
    assert take(CREDENTIALS).reveal() == "token 1"
    endpoint.now += 0.1
    assert take(CREDENTIALS).reveal() == "token 2"


def test_each_client_has_a_token_of_its_own() -> None:
    endpoint = Endpoint()
    take = endpoint.tokens()
    other = ClientCredentials(url=CREDENTIALS.url, client_id="me", client_secret=Secret("another"))
    assert take(CREDENTIALS) != take(other)


def test_a_token_that_cannot_be_renewed_is_used_to_its_end() -> None:
    endpoint = Endpoint()
    take = endpoint.tokens()
    take(CREDENTIALS)
    endpoint.down = True
    endpoint.now += 9.9
    assert take(CREDENTIALS).reveal() == "token 1"
    endpoint.now += 0.1
    with pytest.raises(TokenFailed):
        take(CREDENTIALS)


def test_a_token_of_unknown_life_is_never_kept() -> None:
    endpoint = Endpoint()
    endpoint.seconds = 0.0
    take = endpoint.tokens()
    assert take(CREDENTIALS) != take(CREDENTIALS)


def jwt(claims: dict[str, object]) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}."


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"access_token": "abc", "expires_in": 300}, 300.0),
        ({"access_token": "abc", "expires_in": "300"}, 300.0),
        ({"access_token": jwt({"exp": 1060})}, 60.0),
        ({"access_token": jwt({})}, 0.0),
        ({"access_token": "abc"}, 0.0),
    ],
)
def test_the_life_of_a_token_is_what_the_endpoint_or_the_token_says(answer: dict[str, object], seconds: float) -> None:
    issued = parse_answer(json.dumps(answer).encode(), "place", 1000.0)
    assert (issued.token.reveal(), issued.seconds) == (answer["access_token"], seconds)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"access_token": 5}',
        b'{"access_token": ""}',
        b'{"access_token": "a hunter2", "expires_in": 1}',
        b'{"access_token": "hunter2", "expires_in": "soon"}',
        b"hunter2 \xff",
    ],
)
def test_an_answer_without_a_token_is_not_quoted(answer: bytes) -> None:
    with pytest.raises(TokenFailed) as caught:
        parse_answer(answer, "https://login.example/token", 0.0)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "https://login.example/token" in str(caught.value)
