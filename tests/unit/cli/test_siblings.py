"""Two running migrations between the same clusters have no topic and no group in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmigrate.api.client import Client
from kmigrate.cli.siblings import refuse_shared
from kmigrate.copy.states import PartitionState
from kmigrate.errors import Refused
from kmigrate.groups.values import OutcomeKind
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.manifest.model import Selection
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.groups_document import GroupPartition, GroupsDocument, GroupSide, GroupStatus
from kmigrate.runner.status import Flow, MigrationState, StatusDocument, TopicStatus, WorkerStatus

from .conftest import World

SIDE = ClusterSettings(bootstrap=(("host", 9092),))
GROUP = GroupStatus(
    group="billing",
    group_type="classic",
    source=GroupSide(state="Empty"),
    target=GroupSide(state="Empty"),
    outcome=OutcomeKind.SYNCED,
    partitions=(GroupPartition(topic="pay", partition=0, outcome=OutcomeKind.SYNCED),),
)
ELSEWHERE = GroupPartition(topic="other", partition=0, outcome=OutcomeKind.SKIPPED)


def look(world: World, *, topics: str = "mine", include: str = ".*", ids: tuple[str, str] = ("s", "t")) -> None:
    manifest = Manifest(
        name="mine",
        source=SIDE,
        target=SIDE,
        topics=Selection(include=(topics,)),
        groups=Selection(include=(include,)),
    )
    refuse_shared(manifest, MigrationFolder(world.root / "state", "mine"), *ids)


@pytest.fixture
def running(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The migration `orders` runs between s and t."""

    def status(client: Client) -> StatusDocument:
        client.reached_owner = True
        return StatusDocument(
            name="orders",
            state=MigrationState.RUNNING,
            source_cluster_id="s",
            target_cluster_id="t",
            workers=(WorkerStatus(number=0, pid=1, alive=True),),
            topics=tuple(TopicStatus(topic=name, partitions=1, flow=Flow(), states={}) for name in ("pay", "ship")),
        )

    monkeypatch.setattr(Client, "status", status)
    monkeypatch.setattr(Client, "groups", lambda client: GroupsDocument(name="orders", groups=(GROUP,)))
    world.folder.mkdir(parents=True)
    return world


def test_a_shared_group_is_refused_and_named(running: World) -> None:
    with pytest.raises(Refused, match="orders runs between the same clusters, and both keep billing in step"):
        look(running)


def test_a_shared_topic_is_refused_and_named(running: World) -> None:
    with pytest.raises(Refused, match="orders runs between the same clusters, and both copy pay, ship"):
        look(running, topics=".*", include="audit")


def test_what_the_other_one_left_alone_or_shows_while_it_starts_is_no_matter(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Client.status
    monkeypatch.setattr(Client, "status", lambda client: replace(seen(client), workers=()))
    look(running, topics=".*")
    ignored = TopicStatus(topic="pay", partitions=1, flow=Flow(), states={PartitionState.IGNORED: 1})
    monkeypatch.setattr(Client, "status", lambda client: replace(seen(client), topics=(ignored,)))
    look(running, topics=".*", include="audit")


def test_other_names_or_other_clusters_are_no_matter(running: World) -> None:
    look(running, include="audit")
    look(running, topics=".*", ids=("s", "elsewhere"))


def test_a_group_that_moves_nothing_there_is_no_matter(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = replace(GROUP, partitions=(ELSEWHERE,))
    monkeypatch.setattr(Client, "groups", lambda client: GroupsDocument(name="orders", groups=(idle,)))
    look(running)


def test_a_migration_that_does_not_run_is_no_matter(world: World) -> None:
    world.left_behind()
    look(world, ids=("", ""))
