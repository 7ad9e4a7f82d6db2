"""How to get to one of the clusters, and the first question there.

Whoever only reads clusters needs nothing else of this room: so this module imports no manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import (
    AuthenticationFailed,
    Blocked,
    ClusterError,
    ClustersAway,
    ConnectionLost,
    Unreachable,
)
from kmigrate.kafka_types import Side, TopicName
from kmigrate.wire.calls import ClusterMetadata

if TYPE_CHECKING:
    from kmigrate.manifest.settings import ClusterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How to get to one of the clusters; every thread has a client of its own."""

    side: Side
    bootstrap: tuple[tuple[str, int], ...]
    settings: ConnectionSettings

    @classmethod
    def of(cls, side: Side, cluster: ClusterSettings, name: str) -> Reach:
        return cls(side=side, bootstrap=cluster.bootstrap, settings=ConnectionSettings.of(cluster, name))

    def client(self) -> ClusterClient:
        return ClusterClient(self.side, self.bootstrap, self.settings)


def first_metadata(client: ClusterClient, topics: Sequence[TopicName] | None = None) -> ClusterMetadata:
    """Brokers and topics (None: all) of a cluster; raises Blocked if none of its bootstrap servers answers."""
    try:
        return client.metadata(topics)
    except ClusterError as error:
        raise blocker_of(error)(str(error), hint=error.hint) from error


def blocker_of(error: ClusterError) -> type[Blocked]:
    """What kind of blocker it is when a cluster cannot be looked at: who is refused is not let in later."""
    is_away = isinstance(error, Unreachable | ConnectionLost) and not isinstance(error, AuthenticationFailed)
    return ClustersAway if is_away else Blocked
