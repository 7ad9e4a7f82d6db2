"""A mark is how far a partition of the source could be read at one moment: what `--until in-sync` waits for.

The source is asked once for each partition, when everything is ordered: min(high watermark, last stable offset). A
leader that does not answer is asked again; who writes meanwhile does not move the mark.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, TopicPartition
from kmigrate.runner.errand import Errand
from kmigrate.wire import calls
from kmigrate.wire.error_codes import ErrorCode

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5


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
