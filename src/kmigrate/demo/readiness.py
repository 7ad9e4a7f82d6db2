"""A broker is ready when it answers a Metadata request and knows the brokers that it should know.

An open port proves little: the socket server listens before the broker is unfenced. The request is
spelled out here (Metadata v4, https://kafka.apache.org/protocol#The_Messages_Metadata), so that a
cluster can be watched from outside of the code that it is there to test.
"""

from __future__ import annotations

import socket
import struct

_METADATA = 3
_VERSION = 4
_CLIENT_ID = b"kmigrate-ready"


def list_known_brokers(host: str, port: int, *, timeout_seconds: float = 2.0) -> frozenset[int] | None:
    """The ids of the live brokers that the broker at this port knows; none if it gives no answer."""
    request = struct.pack(f">hhih{len(_CLIENT_ID)}s", _METADATA, _VERSION, 1, len(_CLIENT_ID), _CLIENT_ID)
    request += struct.pack(">i?", 0, False)  # about no topic, create none
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", _read_exactly(connection, 4))
            return _parse_broker_ids(_read_exactly(connection, size))
    except OSError:
        return None


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("closed before the whole answer came")
        data += piece
    return data


def _parse_broker_ids(answer: bytes) -> frozenset[int]:
    position = 8  # correlation id, throttle time
    (count,) = struct.unpack_from(">i", answer, position)
    position += 4
    ids = []
    for _ in range(count):
        node_id, host_size = struct.unpack_from(">ih", answer, position)
        position += 6 + host_size + 4  # host, port
        (rack_size,) = struct.unpack_from(">h", answer, position)
        position += 2 + max(rack_size, 0)
        ids.append(node_id)
    return frozenset(ids)
