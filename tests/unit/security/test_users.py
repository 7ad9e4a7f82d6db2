"""SCRAM users are set from references or listed; a password is salted here and never shown."""

from __future__ import annotations

import base64
import hmac

from kmigrate.security.users import UserFate, decide_users, salt_password
from kmigrate.wire.user_calls import ScramMechanism

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
PRINCIPALS = {"User:app": "User:app2"}


def test_a_user_is_set_from_the_manifest_or_left_to_the_operator() -> None:
    source = {"app": {SHA_256: 8192, SHA_512: 4096}, "bob": {SHA_256: 4096}}
    found = decide_users(
        source, {"bob": {SHA_256: 4096}}, {("app2", SHA_256): 10_000, ("eve", SHA_512): 4096}, PRINCIPALS
    )
    assert [(each.user, each.mechanism, each.iterations, each.fate) for each in found] == [
        ("app2", SHA_256, 10_000, UserFate.SET),
        ("app2", SHA_512, 4096, UserFate.BY_HAND),
        ("bob", SHA_256, 4096, UserFate.PRESENT),
        ("eve", SHA_512, 4096, UserFate.SET),
    ]
    assert "--entity-name app2" in found[1].reason


def test_one_that_the_target_has_is_not_set_again() -> None:
    (found,) = decide_users({}, {"eve": {SHA_256: 4096}}, {("eve", SHA_256): 4096}, {})
    assert found.fate is UserFate.PRESENT


def test_a_password_is_salted_as_the_rfc_says() -> None:
    """The exchange that RFC 7677 prints: the server's signature follows from the credential."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    found = salt_password("user", SHA_256, 4096, "pencil", salt)
    nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    messages = f"n=user,r=rOprNGfwEbeRWgbNEkqO,{nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,{nonce}"
    server_key = hmac.digest(found.salted_password, b"Server Key", "sha256")
    signature = base64.b64encode(hmac.digest(server_key, messages.encode(), "sha256"))
    assert signature == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_credential_is_never_shown() -> None:
    found = salt_password("user", SHA_512, 4096, "pencil", b"salt")
    assert repr(found) == "Salted('user', SCRAM-SHA-512, iterations=4096)"
