"""Cluster settings are what a cluster's Java client properties mean here.

Rule: every key is kept verbatim in `raw`, a few are honoured, none is printed if it may be a secret.

Reference: `org.apache.kafka.clients.CommonClientConfigs` for names and defaults, librdkafka's
CONFIGURATION.md for the other spelling of the bootstrap list.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kmigrate.access.security import NO_SECURITY, Security
from kmigrate.errors import Problem

BOOTSTRAP_KEYS = ("bootstrap.servers", "metadata.broker.list")
DEFAULT_REQUEST_TIMEOUT_MS = 30_000
DEFAULT_CONNECTION_SETUP_TIMEOUT_MS = 10_000
MAX_JAVA_INT = 2**31 - 1

_SECRET_KEY = re.compile(r"passw|passphrase|secret|jaas|token|key|credential|user\.info", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"//[^/@\s]+@")
_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\s\[\]:/,@]+)):(?P<port>[0-9]{1,5})")


class HostPort(NamedTuple):
    """Where a broker is asked first; an IPv6 address stands without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyEntry:
    """One key as it was found: `value` has the references of `written` resolved; relative paths start in `folder`."""

    key: str
    written: str = field(repr=False)
    value: str = field(repr=False)
    secret: bool
    file: str
    line: int | None
    folder: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class ClientProperties(Mapping[str, str]):
    """Client properties verbatim; the values are there for who asks by key, and never in its repr."""

    values_by_key: Mapping[str, str]
    secret_keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Mapping[str, PropertyEntry]) -> ClientProperties:
        """Keys whose value came from a reference are secret, whatever their name."""
        return cls(
            values_by_key={key: entry.value for key, entry in entries.items()},
            secret_keys=frozenset(key for key, entry in entries.items() if entry.secret),
        )

    def __getitem__(self, key: str) -> str:
        return self.values_by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_key)

    def __len__(self) -> int:
        return len(self.values_by_key)

    def __hash__(self) -> int:
        return hash(frozenset(self.values_by_key.items()))

    def masked(self) -> dict[str, str]:
        """The same keys, fit to be shown: secrets are `***`, also those in an address."""
        return {
            key: "***" if key in self.secret_keys or _SECRET_KEY.search(key) else _IN_ADDRESS.sub("//***@", value)
            for key, value in self.values_by_key.items()
        }

    def __repr__(self) -> str:
        return f"ClientProperties({self.masked()!r})"


NO_PROPERTIES = ClientProperties(values_by_key={})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """How one cluster is reached. `cluster_id` is the guard: no other cluster may answer there.

    `address_map` leads from what a broker advertises to where it is reached; `notices` are for the operator.
    """

    bootstrap: tuple[HostPort, ...]
    cluster_id: str | None = None
    client_id: str | None = None
    request_timeout_ms: int = DEFAULT_REQUEST_TIMEOUT_MS
    connection_setup_timeout_ms: int = DEFAULT_CONNECTION_SETUP_TIMEOUT_MS
    raw: ClientProperties = NO_PROPERTIES
    security: Security = NO_SECURITY
    address_map: tuple[tuple[HostPort, HostPort], ...] = ()
    notices: tuple[str, ...] = ()

    def client_id_of(self, migration: str) -> str:
        """The client id by which a migration of this name is known to the cluster."""
        return self.client_id or f"kmigrate-{migration}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreted:
    """Settings, or why there are none."""

    settings: ClusterSettings | None
    problems: tuple[Problem, ...]


def interpret_properties(
    entries: Mapping[str, PropertyEntry], *, cluster_id: str | None, if_missing: Problem | None
) -> Interpreted:
    """The settings that the entries mean; without a bootstrap list there are none, and `if_missing` is told.

    Later entries win over earlier ones, also between the two spellings of the bootstrap list.
    """
    problems: list[Problem] = []

    def whole_number(key: str, default: int, minimum: int) -> int:
        entry = entries.get(key)
        if entry is None:
            return default
        text = entry.value.strip()
        if re.fullmatch(r"[+-]?[0-9]{1,10}", text) and minimum <= int(text) <= MAX_JAVA_INT:
            return int(text)
        problems.append(
            _problem(entry, f"{key} must be a whole number from {minimum} to {MAX_JAVA_INT}, not {entry.written!r}")
        )
        return default

    addresses = [entry for entry in entries.values() if entry.key in BOOTSTRAP_KEYS]
    bootstrap: tuple[HostPort, ...] = ()
    if addresses:
        bootstrap, wrong = parse_bootstrap(addresses[-1])
        problems.extend(wrong)
    elif if_missing is not None:
        problems.append(if_missing)
    client_id = entries["client.id"].value.strip() if "client.id" in entries else ""
    settings = ClusterSettings(
        bootstrap=bootstrap,
        cluster_id=cluster_id,
        client_id=client_id or None,
        request_timeout_ms=whole_number("request.timeout.ms", DEFAULT_REQUEST_TIMEOUT_MS, 1),
        connection_setup_timeout_ms=whole_number(
            "socket.connection.setup.timeout.ms", DEFAULT_CONNECTION_SETUP_TIMEOUT_MS, 1
        ),
        raw=ClientProperties.of(entries),
    )
    return Interpreted(settings=settings if bootstrap and not problems else None, problems=tuple(problems))


def parse_bootstrap(entry: PropertyEntry) -> tuple[tuple[HostPort, ...], tuple[Problem, ...]]:
    """The addresses of a `host:port,host:port` list, and a problem for each part that is none."""
    found: list[HostPort] = []
    problems: list[Problem] = []
    for part in filter(None, (part.strip() for part in entry.value.split(","))):
        address = parse_host_port(part)
        if address is not None:
            found.append(address)
            continue
        shown = entry.written if entry.secret else part
        problems.append(
            _problem(
                entry,
                f"{entry.key}: {shown!r} is not host:port",
                "an IPv6 address stands in brackets: [::1]:9092",
            )
        )
    if not found and not problems:
        problems.append(_problem(entry, f"{entry.key} names no broker", "write host:port,host:port"))
    return tuple(found), tuple(problems)


def parse_host_port(text: str) -> HostPort | None:
    """The address that a text is; None if it is none."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        return None
    if match["ipv6"] is None:
        return HostPort(match["host"], int(match["port"]))
    try:
        ipaddress.IPv6Address(match["ipv6"])
    except ValueError:
        return None
    return HostPort(match["ipv6"], int(match["port"]))


def _problem(entry: PropertyEntry, message: str, hint: str = "") -> Problem:
    return Problem(file=entry.file, line=entry.line, message=message, hint=hint)
