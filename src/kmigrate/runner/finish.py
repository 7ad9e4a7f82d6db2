"""When `--until in-sync` is done: every partition has been copied up to its mark.

A mark is how far a partition of the source could be read at one moment: min(high watermark, last stable offset). The
source is asked once for each partition, when everything is ordered; who writes meanwhile does not move the mark. A
leader that does not answer is asked again. Stopped partitions are not waited for, resumed ones are.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.states import PartitionState
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, TopicPartition
from kmigrate.runner.copying import Copying
from kmigrate.runner.errand import Errand
from kmigrate.wire import calls
from kmigrate.wire.error_codes import ErrorCode

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5
SETTLE_SECONDS = 3.0
"""How long the end waits for partitions at their marks to be called in sync: some never are, as others write on."""
DONE = 0
STOPPED = 4


class Marks:
    """The marks of a run, asked for away from the owner's loop; used by one thread."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._under_way: Errand[dict[TopicPartition, Offset]] | None = None
        self._next_seconds = 0.0
        self.found: dict[TopicPartition, Offset] = {}

    def step(self, wanted: Collection[TopicPartition], now: float) -> bool:
        """Collects what was answered, and asks for wanted marks that are not there; True if all are."""
        if self._under_way is not None and self._under_way.done:
            try:
                answered = self._under_way.result()
            except ClusterError as error:
                log.warning("asking for log ends: %s", error)
                answered = {}
            self._under_way = None
            self._next_seconds = now + RETRY_SECONDS
            self.found.update(answered)
        missing = sorted(partition for partition in wanted if partition not in self.found)
        if missing and self._under_way is None and now >= self._next_seconds:
            self._under_way = Errand(lambda: self._ask(missing), "marks")
        return not missing

    def _ask(self, partitions: list[TopicPartition]) -> dict[TopicPartition, Offset]:
        topics = self._client.metadata(sorted({partition.topic for partition in partitions})).topics
        by_leader: dict[BrokerId, list[TopicPartition]] = {}
        for partition in partitions:
            topic = topics.get(partition.topic)
            part = None if topic is None else topic.partitions.get(partition.partition)
            if part is not None and part.leader >= 0:
                by_leader.setdefault(part.leader, []).append(partition)
        found: dict[TopicPartition, Offset] = {}
        for leader, some in by_leader.items():
            try:
                answer = self._client.broker(leader, calls.list_offsets(some, calls.LATEST, calls.READ_COMMITTED))
            except ClusterError as error:
                log.warning("asking for log ends: %s", error)
                continue
            found.update((tp, each.offset) for tp, each in answer.items() if each.error == ErrorCode.NONE)
        return found


_REACHED = (PartitionState.IN_SYNC, PartitionState.HANDED_OVER)


class Finish:
    """Decides when a run that was asked to end in sync may end."""

    def __init__(self, copying: Copying, marks: Marks) -> None:
        self._copying = copying
        self._marks = marks
        self._counted: tuple[TopicPartition, ...] | None = None
        self._reached_seconds: float | None = None

    def decide(self, now: float) -> int | None:
        """The exit code if all that counts is copied (4: the rest is stopped); None while something is left."""
        copying = self._copying
        if self._counted is None and copying.all_ordered:
            self._counted = tuple(copying.partitions)
        if self._counted is None:
            return None
        moving = [partition for partition in self._counted if not copying.is_stopped(partition)]
        if not self._marks.step(moving, now) or not all(map(self._is_at_mark, moving)):
            return None
        if self._reached_seconds is None:
            self._reached_seconds = now
        in_sync = all(copying.latest[partition].state in _REACHED for partition in moving)
        if not in_sync and now - self._reached_seconds < SETTLE_SECONDS:
            return None
        stopped = any(copying.is_stopped(tp) and not copying.is_waived(tp) for tp in copying.partitions)
        return STOPPED if stopped else DONE

    def _is_at_mark(self, partition: TopicPartition) -> bool:
        """Filler up to a mark is not what was meant, nor is it deleted yet."""
        progress = self._copying.latest.get(partition)
        if progress is None or progress.state is PartitionState.ALIGNING:
            return False
        if progress.state is PartitionState.WAITING and 0 < progress.source_start >= progress.position:
            return False
        return progress.position >= self._marks.found[partition]
