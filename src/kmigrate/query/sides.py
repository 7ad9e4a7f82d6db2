"""One cluster as it is read here: its topics, where logs begin and end, and fetches from leaders.

Bounded: an answer of at most FETCH_BYTES (or one batch, if that is larger) at a time, over one connection to each
leader. A leader that moves is followed for a few seconds; whatever else a broker says against a fetch is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.reader import Fetched, fetch_once
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import ClusterError, ConnectionLost, Unreachable, UsageError
from kmigrate.kafka_types import BrokerId, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.query.places import Bounds
from kmigrate.query.side_by_side import side_by_side
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import EARLIEST, LATEST, OffsetAnswer
from kmigrate.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from kmigrate.manifest.settings import ClusterSettings

MAX_WAIT_MS = 100
ATTEMPTS = 10
_AGAIN_SECONDS = 0.3
_MOVED = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.KAFKA_STORAGE_ERROR,
    }
)
"""What passes: another broker leads now, or this one will in a moment."""


class ClusterSide:
    """Reads one cluster at an isolation level; not thread-safe. A context manager."""

    def __init__(self, side: Side, client: ClusterClient, isolation_level: int, cluster_id: str | None = None) -> None:
        """`cluster_id` is that of the manifest: another cluster is refused when it is asked first."""
        self.side = side
        self.isolation_level = isolation_level
        self._client = client
        self._cluster_id = cluster_id
        self._leaders: dict[TopicPartition, BrokerId] = {}
        self._ids: dict[TopicName, TopicId] = {}

    @classmethod
    def of(cls, side: Side, cluster: ClusterSettings, migration: str, isolation_level: int) -> Self:
        """This side of a manifest; nothing is asked yet."""
        client = ClusterClient(side, cluster.bootstrap, ConnectionSettings.of(cluster, migration))
        return cls(side, client, isolation_level, cluster.cluster_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    def topics(self) -> Mapping[TopicName, calls.TopicMetadata]:
        """All topics that this cluster shows us; raises Refused if it is another one than the manifest names."""
        return self._describe(None)

    def _describe(self, topics: Sequence[TopicName] | None) -> Mapping[TopicName, calls.TopicMetadata]:
        described = self._client.metadata(topics)
        if self._cluster_id is not None:
            from kmigrate.preflight.guards import guard_cluster  # brings a whole room along

            guard_cluster(self.side, described.cluster_id, wanted=self._cluster_id, remembered=None)
            self._cluster_id = None
        return described.topics

    def partitions(self, topics: Collection[TopicName]) -> dict[TopicName, list[TopicPartition]]:
        """The partitions of each of these topics that there is; those that are missing are left out.

        Raises Refused if it is another cluster than the manifest names.
        """
        described = self._describe(sorted(topics))
        found: dict[TopicName, list[TopicPartition]] = {}
        for name in topics:
            topic = described.get(name)
            if topic is None or topic.error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                continue
            if topic.error and not topic.partitions:
                raise ClusterError(
                    f"topic {name} is not shown: {error_name(topic.error)}",
                    side=self.side,
                    hint="the right DESCRIBE on the topic: `kmigrate check -f FILE` names it with its command"
                    if topic.error == ErrorCode.TOPIC_AUTHORIZATION_FAILED
                    else "the same command again",
                )
            self._ids[name] = topic.topic_id
            found[name] = [TopicPartition(name, Partition(each)) for each in sorted(topic.partitions)]
            for partition in found[name]:
                self._leaders[partition] = topic.partitions[partition.partition].leader
        return found

    def topic_id(self, topic: TopicName) -> TopicId:
        """The id of a topic, as `partitions` last saw it."""
        return self._ids[topic]

    def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Log start, and high watermark or last stable offset, of each; raises ClusterError for one that is silent."""
        partitions = list(partitions)
        starts = self.offsets_at(partitions, EARLIEST)
        ends = self.offsets_at(partitions, LATEST)
        return {
            each: Bounds(starts[each].offset, max(starts[each].offset, ends[each].offset))  # trimmed in between
            for each in partitions
        }

    def offsets_at(self, partitions: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, OffsetAnswer]:
        """What ListOffsets tells of each; offset −1 where no record is so new.

        Raises ClusterError for a partition that cannot be asked.
        """
        found: dict[TopicPartition, OffsetAnswer] = {}
        left = list(partitions)
        for attempt in range(ATTEMPTS):
            left = self._ask_offsets(left, timestamp_ms, found, is_last=attempt == ATTEMPTS - 1)
            if not left:
                break
            self.look_again(left)
        return found

    def _ask_offsets(
        self,
        partitions: Sequence[TopicPartition],
        timestamp_ms: int,
        found: dict[TopicPartition, OffsetAnswer],
        *,
        is_last: bool,
    ) -> list[TopicPartition]:
        """Asks each leader; what passes is handed back, unless it was the last attempt."""
        again: list[TopicPartition] = []
        for leader, led in self._by_leader(partitions).items():
            answers: Mapping[TopicPartition, OffsetAnswer] = {}
            try:
                if leader >= 0:
                    answers = self._client.broker(leader, calls.list_offsets(led, timestamp_ms, self.isolation_level))
            except (Unreachable, ConnectionLost):
                if is_last:
                    raise
                again += led
                continue
            for each in led:
                answer = answers.get(each, OffsetAnswer(ErrorCode.LEADER_NOT_AVAILABLE, Offset(-1), -1))
                if not answer.error:
                    found[each] = answer
                elif answer.error in _MOVED and not is_last:
                    again.append(each)
                else:
                    raise self.refusal(each, answer.error)
        return again

    def fetch(self, partition: TopicPartition, offset: Offset, max_bytes: int) -> Fetched:
        """What lies at an offset and behind it; OFFSET_OUT_OF_RANGE is the caller's, any other error a ClusterError.

        An answer that a quota holds back is asked for again.
        """
        for attempt in range(ATTEMPTS):
            try:
                answers = self.fetch_some({partition: offset}, max_bytes)
            except (Unreachable, ConnectionLost):
                if attempt == ATTEMPTS - 1:
                    raise
                self.look_again([partition])
                continue
            for answer in answers:
                if answer.error not in _MOVED:
                    if answer.error and answer.error != ErrorCode.OFFSET_OUT_OF_RANGE:
                        raise self.refusal(partition, answer.error, offset)
                    return answer
                self.look_again([partition])
        raise ClusterError(
            f"{partition}@{offset} does not come after {ATTEMPTS} attempts",
            side=self.side,
            hint="its leader may be moving, or a quota holds it back: the same command again",
        )

    def fetch_some(
        self, at: Mapping[TopicPartition, Offset], max_bytes: int, max_wait_ms: int = MAX_WAIT_MS
    ) -> list[Fetched]:
        """One fetch from each leader of these partitions; a broken link is opened anew the next time."""
        found: list[Fetched] = []
        for leader, led in self._by_leader(at).items():
            if leader < 0:
                found += [Fetched(each, ErrorCode.LEADER_NOT_AVAILABLE, -1, memoryview(b""), ()) for each in led]
                continue
            try:
                found += fetch_once(
                    self.side,
                    self._client.link(leader),
                    {each: (self._ids[each.topic], at[each]) for each in led},
                    partition_bytes=max_bytes,
                    max_wait_ms=max_wait_ms,
                    isolation_level=self.isolation_level,
                )
            except BaseException:  # Ctrl-C as well: an answer may still be on its way
                self._client.drop(leader)
                raise
        return found

    def has_moved(self, partition: TopicPartition, error: int) -> bool:
        """Whether an error of a fetch passes by itself; then the leader is looked for anew."""
        if error not in _MOVED:
            return False
        self.look_again([partition])
        return True

    def refusal(self, partition: TopicPartition, error: int, offset: Offset | None = None) -> ClusterError:
        """A broker's error about a partition, in words."""
        place = str(partition) if offset is None else f"{partition}@{offset}"
        hint = "the same command again"
        if error == ErrorCode.TOPIC_AUTHORIZATION_FAILED:
            hint = "the right READ on the topic: `kmigrate check -f FILE` names it with its command"
        elif error == ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT:
            hint = "its message format has no timestamps: ask by offset"
        return ClusterError(f"{place} cannot be read: {error_name(error)}", side=self.side, hint=hint)

    def _by_leader(self, partitions: Iterable[TopicPartition]) -> dict[BrokerId, list[TopicPartition]]:
        led: dict[BrokerId, list[TopicPartition]] = {}
        for each in partitions:
            led.setdefault(self._leaders[each], []).append(each)
        return led

    def look_again(self, partitions: Sequence[TopicPartition]) -> None:
        """Asks who leads these partitions now, after a moment; nobody answers: then as before."""
        time.sleep(_AGAIN_SECONDS)
        try:
            self.partitions({each.topic for each in partitions})
        except (Unreachable, ConnectionLost):
            return


def known_partitions(
    sides: Sequence[ClusterSide], topics: Sequence[TopicName], numbers: Sequence[int] = ()
) -> dict[Side, list[TopicPartition]]:
    """The partitions of these topics on each side, or those of these numbers; raises UsageError if no side has one."""
    found = side_by_side(sides, lambda side: side.partitions(topics))
    names = " and ".join(str(side.side) for side in sides)
    for topic in topics:
        there = {each.partition for mine in found.values() for each in mine.get(topic, ())}
        if not there:
            raise UsageError(
                f"topic {topic!r} is not on the {names}, or this user may not see it",
                hint="compare the name; `kmigrate check -f FILE` shows missing rights",
            )
        for number in numbers:
            if number not in there:
                raise UsageError(f"topic {topic!r} has no partition {number}", hint=f"it has {len(there)}, from 0 on")
    return {
        side: [each for topic in topics for each in mine.get(topic, ()) if not numbers or each.partition in numbers]
        for side, mine in found.items()
    }
