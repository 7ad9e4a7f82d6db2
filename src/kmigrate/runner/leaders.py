"""Links to the leaders of partitions, for commands that read much: one at a time for each reader, used again and again.

Not thread-safe: each process, or thread, has its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Protocol

from kmigrate.cluster.network import Link
from kmigrate.errors import BrokerRefused, Unreachable
from kmigrate.kafka_types import BrokerId, Offset, Side, TopicName, TopicPartition
from kmigrate.runner.reach import Reach
from kmigrate.wire import calls
from kmigrate.wire.call import error_name


class Leaders(Protocol):
    """One cluster, for whoever reads its partitions. Every method may raise ClusterError."""

    @property
    def side(self) -> Side:
        """Which cluster it is."""

    def link(self, partition: TopicPartition) -> Link:
        """A link to the partition's leader that nobody else uses until it is given back or dropped."""

    def give_back(self, partition: TopicPartition, link: Link) -> None:
        """The link is free again; nothing is under way on it."""

    def drop(self, partition: TopicPartition, link: Link | None) -> None:
        """The link is of no use, or the leader has moved: the next one goes to whoever leads then."""

    def log_start(self, partition: TopicPartition) -> Offset:
        """Where the partition's log starts now."""

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> Offset | None:
        """The first decided record at or after a time; None if there is none."""


class ClusterLeaders:
    """The leaders of a real cluster."""

    def __init__(self, reach: Reach, topics: Iterable[TopicName] = ()) -> None:
        """`topics` are those whose leaders will be asked for: they are told by one answer."""
        self.side = reach.side
        self._client = reach.client()
        self._topics = frozenset(topics)
        self._leaders: dict[TopicPartition, BrokerId] = {}
        self._free: dict[BrokerId, list[Link]] = {}

    def link(self, partition: TopicPartition) -> Link:
        leader = self._leader(partition)
        free = self._free.get(leader)
        return free.pop() if free else self._client.connect(leader)

    def give_back(self, partition: TopicPartition, link: Link) -> None:
        leader = self._leaders.get(partition)
        if leader is None:
            link.close()
        else:
            self._free.setdefault(leader, []).append(link)

    def drop(self, partition: TopicPartition, link: Link | None) -> None:
        if link is not None:
            link.close()
        leader = self._leaders.pop(partition, None)
        for idle in self._free.pop(leader, []) if leader is not None else []:
            idle.close()

    def log_start(self, partition: TopicPartition) -> Offset:
        return self._list_offset(partition, calls.EARLIEST, "the log start")

    def offset_at(self, partition: TopicPartition, timestamp_ms: int) -> Offset | None:
        found = self._list_offset(partition, max(0, timestamp_ms), "the place of a time")
        return found if found >= 0 else None

    def _list_offset(self, partition: TopicPartition, timestamp_ms: int, what: str) -> Offset:
        call = calls.list_offsets([partition], timestamp_ms, calls.READ_COMMITTED)
        found = self._client.broker(self._leader(partition), call).get(partition)
        if found is None or found.error:
            self._leaders.pop(partition, None)
            code = 0 if found is None else found.error
            raise BrokerRefused(f"{what} of {partition}", code=code, name=error_name(code), side=self.side)
        return found.offset

    def close(self) -> None:
        """Closes every link that is free."""
        for links in self._free.values():
            for link in links:
                with contextlib.suppress(OSError):
                    link.close()
        self._free.clear()
        self._client.close()

    def _leader(self, partition: TopicPartition) -> BrokerId:
        known = self._leaders.get(partition)
        if known is not None:
            return known
        metadata = self._client.metadata(sorted(self._topics | {partition.topic}))
        self._leaders |= {
            TopicPartition(name, number): each.leader
            for name, topic in metadata.topics.items()
            for number, each in topic.partitions.items()
            if each.leader in metadata.brokers
        }
        leader = self._leaders.get(partition)
        if leader is None:
            raise Unreachable(f"{partition} has no leader now", side=self.side)
        return leader
