"""SCRAM-SHA-256 and SCRAM-SHA-512 from the client's side: bytes in, bytes out, and the broker must prove itself too.

As Kafka does it: names and passwords are taken as UTF-8 without SASLprep, and no channel is bound.

Reference: RFC 5802, RFC 7677; `org.apache.kafka.common.security.scram.internals.ScramSaslClient`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from kmigrate.wire.sasl import SaslFailed

FEWEST_ITERATIONS = 4096
MOST_ITERATIONS = 1_000_000
"""Kafka takes at most 16,384; more than this would keep us busy at a stranger's word."""
_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_NO_BINDING = b"n,,"


class ScramExchange:
    """One exchange; `nonce` is printable ASCII without a comma that nobody can guess and nobody used before."""

    def __init__(self, mechanism: str, user: str, password: str, nonce: str) -> None:
        self._hash = _HASHES[mechanism]
        self._password = password.encode()
        self._nonce = nonce
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}".encode()
        self._signature: bytes | None = None
        self._is_proven = False

    def first(self) -> bytes:
        return _NO_BINDING + self._bare

    def next(self, challenge: bytes) -> bytes | None:
        """The answer to the broker's message; None once it has proven that it knows the password too."""
        fields = _fields(challenge)
        if self._is_proven:
            raise SaslFailed("the broker goes on after the end of the exchange")
        if self._signature is None:
            return self._final(challenge, fields)
        if "e" in fields:
            raise SaslFailed(f"the broker refused: {fields['e']}")
        if not hmac.compare_digest(_decoded(fields, "v"), self._signature):
            raise SaslFailed("the broker does not know the password: it cannot be trusted")
        self._is_proven = True
        return None

    def _final(self, challenge: bytes, fields: dict[str, str]) -> bytes:
        nonce, iterations = fields.get("r", ""), fields.get("i", "")
        if "m" in fields or not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SaslFailed("the broker's first message is not an answer to ours")
        if not iterations.isdecimal() or not FEWEST_ITERATIONS <= int(iterations[:9]) <= MOST_ITERATIONS:
            raise SaslFailed(
                f"the broker wants a number of iterations that is not from {FEWEST_ITERATIONS} to {MOST_ITERATIONS}"
            )
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, _decoded(fields, "s"), int(iterations))
        client_key = self._hmac(salted, b"Client Key")
        without_proof = b"c=" + base64.b64encode(_NO_BINDING) + b",r=" + nonce.encode()
        signed = b",".join((self._bare, challenge, without_proof))
        signature = self._hmac(hashlib.new(self._hash, client_key).digest(), signed)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        proof = bytes(key ^ sign for key, sign in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self._hash)


def _fields(message: bytes) -> dict[str, str]:
    try:
        parts = [part.partition("=") for part in message.decode("utf-8").split(",")]
    except UnicodeDecodeError:
        raise SaslFailed("the broker's message is not text") from None
    return {name: value for name, _, value in parts}


def _decoded(fields: dict[str, str], name: str) -> bytes:
    try:
        found = base64.b64decode(fields.get(name, ""), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise SaslFailed("the broker's message lacks a part, or one is not base64")
    return found
