"""One cluster's coordinators: found in bulk, followed when they move, asked one by one where they are old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kmigrate.cluster.lanes import NotSent
from kmigrate.errors import BrokerRefused, Unreachable
from kmigrate.groups.cluster_groups import GROUPS_A_REQUEST, ClusterGroups, Commit
from kmigrate.groups.values import Value
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    Side,
    TopicName,
    TopicPartition,
)
from kmigrate.wire.calls import ClusterMetadata
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Committed, Coordinator, GroupOffsets
from kmigrate.wire.offset_calls import DescribedGroup, ListedGroup, ListedGroups

ONE, TWO = BrokerId(1), BrokerId(2)
A0 = TopicPartition(TopicName("a"), Partition(0))
OFFSETS = GroupOffsets(0, {A0: Committed(0, Offset(5), LeaderEpoch(-1), "")})


class FakeClient:
    """A cluster of two brokers; what it answers stands in dictionaries, what it was asked in `asked`."""

    side = Side.TARGET

    def __init__(self) -> None:
        self.asked: list[tuple[object, str, int]] = []
        self.coordinators: dict[str, BrokerId] = {}
        self.forbidden: set[str] = set()
        self.refused: set[tuple[str, int]] = set()
        """Calls, with their oldest version, that no broker offers."""
        self.answers: dict[str, Callable[[BrokerId, Any], Any]] = {}

    def metadata(self, topics: object) -> ClusterMetadata:
        brokers = {id_: BrokerAddress(id_, "host", 9092) for id_ in (ONE, TWO)}
        return ClusterMetadata(cluster_id="c", controller=ONE, brokers=brokers, topics={})

    def any(self, call: Any) -> Any:
        request = self._build("any", call)
        if call.oldest >= 4:
            return {name: self._coordinator(name) for name in request.coordinator_keys}
        return self._coordinator(request.key)

    def _coordinator(self, name: str) -> Coordinator:
        found = self.coordinators.get(name)
        error = ErrorCode.NONE if found is not None else ErrorCode.COORDINATOR_NOT_AVAILABLE
        if name in self.forbidden:
            error = ErrorCode.GROUP_AUTHORIZATION_FAILED
        return Coordinator(error, BrokerAddress(found or BrokerId(-1), "host", 9092))

    def connect(self, broker: BrokerId) -> FakeConnection:
        return FakeConnection(self, broker)

    def broker(self, broker: BrokerId, call: Any) -> Any:
        request = self._build(broker, call)
        return self.answers[call.what](broker, request)

    def _build(self, whom: object, call: Any) -> Any:
        self.asked.append((whom, call.what, call.oldest))
        if (call.what, call.oldest) in self.refused:
            raise BrokerRefused(call.what, code=35, name="UNSUPPORTED_VERSION", side=self.side)
        return call if call.what == "ConsumerGroupDescribe" else call.build(call.newest)


class FakeConnection:
    """One connection more to a broker; it answers as the client does."""

    def __init__(self, client: FakeClient, broker: BrokerId) -> None:
        self._client, self._broker = client, broker

    def ask(self, call: Any) -> None:
        self._answer = self._client.broker(self._broker, call)

    def answer(self, call: Any) -> Any:
        return self._answer

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def groups(client: FakeClient) -> ClusterGroups:
    return ClusterGroups(client)  # type: ignore[arg-type]


def test_groups_come_by_coordinator_and_so_many_at_a_time(client: FakeClient, groups: ClusterGroups) -> None:
    names = [f"g{number}" for number in range(2 * GROUPS_A_REQUEST + 1)]
    client.coordinators = {name: TWO if number % 2 else ONE for number, name in enumerate(names)}
    found = list(groups.by_coordinator(names))
    assert [(broker, len(chunk)) for broker, chunk in found] == [(ONE, 100), (ONE, 1), (TWO, 100)]
    assert len(client.asked) == 3
    list(groups.by_coordinator(names))
    assert len(client.asked) == 3, "coordinators are remembered"


def test_a_group_without_a_coordinator_is_left_out_and_asked_for_again(
    client: FakeClient, groups: ClusterGroups
) -> None:
    assert list(groups.by_coordinator(["g"])) == []
    client.coordinators["g"] = ONE
    assert list(groups.by_coordinator(["g"])) == [(ONE, ["g"])]


def test_who_may_not_describe_a_group_is_told_so_until_the_right_comes(
    client: FakeClient, groups: ClusterGroups
) -> None:
    client.forbidden = {"g"}
    assert list(groups.by_coordinator(["g", "h"])) == []
    assert (groups.refusal("g"), groups.refusal("h")) == (ErrorCode.GROUP_AUTHORIZATION_FAILED, 0)
    client.forbidden, client.coordinators = set(), {"g": ONE}
    assert list(groups.by_coordinator(["g"])) == [(ONE, ["g"])]
    assert groups.refusal("g") == 0


def test_a_coordinator_that_moved_is_looked_for_anew(client: FakeClient, groups: ClusterGroups) -> None:
    client.coordinators = {"g": ONE, "h": ONE}
    list(groups.by_coordinator(["g", "h"]))
    moved = GroupOffsets(ErrorCode.NOT_COORDINATOR, {})
    client.answers["OffsetFetch"] = lambda broker, request: {"g": moved, "h": OFFSETS}
    assert groups.fetch_offsets(ONE, ["g", "h"]) == {"h": OFFSETS}
    client.coordinators["g"] = TWO
    assert dict(groups.by_coordinator(["g", "h"])) == {TWO: ["g"], ONE: ["h"]}


def test_a_coordinator_that_does_not_answer_is_looked_for_anew(client: FakeClient, groups: ClusterGroups) -> None:
    client.coordinators = {"g": ONE}
    list(groups.by_coordinator(["g"]))

    def silent(broker: BrokerId, request: object) -> object:
        raise Unreachable("frozen", side=Side.TARGET)

    client.answers["OffsetFetch"] = silent
    with pytest.raises(Unreachable):
        groups.fetch_offsets(ONE, ["g"])
    client.coordinators["g"] = TWO
    assert list(groups.by_coordinator(["g"])) == [(TWO, ["g"])]


def test_old_brokers_are_asked_group_by_group(client: FakeClient, groups: ClusterGroups) -> None:
    client.refused = {("FindCoordinator", 4), ("OffsetFetch", 8)}
    client.coordinators = {"g": ONE, "h": ONE}
    client.answers["OffsetFetch"] = lambda broker, request: OFFSETS
    assert list(groups.by_coordinator(["g", "h"])) == [(ONE, ["g", "h"])]
    assert groups.fetch_offsets(ONE, ["g", "h"], require_stable=True) == {"g": OFFSETS, "h": OFFSETS}
    asked = [what for what in client.asked if what[1] == "OffsetFetch"]
    assert asked == [(ONE, "OffsetFetch", 5)] * 2, "once known to be old, it is not tried again"


def test_every_broker_lists_what_it_coordinates_and_holes_are_told(client: FakeClient, groups: ClusterGroups) -> None:
    group = ListedGroup("g", "consumer", "Empty", "classic")

    def answer(broker: BrokerId, request: object) -> ListedGroups:
        return ListedGroups(0, (group,)) if broker == ONE else ListedGroups(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ())

    client.answers["ListGroups"] = answer
    found = groups.list_all()
    assert found.groups == {"g": group}
    assert "broker 2" in found.trouble


def test_a_group_of_the_new_protocol_is_described_by_its_own_call(client: FakeClient, groups: ClusterGroups) -> None:
    client.coordinators = {"new": ONE, "old": ONE, "none": ONE}
    dead, empty = DescribedGroup(0, "Dead", "", ()), DescribedGroup(0, "Empty", "consumer", ())
    stable = DescribedGroup(0, "Stable", "consumer", ())
    missing = DescribedGroup(ErrorCode.GROUP_ID_NOT_FOUND, "", "consumer", ())
    client.answers["DescribeGroups"] = lambda broker, request: {"new": dead, "old": empty, "none": dead}
    client.answers["ConsumerGroupDescribe"] = lambda broker, request: {"new": stable, "none": missing}
    assert groups.describe(ONE, ["new", "old", "none"]) == {"new": stable, "old": empty, "none": dead}


def test_a_cluster_that_has_the_new_protocol_switched_off_has_no_such_group(
    client: FakeClient, groups: ClusterGroups
) -> None:
    dead, off = DescribedGroup(0, "Dead", "", ()), DescribedGroup(ErrorCode.UNSUPPORTED_VERSION, "", "consumer", ())
    client.answers["DescribeGroups"] = lambda broker, request: {"g": dead}
    client.answers["ConsumerGroupDescribe"] = lambda broker, request: {"g": off}
    assert groups.describe(ONE, ["g"]) == {"g": dead}


def test_a_cluster_without_the_new_protocol_is_asked_once(client: FakeClient, groups: ClusterGroups) -> None:
    client.refused = {("ConsumerGroupDescribe", 0)}
    dead = DescribedGroup(0, "Dead", "", ())
    client.answers["DescribeGroups"] = lambda broker, request: {"g": dead}
    for _ in range(3):
        assert groups.describe(ONE, ["g"]) == {"g": dead}
    assert sum(what == "ConsumerGroupDescribe" for _, what, _ in client.asked) == 1


def test_a_commit_goes_without_generation_and_epoch(client: FakeClient, groups: ClusterGroups) -> None:
    seen = []

    def take(broker: BrokerId, request: Any) -> dict[TopicPartition, int]:
        seen.append(request)
        return {A0: int(ErrorCode.NOT_COORDINATOR)}

    client.coordinators = {"g": ONE}
    list(groups.by_coordinator(["g"]))
    client.answers["OffsetCommit"] = take
    assert groups.commit(ONE, "g", {A0: Value(Offset(7), "note", LeaderEpoch(3))}) == {A0: ErrorCode.NOT_COORDINATOR}
    (request,) = seen
    assert (request.generation_id_or_member_epoch, request.member_id) == (-1, "")
    (part,) = request.topics[0].partitions
    assert (part.committed_offset, part.committed_leader_epoch, part.committed_metadata) == (7, -1, "note")
    client.coordinators["g"] = TWO
    assert list(groups.by_coordinator(["g"])) == [(TWO, ["g"])]


def test_many_commits_go_over_connections_of_their_own(client: FakeClient, groups: ClusterGroups) -> None:
    client.coordinators = {"g": ONE, "h": TWO, "i": TWO}
    list(groups.by_coordinator(["g", "h", "i"]))
    codes = {"g": 0, "h": ErrorCode.NOT_COORDINATOR, "i": 0}
    client.answers["OffsetCommit"] = lambda broker, request: {A0: codes[request.group_id]}
    commits = [Commit(client.coordinators[name], name, {A0: Value(Offset(7), "")}) for name in codes]
    assert groups.commit_all(commits, lambda: True) == [{A0: code} for code in codes.values()]
    client.coordinators["h"] = ONE
    assert {name: broker for broker, names in groups.by_coordinator(codes) for name in names} == {
        "g": ONE,
        "h": ONE,
        "i": TWO,
    }, "the coordinator that is another one now is looked for anew"


def test_nothing_is_committed_that_may_not_be(client: FakeClient, groups: ClusterGroups) -> None:
    commits = [Commit(ONE, "g", {A0: Value(Offset(7), "")})]
    assert groups.commit_all(commits, lambda: False) == [NotSent("")]
    assert client.asked == []
