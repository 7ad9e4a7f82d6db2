"""Fetch by hand: requests laid out and answers walked without copying a record.

Versions 12 (topics by name) and 13 (topics by id, KIP-516); both carry the last fetched epoch (KIP-595) and are
answered with a diverging epoch where the logs disagree. Source: FetchRequest.json, FetchResponse.json.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kmigrate.wire.varints import read_uvarint, skip_tags, uvarint

API_KEY = 1
BY_NAME = 12
BY_ID = 13

_HEADER = struct.Struct(">hhih")
_BODY = struct.Struct(">iiiibii")
_WISH = struct.Struct(">iiqiqib")
_PARTITION = struct.Struct(">ihqqq")
_EPOCH_END = struct.Struct(">iq")
_ABORTED = struct.Struct(">qq")


class Wish(NamedTuple):
    """What is asked for one partition.

    `last_fetched_epoch` is the leader epoch of the record before `offset` (-1: not known).
    """

    partition: int
    leader_epoch: int
    offset: int
    last_fetched_epoch: int
    max_bytes: int


class FetchedPartition(NamedTuple):
    """One partition of an answer; its record batches lie in the answer's buffer, from `start` to `end`.

    `diverging` is (epoch, end offset) where the source's log parts from what was fetched; else None. `aborted` are the
    (producer id, first offset) of aborted transactions whose records may be among them.
    """

    topic: bytes
    partition: int
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    diverging: tuple[int, int] | None
    start: int
    end: int
    aborted: tuple[tuple[int, int], ...] = ()


class FetchAnswer(NamedTuple):
    """A whole answer; `throttle_ms` is how long the broker wants us to wait."""

    correlation_id: int
    throttle_ms: int
    error: int
    session_id: int
    partitions: list[FetchedPartition]


def topic_key(version: int, name: str, topic_id: str) -> bytes:
    """How a topic is named in messages of this version: its id's 16 bytes, or its name."""
    return bytes.fromhex(topic_id) if version >= BY_ID else name.encode()


def serialize_fetch(
    *,
    version: int,
    correlation_id: int,
    client_id: bytes,
    max_wait_ms: int,
    max_bytes: int,
    isolation_level: int,
    session_id: int,
    session_epoch: int,
    wishes: Mapping[bytes, Sequence[Wish]],
    forgotten: Mapping[bytes, Sequence[int]],
) -> bytes:
    """A framed Fetch request. Keys are `topic_key`s; `forgotten` partitions leave the session."""
    out = bytearray(4)
    out += _HEADER.pack(API_KEY, version, correlation_id, len(client_id)) + client_id + b"\0"
    out += _BODY.pack(-1, max_wait_ms, 1, max_bytes, isolation_level, session_id, session_epoch)
    out += uvarint(len(wishes) + 1)
    for topic, partitions in wishes.items():
        out += _topic(version, topic) + uvarint(len(partitions) + 1)
        for wish in partitions:
            out += _WISH.pack(
                wish.partition, wish.leader_epoch, wish.offset, wish.last_fetched_epoch, -1, wish.max_bytes, 0
            )
        out += b"\0"
    out += uvarint(len(forgotten) + 1)
    for topic, indexes in forgotten.items():
        out += _topic(version, topic) + uvarint(len(indexes) + 1)
        out += b"".join(index.to_bytes(4, "big") for index in indexes) + b"\0"
    out += b"\x01\0"  # no rack, no tags
    out[0:4] = (len(out) - 4).to_bytes(4, "big")
    return bytes(out)


def parse_fetch(answer: memoryview, version: int) -> FetchAnswer:
    """Walks an answer (without its frame length); raises ValueError if it is not one."""
    try:
        return _parse(answer, version)
    except (struct.error, IndexError) as error:
        raise ValueError(f"the Fetch answer ends early: {error}") from error


def _parse(answer: memoryview, version: int) -> FetchAnswer:
    (correlation_id,) = struct.unpack_from(">i", answer, 0)
    at = skip_tags(answer, 4)
    throttle_ms, error, session_id = struct.unpack_from(">ihi", answer, at)
    count, at = read_uvarint(answer, at + 10)
    partitions: list[FetchedPartition] = []
    for _ in range(count - 1):
        size, at = (16, at) if version >= BY_ID else _length(answer, at)
        topic = bytes(answer[at : at + size])
        parts, at = read_uvarint(answer, at + size)
        for _ in range(parts - 1):
            partition, at = _parse_partition(answer, at, topic)
            partitions.append(partition)
        at = skip_tags(answer, at)
    return FetchAnswer(correlation_id, throttle_ms, error, session_id, partitions)


def _parse_partition(answer: memoryview, at: int, topic: bytes) -> tuple[FetchedPartition, int]:
    index, error, high_watermark, last_stable, log_start = _PARTITION.unpack_from(answer, at)
    count, at = read_uvarint(answer, at + _PARTITION.size)
    aborted = []
    for _ in range(count - 1):
        aborted.append(_ABORTED.unpack_from(answer, at))
        at = skip_tags(answer, at + _ABORTED.size)
    size, at = read_uvarint(answer, at + 4)  # past the preferred read replica
    start = at
    end = at = start + max(0, size - 1)
    if end > len(answer):
        raise ValueError("the records of a partition reach beyond the answer")
    diverging = None
    tags, at = read_uvarint(answer, at)
    for _ in range(tags):
        tag, at = read_uvarint(answer, at)
        length, at = read_uvarint(answer, at)
        if tag == 0:
            diverging = _EPOCH_END.unpack_from(answer, at)
        at += length
    fetched = FetchedPartition(
        topic, index, error, high_watermark, last_stable, log_start, diverging, start, end, tuple(aborted)
    )
    return fetched, at


def _topic(version: int, topic: bytes) -> bytes:
    return topic if version >= BY_ID else uvarint(len(topic) + 1) + topic


def _length(buffer: memoryview, at: int) -> tuple[int, int]:
    number, at = read_uvarint(buffer, at)
    return number - 1, at
