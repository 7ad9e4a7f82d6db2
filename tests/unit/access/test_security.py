"""A secret shows itself nowhere, and still travels to a worker."""

from __future__ import annotations

import json
import pickle

import pytest

from kmigrate.access.security import ClientCertificate, Password, PemText, Secret, Security, Tls

SECRET = Secret("hunter2")


@pytest.mark.parametrize(
    "shown",
    [str(SECRET), repr(SECRET), f"{SECRET}", f"{SECRET:>10}", "%s %r" % (SECRET, SECRET), repr([SECRET])],  # noqa: UP031
)
def test_a_secret_shows_itself_as_stars(shown: str) -> None:
    assert "hunter2" not in shown
    assert "***" in shown


def test_a_secret_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(SECRET)


def test_a_secret_travels() -> None:
    assert pickle.loads(pickle.dumps(SECRET)).reveal() == "hunter2"


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))


def test_nothing_that_holds_a_secret_shows_it() -> None:
    mine = ClientCertificate(certificates=PemText("k", Secret("PEM")), key_password=SECRET)
    shown = repr((Security(tls=Tls(certificate=mine)), Password(user="u", password=SECRET)))
    assert "hunter2" not in shown
    assert "PEM'" not in shown
