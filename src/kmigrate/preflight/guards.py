"""A migration copies from one cluster to another, and never between others than those it began with.  (pure)"""

from __future__ import annotations

from kmigrate.errors import Refused
from kmigrate.kafka_types import Side


def guard_clusters(*, source: str, target: str) -> None:
    """Refuses to copy a cluster onto itself; ids are those that the clusters tell."""
    if source == target:
        raise Refused(
            f"source and target are the same cluster ({source})",
            hint="compare bootstrap.servers of spec.source and spec.target",
        )


def guard_cluster(side: Side, found: str, *, wanted: str | None, remembered: str | None) -> None:
    """Refuses a cluster that is not the one that the manifest names or the migration began with."""
    if not found:
        raise Refused(f"the {side} cluster does not tell its cluster id")
    if wanted is not None and found != wanted:
        raise Refused(
            f"the {side} cluster is {found}, but spec.{side}.clusterId says {wanted}",
            hint=f"compare bootstrap.servers of spec.{side} with the cluster that you mean",
        )
    if remembered is not None and found != remembered:
        raise Refused(
            f"the {side} cluster is {found}, but this migration began with {remembered}",
            hint="another pair of clusters is another migration: give it another metadata.name",
        )
