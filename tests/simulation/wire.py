"""Fetch as a broker reads and answers it, by hand: a second implementation, and a quick one.

Source: FetchRequest.json and FetchResponse.json, versions 12 (topics by name) and 13 (by id).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.simulation.log import Served


class FetchPart(NamedTuple):
    """One partition of a request; -1 stands for an epoch that is not known."""

    topic: bytes
    partition: int
    leader_epoch: int
    offset: int
    last_epoch: int
    max_bytes: int


class FetchRequest(NamedTuple):
    """A whole request."""

    version: int
    correlation_id: int
    max_wait_ms: int
    max_bytes: int
    isolation_level: int
    session_id: int
    session_epoch: int
    parts: list[FetchPart]
    forgotten: list[tuple[bytes, int]]


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def unpack(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def no_tags(self) -> None:
        assert self.varint() == 0, "the product sends no tags"

    def topic(self, version: int) -> bytes:
        return self.take(16) if version >= 13 else self.take(self.varint() - 1)


def read_fetch_request(framed: bytes) -> FetchRequest:
    """A framed Fetch request; anything left over or odd is an AssertionError."""
    reader = _Reader(framed)
    size, key, version, correlation_id, client = reader.unpack(">ihhih")
    assert (size, key) == (len(framed) - 4, 1)
    reader.take(client)
    reader.no_tags()
    replica, max_wait_ms, min_bytes, max_bytes, isolation, session_id, session_epoch = reader.unpack(">iiiibii")
    assert (replica, min_bytes) == (-1, 1)
    assert isolation in (0, 1)
    parts, forgotten = [], []
    for _ in range(reader.varint() - 1):
        topic = reader.topic(version)
        for _ in range(reader.varint() - 1):
            index, leader_epoch, offset, last_epoch, _start, part_bytes = reader.unpack(">iiqiqi")
            reader.no_tags()
            parts.append(FetchPart(topic, index, leader_epoch, offset, last_epoch, part_bytes))
        reader.no_tags()
    for _ in range(reader.varint() - 1):
        topic = reader.topic(version)
        forgotten.extend((topic, *reader.unpack(">i")) for _ in range(reader.varint() - 1))
        reader.no_tags()
    assert reader.varint() == 1, "no rack"
    reader.no_tags()
    assert reader.at == len(framed)
    return FetchRequest(
        version, correlation_id, max_wait_ms, max_bytes, isolation, session_id, session_epoch, parts, forgotten
    )


def fetch_answer(
    version: int,
    correlation_id: int,
    *,
    throttle_ms: int = 0,
    error: int = 0,
    session_id: int = 0,
    topics: Mapping[bytes, Sequence[tuple[int, Served]]],
) -> bytes:
    """An answer without its frame length; topics by name or id, as the version wants."""
    out = [struct.pack(">ibihi", correlation_id, 0, throttle_ms, error, session_id), varint(len(topics) + 1)]
    for topic, parts in topics.items():
        out.append(topic if version >= 13 else varint(len(topic) + 1) + topic)
        out.append(varint(len(parts) + 1))
        for index, served in parts:
            ends = served.high_watermark, served.last_stable_offset, served.log_start
            out.append(struct.pack(">ihqqq", index, served.error, *ends) + _aborted(served.aborted) + _NO_REPLICA)
            out.append(varint(len(served.data) + 1) + served.data)
            if served.diverging is None:
                out.append(b"\0")
            else:
                out.append(b"\1\0\x0d" + struct.pack(">iqb", *served.diverging, 0))
        out.append(b"\0")
    out.append(b"\0")
    return b"".join(out)


_NO_REPLICA = struct.pack(">i", -1)


def _aborted(transactions: tuple[tuple[int, int], ...] | None) -> bytes:
    """The aborted transactions, or null for who did not ask for committed data only."""
    if transactions is None:
        return b"\0"
    return varint(len(transactions) + 1) + b"".join(struct.pack(">qqb", *each, 0) for each in transactions)
