"""Who we are to a cluster, as far as our own side can tell: what Kafka's default principal builder makes of us.

Brokers do not say it. One with `ssl.principal.mapping.rules`, a `principal.builder.class` or another claim for the
user of a token may make somebody else of us, so it comes with what it rests on.
"""

from __future__ import annotations

from kmigrate.access.security import ClientCredentials, Password, Pem, Principal, Security
from kmigrate.access.subject import NoSubject, subject_of
from kmigrate.cluster.authentication import TOKENS
from kmigrate.cluster.tls import TlsFailed, read_pem
from kmigrate.cluster.tokens import TokenFailed, Tokens, claim_of

ANONYMOUS = "User:ANONYMOUS"


def principal_of(security: Security, tokens: Tokens = TOKENS) -> Principal:
    """Who these settings make us; of a token its `sub` is read, which may have to be asked for first."""
    if security.sasl is not None:
        credentials = security.sasl.credentials
        if isinstance(credentials, Password):
            return Principal(f"User:{credentials.user}", f"the user of {security.sasl.mechanism}")
        return _of_token(credentials, tokens)
    if security.tls is not None and security.tls.certificate is not None:
        return _of_certificate(security.tls.certificate.certificates)
    return Principal(ANONYMOUS, "neither a user nor a certificate is set")


def _of_token(credentials: ClientCredentials, tokens: Tokens) -> Principal:
    try:
        subject = claim_of(tokens.take(credentials).reveal(), "sub")
    except TokenFailed as error:
        return Principal(None, f"there is no token: {error}")
    if not isinstance(subject, str) or not subject:
        return Principal(None, "the token is for the broker alone to read: it shows no claim `sub`")
    return Principal(f"User:{subject}", "the claim `sub` of the token")


def _of_certificate(pem: Pem) -> Principal:
    try:
        subject = subject_of(read_pem(pem))
    except (TlsFailed, NoSubject) as error:
        return Principal(None, f"the certificate {pem} tells no subject: {error}")
    if not subject:
        return Principal(None, f"the subject of the certificate {pem} is empty")
    return Principal(f"User:{subject}", f"the subject of the certificate {pem}, if the listener asks for it")
