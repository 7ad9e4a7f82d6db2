"""The `ssl.*` keys of a cluster's properties, in Java's and in librdkafka's spelling.

Rule: certificate and host name are checked unless the properties say otherwise, which is told. Stores that are not PEM
are refused with the command that converts them.
"""

from __future__ import annotations

import re

from kmigrate.access.pem import has_certificate, has_key, has_locked_key
from kmigrate.access.security import ClientCertificate, Pem, Secret, Tls
from kmigrate.manifest.security_entries import SecurityEntries
from kmigrate.manifest.settings import PropertyEntry

VERSIONS = ("TLSv1.2", "TLSv1.3")
JAVA_DEFAULT_STORE = "JKS"

Found = tuple[Pem, str]


def read_tls(entries: SecurityEntries) -> Tls:
    """What the keys mean; what is wrong with them is told to `entries`."""
    check_certificate = entries.flag("enable.ssl.certificate.verification", True)
    check_host_name = _checks_host_name(entries)
    if not check_certificate:
        entries.notices.append(
            "enable.ssl.certificate.verification=false: any server is taken for a broker, so that "
            "data and credentials are not safe on the way"
        )
    elif not check_host_name:
        entries.notices.append(
            "ssl.endpoint.identification.algorithm is empty: any certificate of a trusted authority is taken for a "
            "broker's, whatever its host name"
        )
    return Tls(
        trust=_trust(entries),
        certificate=_certificate(entries),
        check_certificate=check_certificate,
        check_host_name=check_certificate and check_host_name,
        versions=_versions(entries),
    )


def conversion(kind: str, store: str, file: str) -> str:
    """How a store becomes PEM, in one line."""
    pem = re.sub(r"\.\w+$", "", file) + ".pem"
    if kind == "truststore":
        command = f"keytool -list -rfc -keystore {file} > {pem}"
    elif store == "PKCS12":
        command = f"openssl pkcs12 -in {file} -out {pem}"
    else:
        command = (
            f"keytool -importkeystore -srckeystore {file} -destkeystore {pem}.p12 -deststoretype PKCS12"
            f" && openssl pkcs12 -in {pem}.p12 -out {pem}"
        )
    return f"convert it: `{command}`, then ssl.{kind}.type=PEM and ssl.{kind}.location={pem}"


def _checks_host_name(entries: SecurityEntries) -> bool:
    key = "ssl.endpoint.identification.algorithm"
    entry = entries.entry(key)
    if entry is None or entry.value.strip().lower() == "https":
        return True
    if entry.value.strip().lower() not in ("", "none"):
        entries.tell(entry, f"{key} must be https, or empty", "empty means that host names are not checked")
    return False


def _versions(entries: SecurityEntries) -> tuple[str, ...]:
    entry = entries.last("ssl.enabled.protocols")
    if entry is None:
        return VERSIONS
    named = {part.strip() for part in entry.value.split(",")}
    wanted = tuple(version for version in VERSIONS if version in named)
    if not wanted:
        entries.tell(entry, f"{entry.key} must name one of {', '.join(VERSIONS)}")
    return wanted or VERSIONS


def _trust(entries: SecurityEntries) -> Pem | None:
    entry = entries.last("ssl.truststore.certificates", "ssl.truststore.location", "ssl.ca.location", "ssl.ca.pem")
    if entry is None:
        return None
    found = _store(entries, "truststore", entry) if entry.key.startswith("ssl.truststore.") else _pem(entries, entry)
    return _certificates_of(entries, entry, found)


def _certificate(entries: SecurityEntries) -> ClientCertificate | None:
    entry = entries.last(
        "ssl.keystore.certificate.chain", "ssl.keystore.location", "ssl.certificate.location", "ssl.certificate.pem"
    )
    if entry is None:
        for alone in filter(None, [entries.last("ssl.keystore.key", "ssl.key.location", "ssl.key.pem")]):
            entries.tell(
                alone, f"{alone.key} has no certificate beside it", "name it in ssl.keystore.certificate.chain"
            )
        return None
    if entry.key == "ssl.keystore.location":
        found = _store(entries, "keystore", entry)
        key_entry, key = entry, found
    elif entry.key == "ssl.keystore.certificate.chain":
        found = _store(entries, "keystore", entry)
        key_entry, key = _key(entries, entry, "ssl.keystore.key")
    else:
        found = _pem(entries, entry)
        key_entry, key = _key(entries, entry, "ssl.key.location", "ssl.key.pem")
    certificates = _certificates_of(entries, entry, found)
    password = entries.last("ssl.key.password")
    if key is not None:
        if not has_key(key[1]):
            entries.tell(key_entry, f"{key_entry.key} holds no private key in PEM format")
        elif has_locked_key(key[1]) and password is None and not entries.is_unresolved("ssl.key.password"):
            entries.tell(key_entry, f"{key_entry.key}: the private key is encrypted", "set ssl.key.password")
    if certificates is None or key is None:
        return None
    return ClientCertificate(
        certificates=certificates,
        key=None if key_entry is entry else key[0],
        key_password=None if password is None else Secret(password.value),
    )


def _key(entries: SecurityEntries, certificate: PropertyEntry, *keys: str) -> tuple[PropertyEntry, Found | None]:
    """The entry of the key that belongs to a certificate; without one it is looked for beside the certificate."""
    entry = entries.last(*keys)
    if entry is not None:
        return entry, _pem(entries, entry)
    if not entries.is_unresolved(*keys):
        entries.tell(certificate, f"{certificate.key} has no private key beside it", f"name it in {keys[0]}")
    return certificate, None


def _store(entries: SecurityEntries, kind: str, entry: PropertyEntry) -> Found | None:
    """What a Java store holds, if it is one in PEM format."""
    key = f"ssl.{kind}.type"
    if entries.is_unresolved(key):
        return None
    store = entries.text(key).upper() or JAVA_DEFAULT_STORE
    if store == "PEM":
        return _pem(entries, entry)
    if not entry.key.endswith(".location"):
        entries.tell(entry, f"{entry.key} needs {key}=PEM")
        return None
    shown = entry.written.strip()
    found = entries.pem_file(entry)
    if found is None:
        return None
    if has_certificate(found[1]):
        entries.tell(entry, f"{entry.key}: {shown} holds PEM, and {key} says {store}", f"set {key}=PEM")
    else:
        hint = conversion(kind, store, shown)
        entries.tell(entry, f"{entry.key}: a store of type {store} is not read by this version", hint)
    return None


def _pem(entries: SecurityEntries, entry: PropertyEntry) -> Found | None:
    return entries.pem_file(entry) if entry.key.endswith(".location") else entries.pem_text(entry)


def _certificates_of(entries: SecurityEntries, entry: PropertyEntry, found: Found | None) -> Pem | None:
    if found is None:
        return None
    if not has_certificate(found[1]):
        entries.tell(entry, f"{entry.key} holds no certificate in PEM format")
        return None
    return found[0]
