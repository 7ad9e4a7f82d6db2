"""The codecs of record batches, new and old framing.  (pure)

Whoever wrote a batch decides how far it inflates (a megabyte of zstd can become 32 GB), so nothing is decompressed
without a budget. What is compressed here is framed as Java's clients frame it, so that every consumer can read it.

Sources: KIP-57 (lz4 framing), snappy-java's stream format, LZ4 frame format 1.6.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator
from typing import Any

import cramjam

_FIRST_GUESS = 4  # times the compressed size
_XERIAL_HEAD = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
_XERIAL_MAGIC = _XERIAL_HEAD[:8]
_XERIAL_BLOCK_BYTES = 32 * 1024
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_DESCRIPTOR = b"\x60\x40"  # version 1, independent blocks of at most 64 KiB, no checksums, no content size
_LZ4_CONTENT_SIZE = 0x08
_LZ4_BLOCK_BYTES = 64 * 1024
_LZ4_PLAIN_BLOCK = 1 << 31


class Codec(enum.IntEnum):
    """A batch's compression, as the lowest three bits of its attributes say it."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class InflatesTooFarError(ValueError):
    """The records are not damaged, as far as they were read, but larger than the budget."""


def decompress(codec: Codec, data: memoryview | bytes, budget_bytes: int) -> bytes:
    """The records behind a batch header; raises ValueError if they are damaged, or larger than the budget."""
    if codec is Codec.NONE:
        return bytes(data)
    try:
        if codec is Codec.SNAPPY:
            return _decompress_snappy(bytes(data), budget_bytes)
        if codec is Codec.LZ4:
            return _inflate(cramjam.lz4.decompress_into, _with_right_checksum(bytes(data)), budget_bytes)
        stream = cramjam.gzip if codec is Codec.GZIP else cramjam.zstd
        return _inflate(stream.decompress_into, bytes(data), budget_bytes)
    except (cramjam.DecompressionError, struct.error, IndexError) as error:
        raise ValueError(f"{codec.name.lower()} data that cannot be decompressed: {error}") from error


def compress(codec: Codec, data: bytes) -> bytes:
    """The same, the other way round."""
    match codec:
        case Codec.NONE:
            return data
        case Codec.GZIP:
            return bytes(cramjam.gzip.compress(data))
        case Codec.SNAPPY:
            blocks = (bytes(cramjam.snappy.compress_raw(block)) for block in _blocks(data, _XERIAL_BLOCK_BYTES))
            return _XERIAL_HEAD + b"".join(len(block).to_bytes(4, "big") + block for block in blocks)
        case Codec.LZ4:
            return _compress_lz4(data)
        case Codec.ZSTD:
            return bytes(cramjam.zstd.compress(data))


def _inflate(decompress_into: Callable[[bytes, bytearray], int], data: bytes, budget_bytes: int) -> bytes:
    """Decompresses into ever larger buffers: the codec says that one is too small only by failing."""
    size = min(budget_bytes, max(64, len(data) * _FIRST_GUESS))
    while True:
        room = bytearray(size)
        try:
            return bytes(memoryview(room)[: decompress_into(data, room)])
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
            if size >= budget_bytes:
                raise InflatesTooFarError(
                    f"{len(data)} compressed bytes hold more than {budget_bytes} bytes"
                ) from error
        size = min(budget_bytes, size * 4)


def _blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


# ── snappy: blocks in the stream format of snappy-java, or one bare block ──────────────────────────────────────────


def _decompress_snappy(data: bytes, budget_bytes: int) -> bytes:
    if not data.startswith(_XERIAL_MAGIC):
        return _decompress_block(data, budget_bytes)
    out: list[bytes] = []
    at, left = len(_XERIAL_HEAD), budget_bytes
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise ValueError(f"a snappy block claims {size} bytes of {len(data) - at}")
        out.append(_decompress_block(data[at : at + size], left))
        left -= len(out[-1])
        at += size
    return b"".join(out)


def _decompress_block(block: bytes, budget_bytes: int) -> bytes:
    size: int = cramjam.snappy.decompress_raw_len(block)
    if size > budget_bytes:
        raise InflatesTooFarError(f"{len(block)} compressed bytes hold more than {budget_bytes} bytes")
    return bytes(cramjam.snappy.decompress_raw(block))


# ── lz4: frames of independent blocks, the only ones that Java's clients read ───────────────────────────────────────


def _compress_lz4(data: bytes) -> bytes:
    frame = [_LZ4_MAGIC, _LZ4_DESCRIPTOR, _descriptor_checksum(_LZ4_DESCRIPTOR)]
    lz4: Any = cramjam.lz4
    for block in _blocks(data, _LZ4_BLOCK_BYTES):
        packed = bytes(lz4.compress_block(block, store_size=False))
        if len(packed) < len(block):
            frame += [struct.pack("<I", len(packed)), packed]
        else:
            frame += [struct.pack("<I", len(block) | _LZ4_PLAIN_BLOCK), block]
    return b"".join([*frame, bytes(4)])


def _with_right_checksum(frame: bytes) -> bytes:
    """The frame with the checksum that its descriptor should have: old clients computed it over too many bytes."""
    if not frame.startswith(_LZ4_MAGIC):
        return frame
    end = 6 + (8 if frame[4] & _LZ4_CONTENT_SIZE else 0)
    return frame[:end] + _descriptor_checksum(frame[4:end]) + frame[end + 1 :]


def _descriptor_checksum(descriptor: bytes) -> bytes:
    """The second byte of the descriptor's xxHash32."""
    return bytes([_short_xxhash32(descriptor) >> 8 & 0xFF])


def _short_xxhash32(data: bytes) -> int:
    """xxHash32 with seed 0 of fewer than 16 bytes."""
    prime1, prime2, prime3, prime4, prime5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    mask = 0xFFFFFFFF
    value = prime5 + len(data)
    whole = len(data) & ~3
    for (lane,) in struct.iter_unpack("<I", data[:whole]):
        value = _rotate(value + lane * prime3 & mask, 17) * prime4 & mask
    for byte in data[whole:]:
        value = _rotate(value + byte * prime5 & mask, 11) * prime1 & mask
    value = (value ^ value >> 15) * prime2 & mask
    value = (value ^ value >> 13) * prime3 & mask
    return value ^ value >> 16


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & 0xFFFFFFFF
