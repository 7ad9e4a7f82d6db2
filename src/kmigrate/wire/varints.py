"""Unsigned varints and tagged fields, as Kafka's flexible messages have them (KIP-482)."""

from __future__ import annotations


def uvarint(number: int) -> bytes:
    """The bytes of a number that is not negative."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_uvarint(buffer: memoryview, at: int) -> tuple[int, int]:
    """(number, where it ends); raises IndexError at the buffer's end, ValueError for more than five bytes."""
    byte = buffer[at]
    if byte < 0x80:
        return byte, at + 1
    number, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = buffer[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + 1
        shift += 7
        if shift > 28:
            raise ValueError("a length of more than five bytes")


def skip_tags(buffer: memoryview, at: int) -> int:
    """Where the tagged fields at `at` end."""
    tags, at = read_uvarint(buffer, at)
    for _ in range(tags):
        _tag, at = read_uvarint(buffer, at)
        length, at = read_uvarint(buffer, at)
        at += length
    return at
