"""How a process speaks to the brokers of one cluster; values only, so that pure modules may carry them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from kmigrate.access.security import NO_SECURITY, Security

if TYPE_CHECKING:
    from kmigrate.manifest.settings import ClusterSettings  # the manifest's model is too heavy for a worker


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How to reach a cluster's brokers; the same for the hot path and for admin calls.

    `address_map` leads from the host and port that a broker advertises to where it is reached.
    """

    client_id: str
    request_timeout_ms: int = 30_000
    connect_timeout_ms: int = 10_000
    security: Security = NO_SECURITY
    address_map: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: ClusterSettings, migration: str) -> Self:
        """How a migration of this name speaks to a cluster of its manifest."""
        return cls(
            client_id=cluster.client_id_of(migration),
            request_timeout_ms=cluster.request_timeout_ms,
            connect_timeout_ms=cluster.connection_setup_timeout_ms,
            security=cluster.security,
            address_map=dict(cluster.address_map),
        )
