"""SCRAM as the RFCs show it, and every way in which a broker can be no broker."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from kmigrate.wire.sasl import SaslFailed
from kmigrate.wire.scram import ScramExchange

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = NONCE + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange() -> ScramExchange:
    """The example of RFC 7677."""
    return ScramExchange("SCRAM-SHA-256", "user", "pencil", NONCE)


def test_the_example_of_rfc_7677() -> None:
    ours = exchange()
    assert ours.first() == f"n,,n=user,r={NONCE}".encode()
    assert ours.next(FIRST) == (f"c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode())
    assert ours.next(FINAL) is None


def test_sha_512_by_the_formulas_of_rfc_5802() -> None:
    """The RFCs have no example: what the broker would compute, spelled out by another library's primitives."""
    ours = ScramExchange("SCRAM-SHA-512", "user", "pencil", "abc")
    first = b"r=abcdef,s=c2FsdA==,i=4097"
    proof = ours.next(first)
    assert proof is not None
    salted = hashlib.pbkdf2_hmac("sha512", b"pencil", b"salt", 4097)
    client_key = hmac.new(salted, b"Client Key", "sha512").digest()
    signed = b"n=user,r=abc," + first + b",c=biws,r=abcdef"
    signature = hmac.new(hashlib.sha512(client_key).digest(), signed, "sha512").digest()
    sent = base64.b64decode(proof.rpartition(b",p=")[2])
    recovered = bytes(a ^ b for a, b in zip(sent, signature, strict=True))
    assert hashlib.sha512(recovered).digest() == hashlib.sha512(client_key).digest(), "as the broker checks it"
    server_key = hmac.new(salted, b"Server Key", "sha512").digest()
    assert ours.next(b"v=" + base64.b64encode(hmac.new(server_key, signed, "sha512").digest())) is None


def test_signs_in_a_name_are_escaped() -> None:
    assert ScramExchange("SCRAM-SHA-256", "a=b,c", "p", "n").first() == b"n,,n=a=3Db=2Cc,r=n"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "not an answer to ours"),
        (f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode(), "not an answer to ours"),
        (f"m=x,r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode(), "not an answer to ours"),
        (f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095".encode(), "iterations"),
        (f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001".encode(), "iterations"),
        (f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-4096".encode(), "iterations"),
        (f"r={SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=9999999999999".encode(), "iterations"),
        (f"r={SERVER_NONCE},s=!,i=4096".encode(), "base64"),
        (f"r={SERVER_NONCE},i=4096".encode(), "lacks a part"),
        (b"", "not an answer to ours"),
        (b"\xff\xfe", "not text"),
    ],
)
def test_a_first_message_that_cannot_be_is_refused(first: bytes, why: str) -> None:
    with pytest.raises(SaslFailed, match=why):
        exchange().next(first)


@pytest.mark.parametrize(
    ("final", "why"),
    [
        (b"v=" + base64.b64encode(b"x" * 32), "does not know the password"),
        (b"v=", "lacks a part"),
        (b"", "lacks a part"),
        (b"e=invalid-proof", "the broker refused: invalid-proof"),
    ],
)
def test_a_broker_that_does_not_prove_itself_is_refused(final: bytes, why: str) -> None:
    ours = exchange()
    ours.next(FIRST)
    with pytest.raises(SaslFailed, match=why):
        ours.next(final)


def test_nothing_comes_after_the_end() -> None:
    ours = exchange()
    ours.next(FIRST)
    ours.next(FINAL)
    with pytest.raises(SaslFailed, match="after the end"):
        ours.next(FINAL)
