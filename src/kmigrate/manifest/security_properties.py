"""What a cluster's client properties say about security becomes one value, or problems with their lines.

Rule: a key that would make connections other than they will be is refused; one that changes nothing here, such as a
clock skew that only brokers allow, is accepted. What is honoured and leaves something unprotected is told.

Reference: `org.apache.kafka.common.config.{SslConfigs,SaslConfigs}`, librdkafka's CONFIGURATION.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kmigrate.access.security import NO_SECURITY, Mechanism, Protocol, Sasl, Security
from kmigrate.errors import Problem
from kmigrate.manifest.sasl_properties import (
    CLIENT_ID_KEYS,
    CLIENT_SECRET_KEYS,
    JAAS,
    MECHANISM_KEYS,
    TOKEN_URL,
    read_sasl,
)
from kmigrate.manifest.security_entries import SecurityEntries
from kmigrate.manifest.settings import PropertyEntry
from kmigrate.manifest.tls_properties import read_tls

PROTOCOL = "security.protocol"
NOT_SUPPORTED = "is not supported by this version"

HONOURED = frozenset(
    {
        PROTOCOL,
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.grant.type",
        "sasl.oauthbearer.header.urlencode",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.password",
        "sasl.username",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.enabled.protocols",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.keystore.location",
        "ssl.keystore.type",
        "ssl.truststore.certificates",
        "ssl.truststore.location",
        "ssl.truststore.type",
        *MECHANISM_KEYS,
        *CLIENT_ID_KEYS,
        *CLIENT_SECRET_KEYS,
        JAAS,
        TOKEN_URL,
    }
)
_WITHOUT_EFFECT = (
    "sasl.kerberos.",
    "sasl.login.connect.timeout.ms",
    "sasl.login.read.timeout.ms",
    "sasl.login.refresh.",
    "sasl.login.retry.",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.",
    "sasl.oauthbearer.jwks.",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "ssl.keymanager.algorithm",
    "ssl.keystore.password",
    "ssl.protocol",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "ssl.truststore.password",
)
_STANDARD_CLASSES = {
    "sasl.login.callback.handler.class": ("OAuthBearerLoginCallbackHandler",),
    "sasl.oauthbearer.jwt.retriever.class": ("DefaultJwtRetriever", "ClientCredentialsJwtRetriever"),
    "sasl.oauthbearer.jwt.validator.class": ("DefaultJwtValidator", "ClientJwtValidator"),
}
_SECURITY_PREFIXES = ("sasl.", "ssl.")
_OTHER_KEYS = (PROTOCOL, "enable.sasl.oauthbearer.unsecure.jwt", "https.ca.location", "security.providers")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpretedSecurity:
    """What the keys mean (None: a problem says why not), and what the operator should know of it."""

    security: Security | None
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]


def interpret_security(
    all_entries: Mapping[str, PropertyEntry], unresolved: Collection[str] = ()
) -> InterpretedSecurity:
    """The security that the entries ask for; `unresolved` are keys whose references lead nowhere."""
    entries = SecurityEntries(all_entries, unresolved)
    security = _read(entries, unresolved)
    problems = tuple(entries.problems)
    return InterpretedSecurity(
        security=None if problems else security, problems=problems, notices=tuple(entries.notices)
    )


def is_security_key(key: str) -> bool:
    """Whether a key says something about security."""
    return key.startswith(_SECURITY_PREFIXES) or key in _OTHER_KEYS or key == "enable.ssl.certificate.verification"


def _read(entries: SecurityEntries, unresolved: Collection[str]) -> Security | None:
    if PROTOCOL in unresolved:
        return None
    entry = entries.last(PROTOCOL)
    try:
        protocol = Protocol.PLAINTEXT if entry is None else Protocol(entry.value.strip().upper())
    except ValueError:
        assert entry is not None, "the default is a protocol"
        entries.tell(entry, f"{PROTOCOL} must be one of {', '.join(Protocol)}")
        return None
    named = [key for key in entries if is_security_key(key) and key != PROTOCOL]
    if entry is None or protocol is Protocol.PLAINTEXT:
        if named:
            entries.notices.append(f"{', '.join(named)}: not used, as {PROTOCOL} is PLAINTEXT; nothing is encrypted")
        return NO_SECURITY
    for key in named:
        _refuse_unsupported(entries, key)
    tls = read_tls(entries) if protocol.has_tls else None
    sasl = read_sasl(entries, entry) if protocol.has_sasl else None
    if sasl is not None and tls is None:
        entries.notices.append(_unprotected(sasl))
    return Security(tls=tls, sasl=sasl)


def _refuse_unsupported(entries: SecurityEntries, key: str) -> None:
    entry = entries.entry(key)
    if entry is None or key in HONOURED or key.startswith(_WITHOUT_EFFECT) or not entry.value.strip():
        return
    if entry.value.strip().rpartition(".")[2] in _STANDARD_CLASSES.get(key, ()):
        return
    if key.startswith("enable.") and entry.value.strip().lower() == "false":
        return
    entries.tell(entry, f"{key} {NOT_SUPPORTED}", "see docs/connections.md for what is")


def _unprotected(sasl: Sasl) -> str:
    seen = {
        Mechanism.PLAIN: "the password goes over the network as it is",
        Mechanism.OAUTHBEARER: "the token goes over the network as it is",
    }.get(sasl.mechanism, "whoever listens can try passwords against what is seen, and reads all records")
    return f"{sasl.mechanism} without TLS: {seen}; use SASL_SSL"
