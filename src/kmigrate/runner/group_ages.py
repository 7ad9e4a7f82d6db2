"""How old what groups read next is: a small fetch at each commit, and the time in the header of the batch there.

Rule: bounded and asked for by name. What is not told within the bounds stays unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import Connection
from kmigrate.cluster.reader import Fetched, fetch_once
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerAddress, Offset, Side, TopicId, TopicPartition
from kmigrate.preflight.bounds import by_leader
from kmigrate.records.batch import HEADER_BYTES, LOG_APPEND_TIME, MAGIC_OFFSET, parse_header

log = logging.getLogger(__name__)
PLACES = 200
"""How many places are looked at for one answer."""
TOGETHER = 16
PARTITION_BYTES = 256 << 10

At: TypeAlias = tuple[TopicPartition, Offset]
Open = Callable[[BrokerAddress], Connection]


def choose(places: Mapping[At, int]) -> list[At]:
    """Of these places, with what is left to be read from each, the ones that are looked at: the furthest behind."""
    return sorted(places, key=lambda at: -places[at])[:PLACES]


def read_times(source: ClusterClient, open_link: Open, places: Collection[At]) -> dict[At, int]:
    """The time of the batch that is read next at each place, in milliseconds; what is not told is left out."""
    found: dict[At, int] = {}
    try:
        metadata = source.metadata(sorted({partition.topic for partition, _ in places}))
        led, _ = by_leader(metadata, {partition for partition, _ in places})
        for leader, partitions in led.items():
            link = open_link(metadata.brokers[leader])
            try:
                for wanted in _requests([at for at in places if at[0] in set(partitions)]):
                    asked = {tp: (TopicId(metadata.topics[tp.topic].topic_id), offset) for tp, offset in wanted.items()}
                    for part in fetch_once(Side.SOURCE, link, asked, partition_bytes=PARTITION_BYTES, max_wait_ms=0):
                        time_ms = time_of(part, asked[part.partition][1])
                        if time_ms is not None:
                            found[part.partition, asked[part.partition][1]] = time_ms
            finally:
                link.close()
    except ClusterError as error:
        log.info("how old what groups read next is: %s", error)
    return found


def time_of(fetched: Fetched, offset: Offset) -> int | None:
    """The time of the first batch that reaches beyond an offset; None if none came, or only one of an old format."""
    view, at = fetched.records, 0
    while not fetched.error and at + HEADER_BYTES <= len(view) and view[at + MAGIC_OFFSET] == 2:
        header = parse_header(view, at)
        if header.next_offset > offset:
            is_append_time = header.attributes & LOG_APPEND_TIME
            time_ms = header.max_timestamp_ms if is_append_time else header.base_timestamp_ms
            return time_ms if time_ms >= 0 else None
        if header.size < HEADER_BYTES:
            return None
        at += header.size
    return None


def _requests(places: Sequence[At]) -> Iterator[dict[TopicPartition, Offset]]:
    """The places in requests, each of which names a partition once."""
    left = list(places)
    while left:
        request: dict[TopicPartition, Offset] = {}
        rest = []
        for partition, offset in left:
            if partition in request or len(request) >= TOGETHER:
                rest.append((partition, offset))
            else:
                request[partition] = offset
        left = rest
        yield request
