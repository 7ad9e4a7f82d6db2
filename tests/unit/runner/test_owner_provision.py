"""What the target's topics need follows from both views; nothing that was adopted is created by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import BrokerAddress, BrokerId, LeaderEpoch, Partition, TopicId, TopicName
from kmigrate.runner.observe import ClusterView, PartitionSeen, TopicSeen
from kmigrate.runner.provision import Inspection, NewTopicSize, Provision, Provisioner, decide_provision
from kmigrate.state.store import Store
from kmigrate.topics.create import Created, Failed, Present, TargetTraits
from kmigrate.topics.hold import TimestampLimits
from kmigrate.topics.intended import Intended, Origin
from kmigrate.wire.call import Call
from kmigrate.wire.calls import TopicOutcome
from tests.unit.topics.settings_cluster import SettingsCluster

T = TopicName("t")


def view(partitions: int | None, *, gone: bool = False) -> ClusterView:
    found = ClusterView()
    found.brokers = {BrokerId(n): BrokerAddress(BrokerId(n), "b", n) for n in (1, 2)}
    if partitions is not None:
        seen = {Partition(n): PartitionSeen(BrokerId(1), LeaderEpoch(0)) for n in range(partitions)}
        found.topics[T] = TopicSeen(TopicId("1"), seen, 3)
    if gone:
        found.gone.add(T)
    return found


def decide(source: ClusterView, target: ClusterView, **groups: Any) -> Provision:
    options: dict[str, Any] = dict.fromkeys(
        ("adopted", "cleared", "recreate", "released", "replaced", "resting"), frozenset()
    )
    options["replication_factor"] = "fit"
    return decide_provision(source, target, [T], **(options | groups))


CREATE = Provision(create={T: NewTopicSize(4, 2)})
NOTHING = Provision()


@pytest.mark.parametrize(
    ("source", "target", "groups", "expected"),
    [
        (view(4), view(None), {}, CREATE),
        (view(4), view(None), {"resting": {T}}, NOTHING),
        (view(4), view(None), {"adopted": {T}}, NOTHING),
        (view(4), view(None, gone=True), {"adopted": {T}}, NOTHING),
        (view(4), view(4), {}, Provision(inspect=(T,))),
        (view(4), view(4), {"cleared": {T}}, NOTHING),
        (view(4), view(3), {"cleared": {T}}, Provision(enlarge={T: 4})),
        (view(4), view(3), {"cleared": {T}, "replaced": {T}}, NOTHING),
        (view(None), view(3), {"cleared": {T}}, NOTHING),
        (view(4), view(4), {"recreate": {T}, "adopted": {T}}, NOTHING),
        (view(4), view(4), {"recreate": {T}, "adopted": {T}, "released": {T}}, Provision(delete=(T,))),
        (view(4), view(None), {"recreate": {T}, "adopted": {T}, "released": {T}}, Provision(delete=(T,))),
        (view(4), view(None, gone=True), {"recreate": {T}, "adopted": {T}, "released": {T}}, CREATE),
        (view(None), view(None, gone=True), {"recreate": {T}, "released": {T}}, NOTHING),
    ],
)
def test_each_case_has_its_errand(
    source: ClusterView, target: ClusterView, groups: dict[str, Any], expected: Provision
) -> None:
    assert decide(source, target, **groups) == expected


# -- what topics are to become is recorded before anything is done to them

COMPACTED = {"cleanup.policy": "compact", "max.message.bytes": "3000000"}
FROM_SOURCE = Intended(origin=Origin.SOURCE, settings=COMPACTED)
BY_HAND = Intended(origin=Origin.TARGET, settings={"retention.ms": "5"})


class Target:
    """Takes every topic; notes what the store knows at that moment, and what the topic was given."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: list[dict[TopicName, Intended]] = []
        self.given: list[dict[str, str]] = []

    def controller(self, call: Call[Any]) -> Any:
        self.seen.append(self.store.intended())
        topics = call.build(call.newest).topics
        self.given += [{config.name: config.value for config in topic.configs} for topic in topics]
        return {topic.name: TopicOutcome(0, "") for topic in topics}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


def perform(provision: Provision, source: SettingsCluster, target: Target, inspection: Inspection) -> dict[str, Any]:
    traits = TargetTraits(limits=TimestampLimits.SPLIT, max_bytes=None)
    target_client = cast(ClusterClient, target)
    provisioner = Provisioner(
        source.client, target_client, traits, target.store, lambda _names: inspection, lambda: True
    )
    return {name: type(outcome) for name, outcome in provisioner._perform(provision).items()}


NO_INSPECTION = Inspection({}, {})


def test_a_topic_is_created_after_it_is_recorded_what_it_is_to_become(store: Store) -> None:
    target = Target(store)
    assert perform(CREATE, SettingsCluster({T: COMPACTED}), target, NO_INSPECTION) == {T: Created}
    assert target.seen == [{T: FROM_SOURCE}]
    (given,) = target.given
    assert given["cleanup.policy"] == "delete"
    assert given["max.message.bytes"] == "3000000"


def test_a_source_that_does_not_tell_is_asked_again_later(store: Store) -> None:
    source = SettingsCluster({T: COMPACTED})
    source.errors[T] = 29
    target = Target(store)
    assert perform(CREATE, source, target, NO_INSPECTION) == {T: Created}
    assert target.seen == [{T: Intended(origin=Origin.SOURCE, settings=None)}]


def test_a_topic_made_by_hand_that_is_created_anew_keeps_what_it_had(store: Store) -> None:
    store.record_intended({T: BY_HAND})
    target = Target(store)
    perform(CREATE, SettingsCluster({T: COMPACTED}), target, NO_INSPECTION)
    assert target.seen == [{T: BY_HAND}]


def test_what_an_existing_topic_is_to_become_is_recorded_when_it_is_accepted(store: Store) -> None:
    source, target = SettingsCluster({}), Target(store)
    refused = TopicName("refused")
    provision = Provision(inspect=(T, refused))
    outcomes = perform(provision, source, target, Inspection({refused: "it holds others'"}, {T: BY_HAND}))
    assert outcomes == {T: Present, refused: Failed}
    assert store.intended() == {T: BY_HAND}
