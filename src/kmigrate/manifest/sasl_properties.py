"""The `sasl.*` keys of a cluster's properties, in Java's and in librdkafka's spelling.

Rule: a login module is only a place where options stand; its class is never loaded. Tokens are asked for over https
alone, since the request carries the client's secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from kmigrate.access.pem import has_certificate, unfold_pem
from kmigrate.access.security import ClientCredentials, Mechanism, Password, Pem, PemText, Sasl, Secret
from kmigrate.manifest.jaas import JaasError, LoginModule, parse_jaas
from kmigrate.manifest.security_entries import SecurityEntries
from kmigrate.manifest.settings import PropertyEntry

MECHANISM_KEYS = ("sasl.mechanism", "sasl.mechanisms")
JAAS = "sasl.jaas.config"
TOKEN_URL = "sasl.oauthbearer.token.endpoint.url"
MODULES = {
    Mechanism.PLAIN: "PlainLoginModule",
    Mechanism.SCRAM_SHA_256: "ScramLoginModule",
    Mechanism.SCRAM_SHA_512: "ScramLoginModule",
    Mechanism.OAUTHBEARER: "OAuthBearerLoginModule",
}
CLIENT_ID_KEYS = ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id")
CLIENT_SECRET_KEYS = ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret")
_EXTENSION = "extension_"


def read_sasl(entries: SecurityEntries, protocol: PropertyEntry) -> Sasl | None:
    """What the keys mean; None where a problem was told. `protocol` is the entry that asks for SASL."""
    mechanism = _mechanism(entries, protocol)
    if mechanism is None:
        return None
    options = _options(entries, mechanism)
    if options is None:
        return None
    if mechanism is Mechanism.OAUTHBEARER:
        credentials: Password | ClientCredentials | None = _client_credentials(entries, protocol, options)
    else:
        credentials = _password(entries, protocol, mechanism, options)
    return None if credentials is None else Sasl(mechanism=mechanism, credentials=credentials)


def _mechanism(entries: SecurityEntries, protocol: PropertyEntry) -> Mechanism | None:
    known = ", ".join(Mechanism)
    entry = entries.last(*MECHANISM_KEYS)
    if entry is None:
        if not entries.is_unresolved(*MECHANISM_KEYS):
            entries.tell(
                protocol,
                f"{protocol.key} wants SASL, and sasl.mechanism is missing",
                f"Java takes GSSAPI then, which is not supported by this version; supported: {known}",
            )
        return None
    try:
        return Mechanism(entry.value.strip().upper())
    except ValueError:
        named = entry.written.strip()
        entries.tell(entry, f"{entry.key}: {named!r} is not supported by this version", f"supported: {known}")
        return None


def _options(entries: SecurityEntries, mechanism: Mechanism) -> Mapping[str, str] | None:
    """The options of the login module, none without one; None where a problem was told."""
    if entries.is_unresolved(JAAS):
        return None
    entry = entries.last(JAAS)
    if entry is None:
        return {}
    try:
        module: LoginModule = parse_jaas(entry.value)
    except JaasError as error:
        entries.tell(entry, f"{JAAS} cannot be read: {error}")
        return None
    if module.name != MODULES[mechanism]:
        entries.tell(entry, f"{JAAS} must name the {MODULES[mechanism]}, as the mechanism is {mechanism}")
        return None
    if module.options.get("tokenauth", "").lower() == "true":
        entries.tell(entry, f"{JAAS}: delegation tokens (tokenauth) are not supported by this version")
        return None
    return module.options


class _Wanted:
    """Values that stand in a key or in an option of the login module, whichever comes later in the properties."""

    def __init__(self, entries: SecurityEntries, protocol: PropertyEntry, options: Mapping[str, str]) -> None:
        self._entries = entries
        self._protocol = protocol
        self._options = options
        self._jaas = entries.last(JAAS)
        self.complete = True

    def find(self, option: str, *keys: str) -> str | None:
        value = self._options.get(option)
        places = (*keys, JAAS) if value else keys
        entry = self._entries.last(*places)
        if entry is None:
            return None
        return value if entry is self._jaas else entry.value

    def need(self, what: str, option: str, *keys: str) -> str:
        """The value; without one that is a problem, and empty."""
        found = self.find(option, *keys)
        if found:
            return found
        self.complete = False
        if not self._entries.is_unresolved(*keys):
            at = self._jaas or self._protocol
            self._entries.tell(at, f"{what} is missing", f"set {keys[0]}, or {option} in {JAAS}")
        return ""


def _password(
    entries: SecurityEntries, protocol: PropertyEntry, mechanism: Mechanism, options: Mapping[str, str]
) -> Password | None:
    wanted = _Wanted(entries, protocol, options)
    user = wanted.need(f"the user of {mechanism}", "username", "sasl.username")
    password = wanted.need(f"the password of {mechanism}", "password", "sasl.password")
    return Password(user=user, password=Secret(password)) if wanted.complete else None


def _client_credentials(
    entries: SecurityEntries, protocol: PropertyEntry, options: Mapping[str, str]
) -> ClientCredentials | None:
    wanted = _Wanted(entries, protocol, options)
    client_id = wanted.need("the client id of OAUTHBEARER", "clientId", *CLIENT_ID_KEYS)
    secret = wanted.need("the client secret of OAUTHBEARER", "clientSecret", *CLIENT_SECRET_KEYS)
    url = _token_url(entries, protocol)
    trust = _token_trust(entries, options)
    extensions = _extensions(entries, options)
    for key, allowed in (("sasl.oauthbearer.method", ("oidc", "default")), _GRANT):
        entry = entries.last(key)
        if entry is not None and entry.value.strip().lower() not in allowed:
            entries.tell(entry, f"{key}: only {allowed[0]} is supported by this version")
    if not wanted.complete or url is None:
        return None
    return ClientCredentials(
        url=url,
        client_id=client_id,
        client_secret=Secret(secret),
        scope=wanted.find("scope", "sasl.oauthbearer.scope") or "",
        extensions=extensions,
        url_encoded=entries.flag("sasl.oauthbearer.header.urlencode", False),
        trust=trust,
    )


_GRANT = ("sasl.oauthbearer.grant.type", ("client_credentials",))


def _token_url(entries: SecurityEntries, protocol: PropertyEntry) -> str | None:
    entry = entries.last(TOKEN_URL)
    if entry is None:
        if not entries.is_unresolved(TOKEN_URL):
            entries.tell(protocol, f"OAUTHBEARER needs {TOKEN_URL}", "tokens come by client credentials, over https")
        return None
    try:
        parts = urlsplit(entry.value.strip())
        is_good = bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or parts.scheme.lower() != "https":
        entries.tell(
            entry, f"{TOKEN_URL} must be an https URL", "anything else would send the client's secret readable"
        )
        return None
    return entry.value.strip()


def _extensions(entries: SecurityEntries, options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = {
        key.removeprefix(_EXTENSION): value for key, value in options.items() if key.startswith(_EXTENSION) and value
    }
    entry = entries.last("sasl.oauthbearer.extensions")
    for part in filter(None, (part.strip() for part in (entry.value if entry else "").split(","))):
        key, equals, value = part.partition("=")
        if equals and key.isalpha() and key != "auth":
            found[key] = value
        elif entry is not None:
            entries.tell(entry, f"{entry.key} must be written as key=value,key=value; a key is letters, and not auth")
    return tuple(sorted(found.items()))


def _token_trust(entries: SecurityEntries, options: Mapping[str, str]) -> Pem | None:
    """Who signs for the token endpoint: by options of the login module, as in Java, or librdkafka's key."""
    entry, jaas = entries.last("https.ca.location"), entries.last(JAAS)
    if entry is not None:
        found = entries.pem_file(entry)
    elif jaas is not None and options.get("ssl.truststore.certificates"):
        text = unfold_pem(options["ssl.truststore.certificates"])
        entry, found = jaas, (PemText("ssl.truststore.certificates", Secret(text)), text)
    elif jaas is not None and options.get("ssl.truststore.location"):
        entry, found = jaas, entries.pem_file(jaas, options["ssl.truststore.location"])
    else:
        return None
    if found is None:
        return None
    if has_certificate(found[1]):
        return found[0]
    entries.tell(entry, f"{entry.key}: what the token endpoint is checked by holds no certificate in PEM format")
    return None
