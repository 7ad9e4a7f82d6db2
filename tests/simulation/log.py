"""One partition's log on its leader, behaving as brokers do.

What a broker guarantees and what it does not: sequences are checked only for producer ids that are remembered, ids are
forgotten by *record* time, the log end runs ahead of the high watermark, and an election may cut either. All followers
are one: in step, or frozen.

Sources: Kafka's ProducerStateManager, ProducerAppendInfo, LeaderEpochFileCache, UnifiedLog, Partition.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from typing import NamedTuple

import fastcrc

DAY_MS = 86_400_000
SEQUENCES = 1 << 31
REMEMBERED_BATCHES = 5

NONE = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
NOT_LEADER_OR_FOLLOWER = 6
REQUEST_TIMED_OUT = 7
NOT_ENOUGH_REPLICAS = 19
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
INVALID_TIMESTAMP = 32
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
INVALID_TXN_STATE = 53
KAFKA_STORAGE_ERROR = 56
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
OFFSET_NOT_AVAILABLE = 78
INVALID_RECORD = 87

_HEADER = struct.Struct(">qiibIhiqqqhii")


class StoredBatch(NamedTuple):
    """A batch as it lies in the log; `data` has its base offset and leader epoch filled in."""

    base: int
    next: int
    epoch: int
    newest_ms: int
    producer_id: int
    sequence: int
    count: int
    data: bytes


class Appended(NamedTuple):
    """What became of a produced batch; `next` is where the high watermark must come for acks=all."""

    error: int
    base: int
    next: int
    duplicate: bool


class Served(NamedTuple):
    """One partition of a fetch answer."""

    error: int
    high_watermark: int
    log_start: int
    diverging: tuple[int, int] | None
    data: bytes


class _Producer:
    """What is remembered of one producer id: its last batches as (first sequence, last sequence, base, next)."""

    __slots__ = ("batches", "epoch", "last_ms")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.last_ms = -1
        self.batches: deque[tuple[int, int, int, int]] = deque(maxlen=REMEMBERED_BATCHES)


class PartitionLog:
    """The leader's log of one partition."""

    def __init__(self, topic_id: str, *, expiration_ms: int = DAY_MS) -> None:
        self.expiration_ms = expiration_ms
        self.following = True
        self.leader_epoch = 0
        self.recreate(topic_id)
        self.leader_epoch = 0

    def recreate(self, topic_id: str) -> None:
        """The topic is deleted and created again: an empty log of another id."""
        self.topic_id = topic_id
        self.leader_epoch = 0
        self.epochs: list[tuple[int, int]] = [(0, 0)]
        self.batches: list[StoredBatch] = []
        self.log_start = self.end = self.high_watermark = self.committed = 0
        self.producers: dict[int, _Producer] = {}

    # ── appending ─────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, data: bytes) -> StoredBatch:
        """Appends a batch without any check, as it comes from an application of the cluster's own."""
        return self._store(data)

    def append(self, data: bytes, now_ms: int) -> Appended:
        """A produced batch: validated, held against the sequence of its producer, then appended."""
        error = validate(data)
        if error:
            return Appended(error, -1, -1, False)
        _, _, _, _, _, _, _, _, newest_ms, producer_id, producer_epoch, sequence, count = _HEADER.unpack_from(data)
        if producer_id < 0:
            stored = self._store(data)
            return Appended(NONE, stored.base, stored.next, False)
        last = (sequence + count - 1) % SEQUENCES
        known = self.producers.get(producer_id)
        if known is not None:
            if known.epoch == producer_epoch:
                for first_seen, last_seen, base, after in known.batches:
                    if (first_seen, last_seen) == (sequence, last):
                        return Appended(NONE, base, after, True)
                if known.batches and sequence != (known.batches[-1][1] + 1) % SEQUENCES:
                    return Appended(OUT_OF_ORDER_SEQUENCE_NUMBER, -1, -1, False)
            elif sequence != 0:
                return Appended(OUT_OF_ORDER_SEQUENCE_NUMBER, -1, -1, False)
        stored = self._store(data)
        if known is None or known.epoch != producer_epoch:
            known = self.producers[producer_id] = _Producer(producer_epoch)
        known.batches.append((sequence, last, stored.base, stored.next))
        known.last_ms = newest_ms
        return Appended(NONE, stored.base, stored.next, False)

    def _store(self, data: bytes) -> StoredBatch:
        header = _HEADER.unpack_from(data)
        base, after = self.end, self.end + header[6] + 1
        whole = base.to_bytes(8, "big") + data[8:12] + self.leader_epoch.to_bytes(4, "big") + data[16:]
        stored = StoredBatch(base, after, self.leader_epoch, header[8], header[9], header[11], header[12], whole)
        self.batches.append(stored)
        self.end = after
        if self.following:
            self.high_watermark = self.committed = after
        return stored

    # ── replicas ──────────────────────────────────────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """The followers stop copying: from now on the high watermark stands still."""
        self.following = False

    def thaw(self) -> None:
        """The followers catch up."""
        self.following = True
        self.high_watermark = self.committed = self.end

    def elect(self, end: int, *, high_watermark: int, now_ms: int, drop_expired: bool) -> None:
        """Another replica leads: one that holds the log below `end`, and has heard of this high watermark.

        A clean election keeps what is below `committed`, the highest watermark there ever was.
        """
        self._truncate(end)
        self.committed = min(self.committed, self.end)
        self.high_watermark = max(self.log_start, min(high_watermark, self.end))
        self.leader_epoch += 1
        self.epochs = [entry for entry in self.epochs if entry[1] < self.end]
        self.epochs.append((self.leader_epoch, self.end))
        self._reload(now_ms, drop_expired=drop_expired, batches_each=REMEMBERED_BATCHES)

    def restart(self, now_ms: int, *, batches_each: int) -> None:
        """The same broker comes back: old ids are dropped, of the others the snapshot keeps the last batch at least."""
        self.leader_epoch += 1
        self.epochs = [entry for entry in self.epochs if entry[1] < self.end]
        self.epochs.append((self.leader_epoch, self.end))
        self._reload(now_ms, drop_expired=True, batches_each=batches_each)

    def _truncate(self, end: int) -> None:
        while self.batches and self.batches[-1].next > end:
            self.batches.pop()
        self.end = self.batches[-1].next if self.batches else self.log_start

    def _reload(self, now_ms: int, *, drop_expired: bool, batches_each: int) -> None:
        """Builds the producers' state from what the log holds."""
        known, self.producers = self.producers, {}
        for batch in self.batches:
            if batch.producer_id < 0:
                continue
            producer = self.producers.setdefault(batch.producer_id, _Producer(0))
            last = (batch.sequence + batch.count - 1) % SEQUENCES
            producer.batches.append((batch.sequence, last, batch.base, batch.next))
            producer.last_ms = batch.newest_ms
        for producer_id, producer in self.producers.items():
            producer.batches = deque(list(producer.batches)[-batches_each:], maxlen=REMEMBERED_BATCHES)
            if producer_id in known:
                producer.epoch = known[producer_id].epoch
        if drop_expired:
            self.expire(now_ms)

    def expire(self, now_ms: int) -> None:
        """The expiry check: an id is forgotten by the newest record timestamp of its last batch."""
        for producer_id in [
            producer_id
            for producer_id, producer in self.producers.items()
            if now_ms - producer.last_ms >= self.expiration_ms
        ]:
            del self.producers[producer_id]

    # ── the log's start ───────────────────────────────────────────────────────────────────────────────────────

    def delete_records(self, before: int) -> None:
        """The log begins at `before`, which may lie inside a batch; whole batches below it are gone."""
        self.log_start = max(self.log_start, min(before, self.high_watermark))
        self.batches = [batch for batch in self.batches if batch.next > self.log_start]
        floor = [entry for entry in self.epochs if entry[1] <= self.log_start][-1:]
        later = [entry for entry in self.epochs if entry[1] > self.log_start]
        self.epochs = [(floor[0][0], self.log_start), *later] if floor else later

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────

    def check_epoch(self, current_epoch: int) -> int:
        """The error for a request that takes this for the leader's epoch; -1 is not checked."""
        if current_epoch < 0 or current_epoch == self.leader_epoch:
            return NONE
        return FENCED_LEADER_EPOCH if current_epoch < self.leader_epoch else UNKNOWN_LEADER_EPOCH

    def end_offset_for(self, epoch: int) -> tuple[int, int]:
        """(epoch, end offset) of the largest known epoch not above this one; (-1, -1) if it is unknown."""
        if epoch == -1:
            return -1, -1
        if epoch == self.leader_epoch:
            return epoch, self.end
        place = bisect_right(self.epochs, (epoch, 1 << 62))
        if place == len(self.epochs):
            return -1, -1
        if place == 0:
            return epoch, self.epochs[0][1]
        return self.epochs[place - 1][0], self.epochs[place][1]

    def offset_for_leader_epoch(self, current_epoch: int, epoch: int) -> tuple[int, int, int]:
        """(error, epoch, end offset), as the request of that name is answered."""
        error = self.check_epoch(current_epoch)
        return (error, -1, -1) if error else (NONE, *self.end_offset_for(epoch))

    def latest(self) -> tuple[int, int]:
        """(error, high watermark): what ListOffsets tells a client, and not before the leader is sure of it."""
        if self.high_watermark < self.epochs[-1][1]:
            return OFFSET_NOT_AVAILABLE, -1
        return NONE, self.high_watermark

    def last_sequences(self) -> list[tuple[int, int, int, int]]:
        """(producer id, epoch, last sequence, last timestamp) of every id that is remembered."""
        return [
            (producer_id, producer.epoch, producer.batches[-1][1] if producer.batches else -1, producer.last_ms)
            for producer_id, producer in self.producers.items()
        ]

    def fetch(self, offset: int, current_epoch: int, last_epoch: int, max_bytes: int, *, first: bool) -> Served:
        """Stored batches from the one that holds `offset`, below the high watermark.

        The first batch of an answer is whole whatever its size (`first`); elsewhere one that does not fit is left out.
        A later one may be cut.
        """
        error = self.check_epoch(current_epoch)
        if not error and last_epoch >= 0:
            found, end = self.end_offset_for(last_epoch)
            if end < 0:
                error = OFFSET_OUT_OF_RANGE
            elif found < last_epoch or end < offset:
                return Served(NONE, self.high_watermark, self.log_start, (found, end), b"")
        if not error and not self.log_start <= offset <= self.end:
            error = OFFSET_OUT_OF_RANGE
        if error:
            return Served(error, -1, -1, None, b"")
        place = bisect_right(self.batches, offset, key=lambda batch: batch.next)
        parts: list[bytes] = []
        size = 0
        for batch in self.batches[place : place + 200]:
            if batch.next > self.high_watermark or size >= max_bytes:
                break
            parts.append(batch.data)
            size += len(batch.data)
        data = b"".join(parts)
        if parts and len(parts[0]) > max_bytes:
            data = parts[0] if first else b""
        else:
            data = data[:max_bytes]
        return Served(NONE, self.high_watermark, self.log_start, None, data)


def validate(data: bytes) -> int:
    """The error for bytes that no broker appends: exactly one dense, plain, true batch with base offset 0."""
    if len(data) < _HEADER.size:
        return CORRUPT_MESSAGE
    base, length, _, magic, crc, attributes, delta, _, _, _, _, _, count = _HEADER.unpack_from(data)
    if length + 12 != len(data) or magic != 2 or base != 0 or count <= 0 or count != delta + 1 or attributes & 0x20:
        return INVALID_RECORD
    if fastcrc.crc32.iscsi(data[21:]) != crc:
        return CORRUPT_MESSAGE
    if attributes & 0x10:
        return INVALID_TXN_STATE
    return INVALID_TIMESTAMP if attributes & 0x08 else NONE
