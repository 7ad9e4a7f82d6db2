"""Looks at the groups of waves on both clusters: their members, what they have committed, how far they are behind.

Rule: as in `schemes/facts.py`: what is not known is None. A partition that a group has committed nothing for, of a
topic that it has commits for, counts as read to its beginning only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.groups.cluster_groups import ClusterGroups
from kmigrate.groups.decide import EMPTY_STATES
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.preflight.bounds import Bounds, Unseen
from kmigrate.schemes.facts import GroupFacts
from kmigrate.wire.offset_calls import DescribedGroup

log = logging.getLogger(__name__)

FALLING_SECONDS = 10.0
"""A lag is compared with what it was so long ago."""
Commits = Mapping[TopicPartition, Offset]
Ends = Mapping[TopicPartition, Bounds | Unseen]


class GroupSeen(NamedTuple):
    """One group on one side: how many members, its commits, and which partitions members have; None: not known.

    `read` are the commits, moved on to the end where nothing that a consumer sees is left before it.
    """

    members: int | None = None
    commits: Commits | None = None
    owned: frozenset[TopicPartition] | None = None
    read: Commits | None = None

    @property
    def read_up_to(self) -> Commits | None:
        """Up to where it has read; the commits where nobody looked further."""
        return self.commits if self.read is None else self.read


class GroupLooker:
    """Asks the groups of one cluster; used by one thread."""

    def __init__(self, client: ClusterClient) -> None:
        self._groups = ClusterGroups(client)

    def look(self, groups: Collection[str]) -> dict[str, GroupSeen]:
        """Every group as it stands now; one that the cluster does not have has no members and no commits."""
        found: dict[str, GroupSeen] = {}
        for broker, chunk in self._groups.by_coordinator(groups):
            try:
                described = self._groups.describe(broker, chunk)
                fetched = self._groups.fetch_offsets(broker, chunk)
            except ClusterError as error:
                log.info("groups on the %s: %s", self._groups.side, error)
                continue
            for group in chunk:
                each, offsets = described.get(group), fetched.get(group)
                members, owned = None, None
                if each is not None and not each.error:
                    members = 0 if each.state in EMPTY_STATES else len(each.members)
                    owned = _owned(each)
                commits = None
                if offsets is not None and not offsets.error:
                    commits = {
                        tp: committed.offset
                        for tp, committed in offsets.partitions.items()
                        if not committed.error and committed.offset >= 0
                    }
                found[group] = GroupSeen(members, commits, owned)
        return found

    def close(self) -> None:
        self._groups.close()


class LagHistory:
    """What lags were a while ago."""

    def __init__(self) -> None:
        self._lags: dict[str, tuple[float, int, int]] = {}

    def is_falling(self, group: str, lag: int | None, now: float) -> bool | None:
        """Whether a lag is less than it was a while ago; None if that is not known."""
        if lag is None:
            self._lags.pop(group, None)
            return None
        at, before, latest = self._lags.get(group, (now, lag, lag))
        if now - at >= FALLING_SECONDS:
            self._lags[group] = now, latest, lag
        else:
            self._lags[group] = at, before, lag
        return None if now == at else lag < before


def lag_of(commits: Commits | None, topics: Collection[TopicName], ends: Ends) -> int | None:
    """Records between what is committed and the readable end, over these topics; None if something is not known."""
    if commits is None:
        return None
    wanted = set(topics)
    read = {partition.topic for partition in commits if partition.topic in wanted}
    if read - {partition.topic for partition in ends}:
        return None  # a topic that was not seen may hold anything
    lag = 0
    for partition, bounds in ends.items():
        if partition.topic not in read:
            continue
        if isinstance(bounds, Unseen):
            return None
        lag += max(0, bounds.last_stable - max(bounds.start, commits.get(partition, bounds.start)))
    return lag


def read_by_all(groups: Mapping[str, GroupSeen]) -> Callable[[TopicPartition], Offset]:
    """Up to where every group that reads a topic has read its partitions; 0 where that is not known, or nobody does."""
    if any(seen.commits is None for seen in groups.values()):
        return lambda partition: Offset(0)
    readers: dict[TopicName, list[Commits]] = {}
    for seen in groups.values():
        read = seen.read_up_to or {}
        for topic in {partition.topic for partition in read}:
            readers.setdefault(topic, []).append(read)
    return lambda partition: min(
        (commits.get(partition, Offset(0)) for commits in readers.get(partition.topic, ())), default=Offset(0)
    )


def facts_of(
    group: str,
    topics: Collection[TopicName],
    seen: Mapping[Side, GroupSeen],
    ends: Mapping[Side, Ends],
    *,
    copied: Mapping[TopicPartition, Offset | None],
    prepared: Commits | None,
    history: LagHistory,
    now: float,
) -> GroupFacts:
    """One group as facts. `copied`: source offsets below which everything is on the target; `prepared`: what was
    committed for it there."""
    source, target = seen[Side.SOURCE], seen[Side.TARGET]
    inside = set(topics)
    mine = None if source.commits is None else {tp: at for tp, at in source.commits.items() if tp.topic in inside}
    target_lag = lag_of(target.read_up_to, topics, ends[Side.TARGET])
    is_prepared = None
    if prepared is not None and target.commits is not None:
        is_prepared = all(target.commits.get(partition, -1) >= at for partition, at in prepared.items())
    return GroupFacts(
        source_members=source.members,
        target_members=target.members,
        source_lag=lag_of(source.read_up_to, topics, ends[Side.SOURCE]),
        target_lag=target_lag,
        is_target_lag_falling=history.is_falling(group, target_lag, now),
        unowned_on_target=_unowned(target.owned, mine, ends[Side.TARGET]),
        are_commits_copied=None if mine is None else _are_copied(mine, copied),
        is_prepared=is_prepared,
        do_positions_hold=is_prepared,
    )


def _owned(group: DescribedGroup) -> frozenset[TopicPartition] | None:
    if any(member.assigned is None for member in group.members):
        return None
    return frozenset(tp for member in group.members for tp in member.assigned or ())


def _unowned(owned: frozenset[TopicPartition] | None, commits: Commits | None, ends: Ends) -> int | None:
    """How many partitions of the topics that a group reads no member has."""
    if owned is None or commits is None:
        return None
    topics = {partition.topic for partition in commits}
    if topics - {partition.topic for partition in ends}:
        return None
    return sum(partition.topic in topics and partition not in owned for partition in ends)


def _are_copied(commits: Commits, copied: Mapping[TopicPartition, Offset | None]) -> bool | None:
    known = [(at, copied.get(partition)) for partition, at in commits.items()]
    if any(end is None for _, end in known):
        return None
    return all(end is not None and at <= end for at, end in known)
