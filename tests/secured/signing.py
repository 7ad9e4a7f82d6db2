"""Signs tokens as an identity provider does: RS256, by `openssl`, with the public key in a JWKS file for brokers."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

AUDIENCE = "kafka"
ISSUER = "https://login.example"
_EXPONENT = 65_537


class Signer:
    """A key of its own; `jwks_url` is where brokers of this machine read its public part."""

    def __init__(self, folder: Path, key_id: str = "first") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key_id = key_id
        self._key = folder / "signing.pem"
        self.jwks = folder / "jwks.json"
        bits = ("-pkeyopt", "rsa_keygen_bits:2048")
        _openssl("genpkey", "-algorithm", "RSA", *bits, "-out", str(self._key))
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": key_id,
            "n": _encode(bytes.fromhex(modulus)),
            "e": _encode(_EXPONENT.to_bytes(3, "big")),
        }
        self.jwks.write_text(json.dumps({"keys": [key]}))

    @property
    def jwks_url(self) -> str:
        return self.jwks.as_uri()

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims, and with whom it is for and from."""
        header = {"alg": "RS256", "kid": self._key_id, "typ": "JWT"}
        parts = [
            _encode(json.dumps(each).encode()) for each in (header, {"aud": AUDIENCE, "iss": ISSUER} | dict(claims))
        ]
        signed = ".".join(parts)
        return f"{signed}.{_encode(_openssl('dgst', '-sha256', '-sign', str(self._key), told=signed.encode()))}"


@contextlib.contextmanager
def allowed(signer: Signer) -> Iterator[None]:
    """Brokers that start meanwhile may read the signer's file: since 4.0 each URL must be allowed by a JVM property."""
    name = "JDK_JAVA_OPTIONS"
    before = os.environ.get(name)
    os.environ[name] = f"{before or ''} -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={signer.jwks_url}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _openssl(*arguments: str, told: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=told, capture_output=True, check=False)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}:\n{done.stderr.decode()}"
    return done.stdout


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
