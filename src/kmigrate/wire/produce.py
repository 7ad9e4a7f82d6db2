"""Produce by hand: one request of many partitions around batches that stay where they are.

Version 8 is spoken by every broker from 2.4 to 4.x and carries an error message for a refused batch.
Source: ProduceRequest.json, ProduceResponse.json.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

API_KEY = 0
VERSION = 8
ACKS_ALL = -1

_HEADER = struct.Struct(">ihhih")
_BODY = struct.Struct(">hhii")
_PARTITION = struct.Struct(">ii")
_ANSWER = struct.Struct(">ihqqqi")
_PLAIN_ANSWER = struct.Struct(">ihqqqih")
"""An answer without errors in records and without a message: what is usual."""


class AppendAnswer(NamedTuple):
    """What a broker says about one batch: `base_offset` is where it lies, if there is no error."""

    error: int
    base_offset: int
    message: str


class ProduceAnswer(NamedTuple):
    """A whole answer: `throttle_ms` is for how long the broker reads nothing more from this connection.

    `partitions` are keyed by topic name and partition.
    """

    correlation_id: int
    throttle_ms: int
    partitions: dict[tuple[bytes, int], AppendAnswer]


def serialize_produce(
    *,
    correlation_id: int,
    client_id: bytes,
    timeout_ms: int,
    batches: Mapping[bytes, Sequence[tuple[int, memoryview]]],
) -> list[bytes | memoryview]:
    """The buffers of a framed request with acks=all: topic name → (partition, one record batch) pairs.

    The batches themselves are lent, not copied.
    """
    buffers: list[bytes | memoryview] = [b""]
    size = 0
    head = _BODY.pack(-1, ACKS_ALL, timeout_ms, len(batches))
    for topic, parts in batches.items():
        head += len(topic).to_bytes(2, "big") + topic + len(parts).to_bytes(4, "big")
        for partition, batch in parts:
            length = len(batch)
            head += _PARTITION.pack(partition, length)
            buffers.append(head)
            buffers.append(batch)
            size += len(head) + length
            head = b""
    total = _HEADER.size - 4 + len(client_id) + size
    buffers[0] = _HEADER.pack(total, API_KEY, VERSION, correlation_id, len(client_id)) + client_id
    return buffers


def parse_produce(answer: memoryview) -> ProduceAnswer:
    """The decoded answer; raises ValueError if it is not one."""
    try:
        return _parse(answer)
    except (struct.error, IndexError) as error:
        raise ValueError(f"the Produce answer ends early: {error}") from error


def _parse(answer: memoryview) -> ProduceAnswer:
    correlation_id, topics = struct.unpack_from(">ii", answer, 0)
    at = 8
    found: dict[tuple[bytes, int], AppendAnswer] = {}
    for _ in range(topics):
        topic, at = _string(answer, at)
        (parts,) = struct.unpack_from(">i", answer, at)
        at += 4
        for _ in range(parts):
            index, error, base_offset, _time, _start, record_errors, length = _PLAIN_ANSWER.unpack_from(answer, at)
            if record_errors <= 0 and length < 0:
                at += _PLAIN_ANSWER.size
                found[topic, index] = AppendAnswer(error, base_offset, "")
                continue
            at += _ANSWER.size
            words = []
            for _ in range(max(0, record_errors)):
                text, at = _string(answer, at + 4)
                words.append(text)
            text, at = _string(answer, at)
            message = "; ".join(part.decode(errors="replace") for part in [text, *words] if part)
            found[topic, index] = AppendAnswer(error, base_offset, message)
    (throttle_ms,) = struct.unpack_from(">i", answer, at)
    return ProduceAnswer(correlation_id, throttle_ms, found)


def _string(buffer: memoryview, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">h", buffer, at)
    end = at + 2 + max(0, length)
    return bytes(buffer[at + 2 : end]), end
