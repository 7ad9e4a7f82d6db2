"""Whether all that lies behind the last words of those who copied is the copy's own: what an application wrote there
meanwhile must not count as copied.

Rule: headers tell; reads only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.reader import whole_batches
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, ProducerId, Side, TopicPartition
from kmigrate.query.sides import ClusterSide
from kmigrate.wire.calls import READ_UNCOMMITTED

FETCH_BYTES = 256 << 10
Fetch = Callable[[TopicPartition, Offset, int], memoryview]


def find_stranger(
    open_client: Callable[[], ClusterClient],
    ours: Collection[ProducerId],
    partition: TopicPartition,
    start: Offset,
    end: Offset,
) -> Offset | None:
    """The first offset of the target from `start` below `end` that the copy did not write; None if there is none.

    Raises ClusterError where that cannot be read now.
    """
    side = ClusterSide(Side.TARGET, open_client(), READ_UNCOMMITTED)
    with side:
        side.partitions([partition.topic])
        return search(lambda tp, at, size: side.fetch(tp, at, size).records, ours, partition, start, end)


def search(
    fetch: Fetch, ours: Collection[ProducerId], partition: TopicPartition, start: Offset, end: Offset
) -> Offset | None:
    """The same, of what `fetch` brings."""
    at = start
    while at < end:
        stored, _ = whole_batches(fetch(partition, at, FETCH_BYTES))
        if not stored:
            raise ClusterError(f"nothing comes at {partition}@{at}", side=Side.TARGET, hint="wait")
        for header, behind, _ in stored:
            if behind <= at:
                continue
            if at >= end:
                break
            if header is None or header.producer_id not in ours:
                return at
            at = Offset(behind)
    return None
