"""How a cluster is spoken to safely: values only, which travel to workers and are never printed with a secret in them.

Rule: whatever may be a secret is a `Secret` from where it is read to where it is used. Certificates and keys in files
stay paths: every new connection reads them as they are then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple


class Secret:
    """A text that shows itself as `***`; pickled it keeps the text: for the socket pair to a worker, nothing else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> tuple[Callable[[str], Secret], tuple[Any, ...]]:
        return Secret, (self._text,)


class Protocol(StrEnum):
    """What stands in `security.protocol`."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_tls(self) -> bool:
        return self in (Protocol.SSL, Protocol.SASL_SSL)

    @property
    def has_sasl(self) -> bool:
        return self in (Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL)


class Mechanism(StrEnum):
    """What stands in `sasl.mechanism`."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True)
class PemFile:
    """Certificates or a key in a file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PemText:
    """Certificates or a key that stand in a property, named by its key."""

    key: str
    text: Secret

    def __str__(self) -> str:
        return self.key


Pem = PemFile | PemText


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a broker sees of us: `key` None means that it stands beside the certificates."""

    certificates: Pem
    key: Pem | None = None
    key_password: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How brokers prove who they are, and we to them; `trust` None means this machine's authorities."""

    trust: Pem | None = None
    certificate: ClientCertificate | None = None
    check_certificate: bool = True
    check_host_name: bool = True
    versions: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """Who we are to PLAIN and SCRAM."""

    user: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """Where tokens come from and who asks for them; `trust` is for that place alone.

    `extensions` go to the broker with each token.
    """

    url: str
    client_id: str
    client_secret: Secret
    scope: str = ""
    extensions: tuple[tuple[str, str], ...] = ()
    url_encoded: bool = False
    trust: Pem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sasl:
    """How we say who we are."""

    mechanism: Mechanism
    credentials: Password | ClientCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """A listener's protocol, and what it needs: `tls` and `sasl` are there if the protocol has them."""

    tls: Tls | None = None
    sasl: Sasl | None = None


NO_SECURITY = Security()


class Principal(NamedTuple):
    """`User:app` and what that rests on; without a name, why it is not known. Neither holds a secret."""

    name: str | None
    basis: str

    @property
    def user(self) -> str | None:
        """The name as quotas have it."""
        return None if self.name is None else self.name.partition(":")[2]
