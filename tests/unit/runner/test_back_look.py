"""What speaks against copying back is said at once, before anything is written, and in whose words it is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Blocked, Refused
from kmigrate.kafka_types import BrokerId, Side, TopicId, TopicName
from kmigrate.manifest import Manifest, load_manifest
from kmigrate.preflight.ask_rights import Subject
from kmigrate.preflight.rights import Asked, Need
from kmigrate.runner import back_look as room
from kmigrate.runner.back_look import look_back
from kmigrate.runner.back_manifest import SWAPPED, derive
from kmigrate.topics.intended import Intended, Origin
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.wire.calls import ClusterMetadata, TopicMetadata
from kmigrate.wire.config_calls import Setting

ORDERS, PAY = TopicName("orders"), TopicName("pay")
MANIFEST = """
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: shop}
spec:
  source: {properties: {bootstrap.servers: "a:1"}, clusterId: old}
  target: {properties: {bootstrap.servers: "b:1"}, clusterId: new}
"""


class World:
    """Two clusters that were asked already; `missing` rights, and `topics` of each side of the copy back."""

    def __init__(self) -> None:
        self.missing: set[tuple[Side, AclOperation]] = set()
        self.ids = {Side.SOURCE: "new", Side.TARGET: "old"}
        self.topics = dict.fromkeys(Side, (ORDERS, PAY))
        self.told = {name: {"retention.ms": Setting("5", True)} for name in (ORDERS, PAY)}

    def metadata(self, client: ClusterClient) -> ClusterMetadata:
        topic = TopicMetadata(error=0, topic_id=TopicId("a" * 32), is_internal=False, partitions={})
        return ClusterMetadata(
            cluster_id=self.ids[client.side],
            controller=BrokerId(1),
            brokers={},
            topics=dict.fromkeys(self.topics[client.side], topic),
        )

    def asked(self, subject: Subject, needs: Sequence[Need]) -> list[Asked]:
        mine = [need for need in needs if need.side is subject.side]
        return [
            Asked(need=need, missing=subject.existing if (need.side, need.operation) in self.missing else ())
            for need in mine
        ]

    def describe(self, _: object, topics: Sequence[TopicName], __: object) -> Mapping[TopicName, Mapping[str, Setting]]:
        return {name: self.told[name] for name in topics if name in self.told}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Rights:
        """What was asked for, and what is missing."""

        def __init__(self, _: object, subject: Subject, __: object, needs: Sequence[Need]) -> None:
            self.ask = lambda: world.asked(subject, needs)

    monkeypatch.setattr(room, "first_metadata", world.metadata)
    monkeypatch.setattr(room, "RightsAsked", Rights)
    monkeypatch.setattr(room, "describe_settings", world.describe)
    return world


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    return derive(load_manifest(path, environ={}), [ORDERS, PAY])


def test_what_topics_are_to_become_again_is_what_they_have_of_their_own(world: World, manifest: Manifest) -> None:
    kept = Intended(origin=Origin.TARGET, settings={"retention.ms": "5"})
    assert look_back(manifest, [ORDERS, PAY]) == {ORDERS: kept, PAY: kept}


def test_every_missing_right_is_named_with_its_command(world: World, manifest: Manifest) -> None:
    world.missing = {(Side.SOURCE, AclOperation.READ), (Side.TARGET, AclOperation.ALTER_CONFIGS)}
    with pytest.raises(Blocked) as raised:
        look_back(manifest, [ORDERS])
    told = str(raised.value)
    assert SWAPPED in told
    assert "READ on topics" in told
    assert "ALTER_CONFIGS on topics" in told
    assert "--bootstrap-server a:1" in told, "the migration's source is written to"


def test_rights_that_copying_back_does_not_need_are_not_missed(world: World, manifest: Manifest) -> None:
    world.missing = {(Side.TARGET, each) for each in (AclOperation.CREATE, AclOperation.DELETE)}
    assert look_back(manifest, [ORDERS])


def test_a_topic_that_is_not_there_blocks(world: World, manifest: Manifest) -> None:
    world.topics[Side.TARGET] = (ORDERS,)
    with pytest.raises(Blocked, match="target cluster has no topic pay"):
        look_back(manifest, [ORDERS, PAY])


def test_settings_that_are_not_told_could_not_be_restored(world: World, manifest: Manifest) -> None:
    del world.told[PAY]
    with pytest.raises(Blocked, match="settings of pay"):
        look_back(manifest, [ORDERS, PAY])


def test_another_cluster_is_refused(world: World, manifest: Manifest) -> None:
    world.ids[Side.TARGET] = "other"
    with pytest.raises(Refused, match="is other, but"):
        look_back(manifest, [ORDERS])
