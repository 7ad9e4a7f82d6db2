"""A proxy before a source broker that changes single record batches in its Fetch answers, also to other lengths.

::

    with TamperingProxy() as proxy:
        harm = proxy.tamper(b"damage me", flip(HEADER_BYTES, 0), times=1)

A batch is known by bytes that only it holds; so records are to be written uncompressed.
"""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable, Iterator

from kmigrate.records.batch import parse_header
from kmigrate.wire.fetch import BY_ID, parse_fetch
from tests.simulation.batches import seal
from tests.tcp_proxy import FETCH, Flip, Request, TcpProxy

BASE_OFFSET = 0
LENGTH = 8
EPOCH = 12
MAGIC = 16
CRC = 17
RECORDS = 61
"""Where the fields of a record batch begin."""

Change = Callable[[bytes], bytes]


class Harm:
    """One change of one batch; `done` counts how often it was made."""

    def __init__(self, marker: bytes, change: Change, times: int) -> None:
        self.marker = marker
        self.change = change
        self.times = times
        self.done = 0


class TamperingProxy(TcpProxy):
    """A TCP proxy that also changes batches."""

    def __init__(self) -> None:
        super().__init__()
        self._tampering = self._add(_Tampering())

    def tamper(self, marker: bytes, change: Change, *, times: int = sys.maxsize) -> Harm:
        """Change the batch that holds these bytes, the next `times` times that a client fetches it."""
        return self._tampering.add(Harm(marker, change, times))

    def heal(self) -> None:
        """Change nothing any more."""
        self._tampering.forget()


class _Tampering(Flip):
    """Takes every Fetch answer; most go on as they are."""

    def __init__(self) -> None:
        super().__init__(FETCH, sys.maxsize, None, 0, lambda answer: 0)
        self._harms: list[Harm] = []
        self._harming = threading.Lock()

    def add(self, harm: Harm) -> Harm:
        with self._harming:
            self._harms.append(harm)
        return harm

    def forget(self) -> None:
        with self._harming:
            self._harms.clear()

    def takes(self, request: Request) -> bool:
        return request.api_key == FETCH and request.api_version == BY_ID

    def apply(self, answer: bytes) -> bytes:
        with self._harming:
            return _with_changed_records(answer, self._change) if self._harms else answer

    def _change(self, batch: bytes) -> bytes:
        for harm in self._harms:
            if harm.marker in batch and harm.done < harm.times:
                harm.done += 1
                return harm.change(batch)
        return batch


def _with_changed_records(answer: bytes, change: Change) -> bytes:
    """The answer with other records in it, and the lengths that belong to them."""
    for part in reversed(parse_fetch(memoryview(answer), BY_ID).partitions):
        records = answer[part.start : part.end]
        changed = b"".join(map(change, _batches(records)))
        if changed != records:
            begin = part.start - len(_varint(len(records) + 1))
            answer = answer[:begin] + _varint(len(changed) + 1) + changed + answer[part.end :]
    return answer


def _batches(records: bytes) -> Iterator[bytes]:
    """Each batch, and at the end what is left of one that is cut."""
    at = 0
    while at < len(records):
        size = len(records) - at
        if size >= MAGIC:
            (length,) = struct.unpack_from(">i", records, at + LENGTH)
            size = min(size, length + MAGIC - 4)
        yield records[at : at + size]
        at += size


def _varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


# -- changes ----------------------------------------------------------------------------------------------------------


def flip(byte: int, bit: int = 0) -> Change:
    """Flips one bit of the byte at this place of a batch."""

    def change(batch: bytes) -> bytes:
        damaged = bytearray(batch)
        damaged[byte] ^= 1 << bit
        return bytes(damaged)

    return change


def replace(at: int, data: bytes) -> Change:
    """Puts other bytes at this place of a batch."""
    return lambda batch: batch[:at] + data + batch[at + len(data) :]


def reseal(attributes: int, body: bytes | None = None) -> Change:
    """Gives a batch other attributes, and another record section if there is one, under a true CRC."""

    def change(batch: bytes) -> bytes:
        header = parse_header(batch, 0)
        return seal(
            batch[RECORDS:] if body is None else body,
            base_offset=header.base_offset,
            leader_epoch=header.leader_epoch,
            attributes=attributes,
            last_offset_delta=header.last_offset_delta,
            base_timestamp_ms=header.base_timestamp_ms,
            max_timestamp_ms=header.max_timestamp_ms,
            record_count=header.record_count,
        )

    return change
