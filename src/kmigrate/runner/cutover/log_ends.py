"""The true log ends of topics on one side, as effects go by them.

Rule: all of them or none: one that is not known, or not decided, is waited for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.preflight.bounds import Bounds, read_bounds
from kmigrate.runner.cutover.carrying import Waits


def find_log_ends(
    open_client: Callable[[], ClusterClient], side: Side, topics: Sequence[TopicName], *, settled: bool
) -> dict[TopicPartition, Offset] | Waits:
    """Where all partitions of these topics end; `settled`: only where nothing is open, and every replica is in sync."""
    with contextlib.closing(open_client()) as client:
        metadata = client.metadata(topics)
        places = [TopicPartition(name, number) for name in topics for number in metadata.topics[name].partitions]
        bounds = read_bounds(client, metadata, places)
    ends: dict[TopicPartition, Offset] = {}
    for tp, each in bounds.items():
        if not isinstance(each, Bounds):
            return Waits(f"{tp} on the {side}: {each.reason}")
        if settled and not each.end == each.high_watermark == each.last_stable:
            return Waits(
                f"{tp} on the {side} ends at {each.end}, and only {each.last_stable} is decided and replicated"
            )
        ends[tp] = each.end
    return ends
