"""Filler: records that take up offsets and say nothing.

They bring a new target partition to the source's log start, and are deleted again before anybody reads. Key and value
are null. Batches hold 2^k of them, so that a handful of different ones fills anything; their records are the same every
time, and the largest takes 0.7 MB.
"""

from __future__ import annotations

from functools import lru_cache

from kmigrate.records.batch import HEADER, HEADER_BYTES, LENGTH_OVERHEAD, MAGIC
from kmigrate.records.compression import Codec, compress
from kmigrate.records.record import varint

LARGEST_SIZE = 19
"""2^19 records: 0.7 MB, under every broker's default limit, and about 0.2 s of its time."""
_NULL_BODY = b"\x01\x01\x00"
"""Key length -1, value length -1, no headers."""


@lru_cache(maxsize=LARGEST_SIZE + 1)
def _section(size: int) -> bytes:
    heads = (b"\0\0" + varint(delta) for delta in range(1 << size))  # attributes, timestamp delta, offset delta
    return compress(Codec.GZIP, b"".join(bytes([2 * (len(head) + 3)]) + head + _NULL_BODY for head in heads))


def filler_bytes(size: int) -> int:
    """How long a batch of 2^size records is."""
    return HEADER_BYTES + len(_section(size))


def build_filler(size: int, timestamp_ms: int) -> bytearray:
    """One batch of 2^size null/null records with this timestamp; its CRC is that of whoever stamps it."""
    section, count = _section(size), 1 << size
    batch = bytearray(HEADER_BYTES) + section
    length = len(batch) - LENGTH_OVERHEAD
    HEADER.pack_into(
        batch, 0, 0, length, -1, MAGIC, 0, Codec.GZIP, count - 1, timestamp_ms, timestamp_ms, -1, -1, -1, count
    )
    return batch
