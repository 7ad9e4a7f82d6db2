"""Codecs: what is compressed here, other libraries read; what others compressed, with old framing too, is read here."""

from __future__ import annotations

import contextlib
import gzip
import random
import struct

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.records.compression import Codec, compress, decompress

CODECS = st.sampled_from(list(Codec))
TEXTS = st.binary(max_size=3000) | st.integers(0, 300_000).map(bytes)
BUDGET = 1 << 20


@given(CODECS, TEXTS)
def test_it_comes_back_as_it_was(codec: Codec, data: bytes) -> None:
    assert decompress(codec, compress(codec, data), BUDGET) == data


@given(TEXTS)
def test_others_read_what_is_compressed_here(data: bytes) -> None:
    assert gzip.decompress(compress(Codec.GZIP, data)) == data
    assert _unpack_xerial(compress(Codec.SNAPPY, data)) == data
    assert bytes(cramjam.lz4.decompress(compress(Codec.LZ4, data))) == data
    assert bytes(cramjam.zstd.decompress(compress(Codec.ZSTD, data))) == data


@given(TEXTS)
def test_every_framing_of_others_is_read(data: bytes) -> None:
    framed = {
        Codec.GZIP: [gzip.compress(data)],
        Codec.SNAPPY: [bytes(cramjam.snappy.compress_raw(data)), _pack_xerial(data)],
        Codec.LZ4: [bytes(cramjam.lz4.compress(data)), _with_old_checksum(compress(Codec.LZ4, data))],
        Codec.ZSTD: [bytes(cramjam.zstd.compress(data))],
    }
    for codec, forms in framed.items():
        for form in forms:
            assert decompress(codec, form, BUDGET) == data, codec


def _pack_xerial(data: bytes) -> bytes:
    """What snappy-java writes, in blocks of another size."""
    blocks = [bytes(cramjam.snappy.compress_raw(data[at : at + 1000])) for at in range(0, len(data), 1000)]
    head = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def _unpack_xerial(framed: bytes) -> bytes:
    assert framed[:16] == b"\x82SNAPPY\x00\0\0\0\1\0\0\0\1"
    out, at = b"", 16
    while at < len(framed):
        (size,) = struct.unpack_from(">i", framed, at)
        out += bytes(cramjam.snappy.decompress_raw(framed[at + 4 : at + 4 + size]))
        at += 4 + size
    return out


def _with_old_checksum(frame: bytes) -> bytes:
    """As clients before 0.10 wrote it: a checksum that no reader of the LZ4 format accepts."""
    wrong = frame[:6] + bytes([frame[6] ^ 0x55]) + frame[7:]
    with pytest.raises(cramjam.DecompressionError):
        cramjam.lz4.decompress(wrong)
    return wrong


def test_lz4_frames_hold_independent_blocks_of_which_some_are_plain() -> None:
    noise = random.Random(1).randbytes(70_000)
    frame = compress(Codec.LZ4, noise + bytes(70_000))
    assert frame[4] == 0x60, "version 1, independent blocks"
    at, plain = 7, []
    while True:
        (size,) = struct.unpack_from("<I", frame, at)
        at += 4
        if size == 0:
            break
        plain.append(size >> 31)
        at += size & 0x7FFFFFFF
    assert at == len(frame)
    assert plain[0] == 1
    assert plain[-1] == 0


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_a_bomb_is_refused_at_the_budget(codec: Codec) -> None:
    bomb = compress(codec, bytes(50_000_000))
    with pytest.raises(ValueError, match="hold more than"):
        decompress(codec, bomb, BUDGET)
    assert decompress(codec, bomb, 50_000_000) == bytes(50_000_000)


def test_a_bare_snappy_bomb_is_refused_before_it_inflates() -> None:
    with pytest.raises(ValueError, match="hold more than"):
        decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(bytes(5_000_000))), BUDGET)


@given(st.sampled_from([Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]), st.binary(max_size=200), st.data())
def test_damage_is_told_as_such(codec: Codec, data: bytes, draw: st.DataObject) -> None:
    whole = bytearray(compress(codec, data))
    at = draw.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= draw.draw(st.integers(1, 255))
    cut = draw.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        with contextlib.suppress(ValueError):
            assert len(decompress(codec, damaged, BUDGET)) <= BUDGET
