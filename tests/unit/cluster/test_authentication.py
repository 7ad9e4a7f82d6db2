"""What a broker answers to an authentication, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kmigrate.access.security import ClientCredentials, Mechanism, Password, Sasl, Secret
from kmigrate.cluster.authentication import NotAuthenticated, authenticate
from kmigrate.cluster.tokens import Issued, TokenFailed, Tokens
from kmigrate.wire.call import Call
from kmigrate.wire.sasl import Authenticated, Handshake

PLAIN = Sasl(mechanism=Mechanism.PLAIN, credentials=Password(user="me", password=Secret("hunter2")))
SCRAM = Sasl(mechanism=Mechanism.SCRAM_SHA_256, credentials=Password(user="me", password=Secret("hunter2")))
BEARER = Sasl(
    mechanism=Mechanism.OAUTHBEARER,
    credentials=ClientCredentials(url="https://x/", client_id="me", client_secret=Secret("hunter2")),
)
GOOD = Handshake(0, ("PLAIN",))


def answering(*answers: object) -> Callable[[Call[Any]], Any]:
    left = iter(answers)
    return lambda call: next(left)


def refused(sasl: Sasl, *answers: object) -> NotAuthenticated:
    outcome = authenticate(answering(*answers), sasl, Tokens(lambda credentials: Issued(Secret("t"), 60.0)))
    assert isinstance(outcome, NotAuthenticated)
    assert "hunter2" not in str(outcome)
    return outcome


def test_a_session_lasts_as_long_as_the_last_answer_says() -> None:
    assert authenticate(answering(GOOD, Authenticated(0, "", b"", 9_000)), PLAIN) == 9_000
    assert authenticate(answering(GOOD, Authenticated(0, "", b"", 0)), PLAIN) == 0


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (
            [Handshake(33, ("GSSAPI", "PLAIN"))],
            "the broker does not take this mechanism on this listener; it takes GSSAPI, PLAIN",
        ),
        ([Handshake(34, ())], "this listener wants no SASL"),
        ([Handshake(29, ())], "the broker refused: TOPIC_AUTHORIZATION_FAILED (29)"),
        ([GOOD, Authenticated(58, "invalid credentials", b"", 0)], "the broker refused: invalid credentials"),
        ([GOOD, Authenticated(58, "", b"", 0)], "the broker refused: SASL_AUTHENTICATION_FAILED"),
    ],
)
def test_a_refusal_is_told_in_the_brokers_words(answers: list[object], reason: str) -> None:
    assert refused(PLAIN, *answers).reason == reason


def test_a_broker_that_cannot_prove_itself_is_refused() -> None:
    assert "not an answer to ours" in refused(SCRAM, GOOD, Authenticated(0, "", b"r=x,s=YQ==,i=4096", 0)).reason


def test_a_refused_token_is_told_with_what_the_broker_said() -> None:
    answers = [GOOD, Authenticated(0, "", b'{"status":"invalid_token"}', 0), Authenticated(58, "no such token", b"", 0)]
    assert refused(BEARER, *answers).reason == "the broker refused: no such token"


def test_a_broker_is_not_asked_without_a_token() -> None:
    def fail(credentials: ClientCredentials) -> Issued:
        raise TokenFailed("https://x/ answers 401: invalid_client")

    outcome = authenticate(answering(), BEARER, Tokens(fail))
    assert isinstance(outcome, NotAuthenticated)
    assert outcome.reason == "no token: https://x/ answers 401: invalid_client"
