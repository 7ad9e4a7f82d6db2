"""A plan's look at groups: what is asked, what is not, and what is not told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import pytest

from kmigrate.errors import Unreachable
from kmigrate.groups.cluster_groups import Listing
from kmigrate.groups.foresee import GroupsSeen
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.manifest.model import Selection
from kmigrate.runner import group_survey
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Committed, GroupOffsets
from kmigrate.wire.offset_calls import ListedGroup

CLUSTER = ClusterSettings(bootstrap=(("host", 9092),))
MANIFEST = Manifest(name="m", source=CLUSTER, target=CLUSTER, groups=Selection(include=("app.*",)))
A0 = TopicPartition(TopicName("a"), Partition(0))


class Cluster:
    """One cluster's groups; it stands for the client, too."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.groups: dict[str, GroupOffsets] = {}
        self.asked: list[str] = []
        self.trouble = ""
        self.is_gone = False

    def has(self, group: str, offset: int = -1, *, error: int = 0) -> None:
        committed = {A0: Committed(0, Offset(offset), LeaderEpoch(-1), "")} if offset >= 0 else {}
        self.groups[group] = GroupOffsets(error, committed)

    def list_all(self) -> Listing:
        if self.is_gone:
            raise Unreachable("gone", side=self.side)
        return Listing({name: ListedGroup(name, "consumer", "Empty", "classic") for name in self.groups}, self.trouble)

    def by_coordinator(self, groups: Collection[str]) -> Iterator[tuple[BrokerId, Sequence[str]]]:
        if groups:
            yield BrokerId(1), list(groups)

    def fetch_offsets(self, _broker: BrokerId, groups: Sequence[str]) -> Mapping[str, GroupOffsets]:
        self.asked += groups
        return {name: self.groups[name] for name in groups}


@pytest.fixture
def source() -> Cluster:
    return Cluster(Side.SOURCE)


@pytest.fixture
def target() -> Cluster:
    return Cluster(Side.TARGET)


@pytest.fixture(autouse=True)
def _as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_survey, "ClusterGroups", lambda client: client)


def look(source: Cluster, target: Cluster) -> GroupsSeen:
    return group_survey.look_at_groups(MANIFEST, source, target, begun=False)  # type: ignore[arg-type]


def test_commits_are_asked_of_the_groups_that_take_part_and_are_there(source: Cluster, target: Cluster) -> None:
    source.has("app-1", 5)
    source.has("app-2", 7)
    source.has("other", 9)
    target.has("app-2", 6)
    target.has("app-3", 8)
    found = look(source, target)
    assert found.source_commits == {"app-1": {A0: 5}, "app-2": {A0: 7}}
    assert found.target_commits == {"app-2": {A0: 6}}
    assert (source.asked, target.asked) == (["app-1", "app-2"], ["app-2"])
    assert [each.group_id for each in found.source] == ["app-1", "app-2", "other"]
    assert found.untold == ()


def test_a_target_without_groups_is_not_asked_for_a_coordinator(source: Cluster, target: Cluster) -> None:
    source.has("app-1", 5)
    look(source, target)
    assert target.asked == []


def test_what_is_not_told_is_said(source: Cluster, target: Cluster) -> None:
    source.has("app-1", error=ErrorCode.GROUP_AUTHORIZATION_FAILED)
    source.has("app-2", 3)
    source.trouble = "broker 2 is silent"
    target.is_gone = True
    found = look(source, target)
    assert found.source_commits == {"app-2": {A0: 3}}
    reasons = dict(found.untold)
    assert [side for side, _ in found.untold] == [Side.SOURCE, Side.TARGET, Side.SOURCE]
    assert "gone" in reasons[Side.TARGET]
    assert "GROUP_AUTHORIZATION_FAILED" in reasons[Side.SOURCE]
