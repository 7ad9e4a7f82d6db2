"""Two migrations between the same clusters share no topic and no group: each would take the other's work for foreign.

Rule: those are looked at that run now, from the same state folder; any other is told by the target, by its records and
commits.
"""

from __future__ import annotations

from kmigrate.api.client import Client
from kmigrate.copy.states import PartitionState
from kmigrate.errors import KmigrateError, Refused
from kmigrate.groups.values import OutcomeKind
from kmigrate.manifest import Manifest
from kmigrate.preflight.findings import name_some
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.groups_document import GroupStatus
from kmigrate.runner.status import TopicStatus


def refuse_shared(manifest: Manifest, folder: MigrationFolder, source_id: str, target_id: str) -> None:
    """Raises Refused if a running migration between these clusters has a topic, or a group, that this one selects."""
    for path in sorted(folder.path.parent.iterdir() if folder.path.parent.is_dir() else ()):
        if path.name == folder.path.name or not path.is_dir():
            continue
        other = Client(MigrationFolder(folder.path.parent, path.name), start_seconds=0.0)
        try:
            status = other.status()
            if not other.reached_owner or (status.source_cluster_id, status.target_cluster_id) != (
                source_id,
                target_id,
            ):
                continue
            if not status.workers:
                continue  # it starts or ends: what it shows is what the last one left
            topics = [each.topic for each in status.topics if manifest.topic_selected(each.topic) and _is_copied(each)]
            groups = [
                each.group for each in other.groups().groups if manifest.groups.selects(each.group) and _moves(each)
            ]
        except KmigrateError:
            continue  # it ends or begins just now, or is none of ours
        between = f"{path.name} runs between the same clusters, and both"
        if topics:
            raise Refused(
                f"{between} copy {name_some(topics)}",
                hint="give each migration its own topics: spec.topics.include and exclude",
            )
        if groups:
            raise Refused(
                f"{between} keep {name_some(groups)} in step",
                hint="give each migration its own groups: spec.groups.include and exclude",
            )


def _is_copied(topic: TopicStatus) -> bool:
    """Whether the other migration has not left it to somebody else."""
    return topic.states.keys() != {PartitionState.IGNORED}


def _moves(group: GroupStatus) -> bool:
    """Whether it has committed for anything that the other migration copies."""
    return any(each.outcome is not OutcomeKind.SKIPPED for each in group.partitions)
