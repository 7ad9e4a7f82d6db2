"""One number for what a partition holds, the same however its records are batched, compressed or stamped.  (pure)

Records are folded in stretches of CHUNK offsets of the source: the digest of a stretch covers each record's offset,
timestamp and body (key, value and headers as format v2 lays them out); the partition's digest chains those of its
stretches. So a digest can be continued where a stretch begins, without reading anything below it again.

    stretch = blake2b-16 over, for each record, offset i64 · timestamp i64 · body bytes i32 · body
    fold    = blake2b-16(fold before (16 zero bytes at first) · first offset of the stretch i64 · stretch)

All numbers are big-endian. A stretch without a record adds nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b

from kmigrate.records.record import RawRecord

CHUNK = 4_096
"""Offsets of the source in one stretch."""
DIGEST_BYTES = 16
NOTHING = bytes(DIGEST_BYTES)
_HEAD = struct.Struct(">qqi")
_FIRST = struct.Struct(">q")


class Fold:
    """The digest of one partition while it is made; records come in the order of their offsets."""

    def __init__(self, before: bytes = NOTHING) -> None:
        """`before` is the digest of all stretches below the one that comes first."""
        self._fold = before
        self._chunk = -1
        self._stretch = blake2b(digest_size=DIGEST_BYTES)

    def add(self, records: Sequence[RawRecord]) -> None:
        """Folds these records in."""
        at = 0
        while at < len(records):
            chunk = records[at].offset // CHUNK
            if chunk != self._chunk:
                self._fold = self.digest
                self._chunk = chunk
                self._stretch = blake2b(digest_size=DIGEST_BYTES)
            above, update, pack = (chunk + 1) * CHUNK, self._stretch.update, _HEAD.pack
            while at < len(records) and records[at].offset < above:
                offset, timestamp_ms, body = records[at]
                update(pack(offset, timestamp_ms, len(body)) + body)
                at += 1

    @property
    def digest(self) -> bytes:
        """The digest of everything up to here."""
        if self._chunk < 0:
            return self._fold
        first = _FIRST.pack(self._chunk * CHUNK)
        return blake2b(self._fold + first + self._stretch.digest(), digest_size=DIGEST_BYTES).digest()

    @property
    def settled(self) -> tuple[int, bytes]:
        """(first offset, digest below it) of the stretch that is not known to be whole yet: where to continue."""
        return max(0, self._chunk) * CHUNK, self._fold
