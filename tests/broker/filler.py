"""Very many records in a moment: batches of filler, which hold up to half a million in 0.7 MB."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import BrokerAddress, BrokerId, ProducerId, Side
from kmigrate.records.batch import stamp
from kmigrate.records.compression import Codec
from kmigrate.records.filler import build_filler
from kmigrate.wire.produce import parse_produce, serialize_produce


def append_filler(cluster: EmbeddedCluster, topic: str, writer: ProducerId, sizes: Sequence[int]) -> int:
    """Appends batches of 2^size null records to partition 0, as the first that this producer id writes there.

    Returns how many records that were.
    """
    host, _, port = cluster.bootstrap.partition(":")
    address = BrokerAddress(BrokerId(1), host, int(port))
    count = 0
    with contextlib.closing(Connection(Side.TARGET, address, ConnectionSettings(client_id="filler"))) as link:
        for size in sizes:
            batch = memoryview(build_filler(size, time.time_ns() // 1_000_000))
            stamp(batch, 0, len(batch), writer, 0, count, Codec.GZIP)
            link.send(
                serialize_produce(
                    correlation_id=link.next_correlation_id(),
                    client_id=link.client_id,
                    timeout_ms=10_000,
                    batches={topic.encode(): [(0, batch)]},
                )
            )
            _, _, answers = parse_produce(link.receive(bytearray(1000)))
            assert answers[topic.encode(), 0].error == 0
            count += 1 << size
    return count
