"""Appends a record batch as it is: for what no client would lay out so.

The request is spelled out (Produce v7, which every broker from 2.1 to 4.x speaks), so that nothing of kmigrate's takes
part. Source: ProduceRequest.json, ProduceResponse.json.
"""

from __future__ import annotations

import socket
import struct

from confluent_kafka.admin import AdminClient

from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.demo.quorum import INTERNAL

_PRODUCE = 0
_VERSION = 7
_ALL_REPLICAS = -1
_TIMEOUT_MS = 30_000


def append_batch(
    cluster: EmbeddedCluster, topic: str, batch: bytes, partition: int = 0, *, transactional_id: str | None = None
) -> range:
    """Appends one batch of format v2 through the partition's leader; returns the offsets of its records.

    A transactional batch is taken only with some transactional id.
    """
    name = topic.encode()
    request = struct.pack(">hhih", _PRODUCE, _VERSION, 1, -1)
    request += b"\xff\xff" if transactional_id is None else struct.pack(">h", len(transactional_id.encode()))
    request += (transactional_id or "").encode() + struct.pack(">hi", _ALL_REPLICAS, _TIMEOUT_MS)
    request += struct.pack(f">ih{len(name)}sii", 1, len(name), name, 1, partition)
    request += struct.pack(">i", len(batch)) + batch
    address = "127.0.0.1", cluster.port(_find_leader(cluster, topic, partition), INTERNAL)
    with socket.create_connection(address, timeout=_TIMEOUT_MS / 1000) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        answer = _receive(connection, size)
    error, base_offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len(name) + 4 + 4)
    assert error == 0, f"{topic}-{partition} refuses a batch with error {error}"
    (last_offset_delta,) = struct.unpack_from(">i", batch, 23)
    return range(base_offset, base_offset + last_offset_delta + 1)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the broker closed the connection"
        data += piece
    return bytes(data)


def _find_leader(cluster: EmbeddedCluster, topic: str, partition: int) -> int:
    if len(cluster.broker_ids) == 1:
        return cluster.broker_ids[0]
    metadata = AdminClient({"bootstrap.servers": cluster.direct_bootstrap}).list_topics(topic, timeout=30)
    return int(metadata.topics[topic].partitions[partition].leader)
