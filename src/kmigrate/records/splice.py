"""Makes one batch of several small ones, record by record, without looking into what records hold.  (pure)

Only what depends on the batch around a record is written anew: its length, its timestamp delta and its offset delta.
Everything else is copied as it is, so nothing in it can be damaged; the timestamp that a consumer reads stays the same.

There are two of the loop, which do the same: one here, and one in `compiled.c`, which is compiled where kmigrate is
installed on a machine with a C compiler. It takes a fiftieth of the time, so more is worth merging with it.

Source: DefaultRecord.java, DefaultRecordBatch.java.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kmigrate.records.batch import HEADER_BYTES, parse_header
from kmigrate.records.compiled import LIBRARY, load_library
from kmigrate.records.record import read_varint, varint

GROWTH_BYTES = 16
"""What a record may grow by, about: a delta that took one byte may take more. Beyond that nothing is merged."""

Loop = Callable[[memoryview, Sequence[int], int], "bytearray | None"]


class Splicer(NamedTuple):
    """One of the two loops; `is_compiled` tells which.

    `join` takes a buffer, where uncompressed batches begin in it, and the bytes that the result may take. It returns
    HEADER_BYTES free bytes and the records of all of them, numbered from 0, their timestamps counted from the first
    batch's base timestamp; None where a batch does not hold the records that its header says, or the room is too small.
    The batches must lie in the buffer as a whole.
    """

    join: Loop
    is_compiled: bool


def join_plainly(buffer: memoryview, starts: Sequence[int], room_bytes: int) -> bytearray | None:
    """`Splicer.join` as Python."""
    out = bytearray(HEADER_BYTES)
    first_timestamp = parse_header(buffer, starts[0]).base_timestamp_ms if starts else 0
    number = 0
    try:
        for start in starts:
            header = parse_header(buffer, start)
            shift = header.base_timestamp_ms - first_timestamp
            at, end = start + HEADER_BYTES, start + header.size
            for index in range(header.record_count):
                size, at = read_varint(buffer, at)
                after = at + size
                if size < 1 or after > end:
                    return None
                attributes = buffer[at]
                timestamp, at = read_varint(buffer, at + 1)
                delta, at = read_varint(buffer, at)
                if delta != index or at > after:
                    return None
                moved = _as_signed(timestamp + shift)
                head = b"%c%b%b" % (attributes, varint(moved), varint(number))
                out += varint(len(head) + after - at)
                out += head
                out += buffer[at:after]
                at = after
                number += 1
            if at != end:
                return None
    except (IndexError, ValueError):
        return None
    return out if len(out) <= HEADER_BYTES + room_bytes else None


def _as_signed(value: int) -> int:
    """The value as 64 bits hold it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def load_compiled(library: Path) -> Splicer | None:
    """The compiled loop; None where there is no library, or not one for this machine and this revision."""
    loaded = load_library(library)
    if loaded is None:
        return None
    import ctypes

    splice = loaded.splice_records
    splice.restype = ctypes.c_int64
    splice.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64]
    new_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
    new_bytearray.restype = ctypes.py_object
    new_bytearray.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]

    def join(buffer: memoryview, starts: Sequence[int], room_bytes: int) -> bytearray | None:
        out: bytearray = new_bytearray(None, HEADER_BYTES + room_bytes)  # not zeroed: all of it is written
        places = array("q", starts)
        source, into = ctypes.c_char.from_buffer(buffer), ctypes.c_char.from_buffer(out)
        written: int = splice(
            ctypes.addressof(source),
            places.buffer_info()[0],
            len(starts),
            ctypes.addressof(into) + HEADER_BYTES,
            room_bytes,
        )
        del into
        if written < 0:
            return None
        del out[HEADER_BYTES + written :]
        return out

    return Splicer(join, is_compiled=True)


PLAIN = Splicer(join_plainly, is_compiled=False)
SPLICER = load_compiled(LIBRARY) or PLAIN
"""What this installation has."""
