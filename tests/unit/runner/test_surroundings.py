"""What an application still writes is not begun; what was begun goes on; who does not tell is taken to run."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import Blocked, ConnectionLost
from kmigrate.kafka_types import NO_TOPIC_ID, BrokerAddress, BrokerId, Side, TopicName
from kmigrate.manifest import Manifest, Offsets, OffsetsClass, Selection
from kmigrate.runner.surroundings import refuse_used_by_applications
from kmigrate.topics.select import select_topics
from kmigrate.wire.calls import ClusterMetadata, TopicMetadata
from kmigrate.wire.offset_calls import ListedGroup, ListedGroups
from tests.unit.plan.known import CLUSTER

STATE = TopicName("billing-store-changelog")
BROKERS = {BrokerId(number): BrokerAddress(BrokerId(number), "b", number) for number in (1, 2)}
ON_SOURCE = ClusterMetadata(
    cluster_id="c",
    controller=BrokerId(1),
    brokers=BROKERS,
    topics={
        name: TopicMetadata(error=0, topic_id=NO_TOPIC_ID, is_internal=False, partitions={})
        for name in (STATE, TopicName("orders"))
    },
)


class Source:
    """Brokers that tell their groups; one that is not named does not answer."""

    def __init__(self, groups: dict[int, ListedGroups]) -> None:
        self.groups = groups
        self.asked = 0

    def broker(self, broker: BrokerId, call: Any) -> ListedGroups:
        self.asked += 1
        if broker not in self.groups:
            raise ConnectionLost("gone", side=Side.SOURCE)
        return self.groups[broker]


def told(*running: str, error: int = 0) -> ListedGroups:
    groups = [ListedGroup(name, "consumer", "Stable", "classic") for name in running]
    return ListedGroups(error, (*groups, ListedGroup("idle", "consumer", "Empty", "classic")))


def refuse(source: Source, *include: str, identical: bool = True, begun: bool = False) -> None:
    wish = OffsetsClass.IDENTICAL if identical else OffsetsClass.AUTO
    manifest = Manifest(
        name="m",
        source=CLUSTER,
        target=CLUSTER,
        topics=Selection(include=include),
        offsets=Offsets(topics={STATE: wish}),
    )
    selected = select_topics(ON_SOURCE.topics, manifest)
    ours = {STATE} if begun else set()
    refuse_used_by_applications(manifest, cast(ClusterClient, source), ON_SOURCE, selected, ours)


def test_a_stopped_applications_state_may_be_copied() -> None:
    refuse(Source({1: told("other"), 2: told()}), STATE)


@pytest.mark.parametrize(
    "source",
    [
        Source({1: told(), 2: told("billing")}),
        Source({1: told()}),
        Source({1: told(), 2: told(error=31)}),
    ],
    ids=["running", "one broker does not answer", "one broker refuses"],
)
def test_it_is_not_begun_unless_its_application_is_known_to_be_stopped(source: Source) -> None:
    with pytest.raises(Blocked, match=STATE):
        refuse(source, STATE)
    refuse(source, STATE, begun=True)


def test_it_is_not_begun_unless_its_offsets_stay_the_same() -> None:
    with pytest.raises(Blocked, match="same offsets"):
        refuse(Source({1: told(), 2: told()}), STATE, identical=False)


def test_where_no_such_topic_is_named_nobody_is_asked() -> None:
    source = Source({})
    refuse(source, ".*")
    assert source.asked == 0
