"""Who we are is told where it follows from our own settings, and is said to be unknown where it does not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from kmigrate.access.security import Principal, Secret, Security
from kmigrate.cluster.principal import principal_of
from kmigrate.cluster.tokens import Issued, TokenFailed, Tokens
from kmigrate.manifest.security_properties import interpret_security
from kmigrate.manifest.settings import PropertyEntry
from tests.secured.certificates import Authority

SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


def security(**properties: str) -> Security:
    entries = {
        key: PropertyEntry(key=key, written=value, value=value, secret=False, file="test", line=None)
        for key, value in ((name.replace("_", "."), value) for name, value in properties.items())
    }
    found = interpret_security(entries)
    assert found.security is not None, found.problems
    return found.security


def name_of(**properties: str) -> str | None:
    return principal_of(security(**properties)).name


def test_without_user_and_certificate_we_are_nobody() -> None:
    assert name_of() == name_of(security_protocol="SSL") == "User:ANONYMOUS"


@pytest.mark.parametrize(
    ("mechanism", "module"), [("PLAIN", PLAIN), ("SCRAM-SHA-256", SCRAM), ("SCRAM-SHA-512", SCRAM)]
)
def test_a_user_is_found_in_either_spelling(mechanism: str, module: str) -> None:
    jaas = f"{module} required username=\"a user\" password='hunter2';"
    common = {"security_protocol": "SASL_SSL", "sasl_mechanism": mechanism}
    assert name_of(**common, sasl_jaas_config=jaas) == "User:a user"
    assert name_of(**common, sasl_username="app", sasl_password="hunter2") == "User:app"


def token_user(token: str | Exception) -> Principal:
    def fetch(_credentials: object) -> Issued:
        if isinstance(token, Exception):
            raise token
        return Issued(Secret(token), 60.0)

    oauth = security(
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauthbearer_token_endpoint_url="https://login.example/token",
        sasl_jaas_config=f"{OAUTH} required clientId='me' clientSecret='hunter2';",
    )
    return principal_of(oauth, Tokens(fetch))


def jwt(claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}."


def test_a_token_tells_its_subject() -> None:
    assert token_user(jwt({"sub": "copier", "exp": 1})).name == "User:copier"


@pytest.mark.parametrize("token", ["opaque", "a.b.c", jwt({}), jwt({"sub": 7}), jwt({"sub": ""}), jwt(["sub"])])
def test_a_token_that_shows_no_subject_leaves_it_unknown(token: str) -> None:
    found = token_user(token)
    assert found.name is None
    assert "no claim `sub`" in found.basis
    assert token not in found.basis


def test_without_a_token_it_is_unknown_why() -> None:
    assert token_user(TokenFailed("login.example answers 401")) == Principal(
        None, "there is no token: login.example answers 401"
    )


def test_a_client_certificate_tells_its_subject_unless_a_user_is_named(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("copier")
    mine = {"ssl_keystore_type": "PEM", "ssl_keystore_location": str(pair.both)}
    found = principal_of(security(security_protocol="SSL", **mine))
    assert found.name == "User:CN=copier"
    assert "if the listener asks for it" in found.basis
    user = {"sasl_mechanism": "PLAIN", "sasl_username": "app", "sasl_password": "hunter2"}
    assert name_of(security_protocol="SASL_SSL", **mine, **user) == "User:app"


def test_a_certificate_that_is_gone_leaves_it_unknown(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("copier")
    mine = security(security_protocol="SSL", ssl_keystore_type="PEM", ssl_keystore_location=str(pair.both))
    pair.both.unlink()
    found = principal_of(mine)
    assert found.name is None
    assert str(pair.both) in found.basis
