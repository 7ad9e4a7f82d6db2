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
_NO_TOPIC = 0
_ALL_TOPICS = -1


def list_known_brokers(host: str, port: int, *, timeout_seconds: float = 2.0) -> frozenset[int] | None:
    """The ids of the live brokers that the broker at this port knows; none if it gives no answer."""
    answer = _ask(host, port, _NO_TOPIC, timeout_seconds)
    return None if answer is None else _Answer(answer).brokers()


def list_known_topics(host: str, port: int, *, timeout_seconds: float = 2.0) -> frozenset[str] | None:
    """The topics that the broker at this port knows; none if it gives no answer."""
    answer = _ask(host, port, _ALL_TOPICS, timeout_seconds)
    return None if answer is None else _Answer(answer).topics()


def _ask(host: str, port: int, topics: int, timeout_seconds: float) -> bytes | None:
    request = struct.pack(f">hhih{len(_CLIENT_ID)}s", _METADATA, _VERSION, 1, len(_CLIENT_ID), _CLIENT_ID)
    request += struct.pack(">i?", topics, False)  # create none
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", _read_exactly(connection, 4))
            return _read_exactly(connection, size)
    except OSError:
        return None


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("closed before the whole answer came")
        data += piece
    return bytes(data)


class _Answer:
    """A Metadata answer, read from its beginning."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._at = 8  # correlation id, throttle time

    def brokers(self) -> frozenset[int]:
        ids = []
        for _ in range(self._number(4)):
            ids.append(self._number(4))
            self._text()  # host
            self._number(4)  # port
            self._text()  # rack
        return frozenset(ids)

    def topics(self) -> frozenset[str]:
        self.brokers()
        self._text()  # cluster id
        self._number(4)  # controller
        names = []
        for _ in range(self._number(4)):
            self._number(2)  # error
            names.append(self._text())
            self._number(1)  # is internal
            for _ in range(self._number(4)):
                self._skip(10)  # error, index, leader
                self._skip(4 * self._number(4))  # replicas
                self._skip(4 * self._number(4))  # those in sync
        return frozenset(names)

    def _skip(self, size: int) -> None:
        self._at += size

    def _number(self, size: int) -> int:
        self._skip(size)
        return int.from_bytes(self._answer[self._at - size : self._at], "big", signed=True)

    def _text(self) -> str:
        size = max(self._number(2), 0)
        self._skip(size)
        return self._answer[self._at - size : self._at].decode()
