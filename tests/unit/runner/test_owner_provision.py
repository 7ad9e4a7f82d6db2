"""What the target's topics need follows from both views; nothing that was adopted is created by itself."""

from __future__ import annotations

from typing import Any

import pytest

from kmigrate.kafka_types import BrokerAddress, BrokerId, LeaderEpoch, Partition, TopicId, TopicName
from kmigrate.runner.observe import ClusterView, PartitionSeen, TopicSeen
from kmigrate.runner.provision import NewTopicSize, Provision, decide_provision

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
