"""Looks at both clusters before topics are copied back: they must be there, and we must be let to write to the source.

Rule: nothing is written here, and everything that speaks against it is said at once. What the topics on the source are
to become again is read before they are put under hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.principal import principal_of
from kmigrate.copy.identity import producer_id
from kmigrate.errors import Blocked, ClusterError
from kmigrate.kafka_types import ProducerId, Side, TopicName
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.preflight import Finding, guard_cluster, guard_clusters, refuse_blockers
from kmigrate.preflight.ask_rights import RightsAsked, Subject
from kmigrate.preflight.rights import NEEDS, Need, Resource, judge_rights
from kmigrate.runner.back_manifest import SWAPPED
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.topics.describe import describe_settings
from kmigrate.topics.hold import HELD_KEYS
from kmigrate.topics.intended import Intended, intended_as_found
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.calls import ClusterMetadata

_FOR_THE_HOLD = (AclOperation.ALTER_CONFIGS, AclOperation.DESCRIBE_CONFIGS)


def look_back(manifest: Manifest, topics: Sequence[TopicName]) -> dict[TopicName, Intended]:
    """What these topics on the migration's source are to become again; `manifest` is that of the copy back.

    Raises Blocked with all that speaks against copying back into them, Refused if a cluster is another one.
    """
    source = Reach.of(Side.SOURCE, manifest.source, manifest.name).client()
    target = Reach.of(Side.TARGET, manifest.target, manifest.name).client()
    try:
        return _look(manifest, topics, source, target)
    except ClusterError as error:
        raise Blocked(f"the clusters could not be looked at: {error} ({SWAPPED})", hint=error.hint) from error
    except Blocked as error:
        raise type(error)(f"topics cannot be copied back ({SWAPPED}): {error}", hint=error.hint) from error
    finally:
        source.close()
        target.close()


def _look(
    manifest: Manifest, topics: Sequence[TopicName], source: ClusterClient, target: ClusterClient
) -> dict[TopicName, Intended]:
    on_source, on_target = first_metadata(source), first_metadata(target)
    for side, seen, cluster in (
        (Side.SOURCE, on_source, manifest.source),
        (Side.TARGET, on_target, manifest.target),
    ):
        guard_cluster(side, seen.cluster_id, wanted=cluster.cluster_id, remembered=None)
        _refuse_missing(side, seen, topics)
    guard_clusters(source=on_source.cluster_id, target=on_target.cluster_id)
    ours = producer_id(on_source.cluster_id, on_target.cluster_id, manifest.name)
    refuse_blockers(
        [
            *_missing_rights(Side.SOURCE, source, topics, manifest, ours, manifest.source),
            *_missing_rights(Side.TARGET, target, topics, manifest, ours, manifest.target),
        ]
    )
    found = describe_settings(target, topics, HELD_KEYS)
    untold = [name for name in topics if name not in found]
    if untold:
        raise Blocked(
            f"the source does not tell the settings of {', '.join(untold)}: they could not be restored afterwards",
            hint="grant DESCRIBE_CONFIGS on these topics",
        )
    return {name: intended_as_found(found[name]) for name in topics}


def _refuse_missing(side: Side, seen: ClusterMetadata, topics: Sequence[TopicName]) -> None:
    missing = [name for name in topics if name not in seen.topics]
    if missing:
        raise Blocked(f"the {side} cluster has no topic {', '.join(missing)}, or we may not see it")


def _missing_rights(
    side: Side,
    client: ClusterClient,
    topics: Sequence[TopicName],
    manifest: Manifest,
    ours: ProducerId,
    cluster: ClusterSettings,
) -> list[Finding]:
    subject = Subject(side=side, existing=topics, lease_group=manifest.lease_group)
    asked = RightsAsked(client, subject, ours, [need._replace(without="") for need in NEEDS if _is_needed(need)]).ask()
    bootstrap = ",".join(map(str, cluster.bootstrap))
    return judge_rights(side, asked, bootstrap=bootstrap, principal=principal_of(cluster.security).name)


def _is_needed(need: Need) -> bool:
    """What copying needs; and the hold, as these topics were made without it."""
    holds = need.side is Side.TARGET and need.resource is Resource.TOPIC and need.operation in _FOR_THE_HOLD
    return need.is_required or holds
