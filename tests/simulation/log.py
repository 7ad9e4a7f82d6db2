"""One partition's log on its leader, behaving as brokers do.

What a broker guarantees and what it does not: sequences are checked only for producer ids that are remembered, ids are
forgotten by *record* time, the log end runs ahead of the high watermark, and an election may cut either. All followers
are one: in step, or frozen; but each replica cleans for itself, so an election may bring back what was cleaned here.

Sources: Kafka's ProducerStateManager, ProducerAppendInfo, LeaderEpochFileCache, UnifiedLog, LocalLog, Partition.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Container
from typing import NamedTuple

import fastcrc

from tests.simulation.batches import (
    APPEND_TIME,
    CONTROL,
    HEADER,
    MAGIC_AT,
    TRANSACTIONAL,
    StoredBatch,
    decode,
    make_marker,
    read_marker,
    with_create_time,
)
from tests.simulation.cleaner import Cleaning
from tests.simulation.transactions import Transactions

READ_UNCOMMITTED, READ_COMMITTED = 0, 1
DAY_MS = 86_400_000
SEQUENCES = 1 << 31
REMEMBERED_BATCHES = 5
INDEX_INTERVAL_BYTES = 4096
"""How far behind what is handed out the next entry of a broker's offset index may lie."""

NONE = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
NOT_LEADER_OR_FOLLOWER = 6
REQUEST_TIMED_OUT = 7
MESSAGE_TOO_LARGE = 10
NOT_ENOUGH_REPLICAS = 19
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
INVALID_TIMESTAMP = 32
POLICY_VIOLATION = 44
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
INVALID_PRODUCER_EPOCH = 47
TRANSACTION_COORDINATOR_FENCED = 52
INVALID_TXN_STATE = 53
KAFKA_STORAGE_ERROR = 56
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
OFFSET_NOT_AVAILABLE = 78
INVALID_RECORD = 87


class Appended(NamedTuple):
    """What became of a produced batch; `next` is where the high watermark must come for acks=all."""

    error: int
    base: int
    next: int
    duplicate: bool


class Served(NamedTuple):
    """One partition of a fetch answer; `aborted` is None for who reads what is not committed too."""

    error: int
    high_watermark: int
    log_start: int
    diverging: tuple[int, int] | None
    data: bytes
    last_stable_offset: int = -1
    aborted: tuple[tuple[int, int], ...] | None = None


class KnownProducer(NamedTuple):
    """What DescribeProducers tells of one producer id."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp_ms: int
    coordinator_epoch: int
    current_txn_start_offset: int


class _Producer:
    """What is remembered of one producer id: its last batches as (first sequence, last sequence, base, next).

    An id of which only a marker is known has no batches; its data must begin at sequence 0.
    """

    __slots__ = ("batches", "coordinator_epoch", "epoch", "last_ms")

    def __init__(self, epoch: int, coordinator_epoch: int = -1) -> None:
        self.epoch = epoch
        self.coordinator_epoch = coordinator_epoch
        self.last_ms = -1
        self.batches: deque[tuple[int, int, int, int]] = deque(maxlen=REMEMBERED_BATCHES)


class PartitionLog:
    """The leader's log of one partition."""

    def __init__(
        self, topic_id: str, *, expiration_ms: int = DAY_MS, compact: bool = False, max_message_bytes: int = 1 << 30
    ) -> None:
        self.expiration_ms = expiration_ms
        self.compact = compact
        self.max_message_bytes = max_message_bytes
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
        self.transactions = Transactions()
        self._other: list[StoredBatch] | None = None
        self._deleted: tuple[int, list[StoredBatch]] | None = None

    # ── appending ─────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, data: bytes) -> StoredBatch:
        """Appends without any check what comes from an application of the cluster's own.

        A batch, or an entry of an older format that was laid out for the log's end.
        """
        return self._store(data) if data[MAGIC_AT] >= 2 else self._store_old(data)

    def append(self, data: bytes, now_ms: int) -> Appended:
        """A produced batch: validated, held against the sequence of its producer, then appended."""
        error = validate(data)
        if error:
            return Appended(error, -1, -1, False)
        if len(data) > self.max_message_bytes:
            return Appended(MESSAGE_TOO_LARGE, -1, -1, False)
        if self.compact and any(record.key is None for record in decode(data)):
            return Appended(INVALID_RECORD, -1, -1, False)
        _, _, _, _, _, attributes, _, _, newest_ms, producer_id, producer_epoch, sequence, count = HEADER.unpack_from(
            data
        )
        if attributes & APPEND_TIME:
            data = with_create_time(data)
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
                if sequence != ((known.batches[-1][1] + 1) % SEQUENCES if known.batches else 0):
                    return Appended(OUT_OF_ORDER_SEQUENCE_NUMBER, -1, -1, False)
            elif producer_epoch < known.epoch:
                return Appended(INVALID_PRODUCER_EPOCH, -1, -1, False)
            elif sequence != 0:
                return Appended(OUT_OF_ORDER_SEQUENCE_NUMBER, -1, -1, False)
        stored = self._store(data)
        if known is None or known.epoch != producer_epoch:
            known = self.producers[producer_id] = _Producer(producer_epoch, known.coordinator_epoch if known else -1)
        known.batches.append((sequence, last, stored.base, stored.next))
        known.last_ms = newest_ms
        return Appended(NONE, stored.base, stored.next, False)

    def write_marker(
        self, producer_id: int, producer_epoch: int, coordinator_epoch: int, now_ms: int, *, committed: bool = True
    ) -> Appended:
        """What WriteTxnMarkers does to one partition: a control batch, whether or not it ends a transaction."""
        known = self.producers.get(producer_id)
        if known is not None and producer_epoch < known.epoch:
            return Appended(INVALID_PRODUCER_EPOCH, -1, -1, False)
        if known is not None and coordinator_epoch < known.coordinator_epoch:
            return Appended(TRANSACTION_COORDINATOR_FENCED, -1, -1, False)
        stored = self._store(
            make_marker(
                producer_id,
                producer_epoch,
                committed=committed,
                coordinator_epoch=coordinator_epoch,
                timestamp_ms=now_ms,
            )
        )
        if known is None or known.epoch != producer_epoch:
            known = self.producers[producer_id] = _Producer(producer_epoch)
        known.coordinator_epoch = coordinator_epoch
        known.last_ms = now_ms
        return Appended(NONE, stored.base, stored.next, False)

    def _store(self, data: bytes) -> StoredBatch:
        header = HEADER.unpack_from(data)
        base, after = self.end, self.end + header[6] + 1
        whole = base.to_bytes(8, "big") + data[8:12] + self.leader_epoch.to_bytes(4, "big") + data[16:]
        stored = StoredBatch(base, after, self.leader_epoch, header[8], header[9], header[11], header[12], whole)
        if header[5] & TRANSACTIONAL:
            self.transactions.follow(stored)
        return self._put(stored)

    def _store_old(self, data: bytes) -> StoredBatch:
        records = decode(data)
        if records[0].offset != self.end:
            raise ValueError(f"an entry for offset {records[0].offset} cannot lie at {self.end}")
        after = records[-1].offset + 1
        return self._put(StoredBatch(self.end, after, self.leader_epoch, -1, -1, -1, len(records), data))

    def _put(self, stored: StoredBatch) -> StoredBatch:
        self.batches.append(stored)
        if self._other is not None:
            self._other.append(stored)
        self.end = stored.next
        if self.following:
            self.high_watermark = self.committed = self.end
        return stored

    # ── replicas ──────────────────────────────────────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """The followers stop copying: from now on the high watermark stands still."""
        self.following = False

    def thaw(self) -> None:
        """The followers catch up."""
        self.following = True
        self.high_watermark = self.committed = self.end

    def elect(
        self, end: int, *, high_watermark: int, now_ms: int, drop_expired: bool, other_cleaning: bool = False
    ) -> None:
        """Another replica leads: one that holds the log below `end`, and has heard of this high watermark.

        A clean election keeps what is below `committed`, the highest watermark there ever was. `other_cleaning`: the
        new leader is one that was not cleaned when this one was, so that superseded records are there again.
        """
        self._deleted = None
        if other_cleaning and self._other is not None:
            self.batches, self._other = self._other, self.batches
        self._truncate(end)
        self.committed = min(self.committed, self.end)
        self.high_watermark = max(self.log_start, min(high_watermark, self.end))
        self.leader_epoch += 1
        self.epochs = [entry for entry in self.epochs if entry[1] < self.end]
        self.epochs.append((self.leader_epoch, self.end))
        self._reload(now_ms, drop_expired=drop_expired, batches_each=REMEMBERED_BATCHES)

    def restart(self, now_ms: int, *, batches_each: int, log_start_lost: bool = False) -> None:
        """The same broker comes back: old ids are dropped, of the others the snapshot keeps the last batch at least.

        `log_start_lost`: what was deleted since the last checkpoint is there again.
        """
        if log_start_lost and self._deleted is not None:
            self.log_start, deleted = self._deleted
            self.batches = [*deleted, *(batch for batch in self.batches if batch not in deleted)]
            self.epochs = [(self.epochs[0][0], self.log_start), *self.epochs[1:]]
            self._deleted = None
        self.leader_epoch += 1
        self.epochs = [entry for entry in self.epochs if entry[1] < self.end]
        self.epochs.append((self.leader_epoch, self.end))
        self._reload(now_ms, drop_expired=True, batches_each=batches_each)

    def checkpoint(self) -> None:
        """The log start is written down, as it is once a minute."""
        self._deleted = None

    def _truncate(self, end: int) -> None:
        for batches in (self.batches, self._other or []):
            while batches and batches[-1].next > end:
                batches.pop()
        self.end = max(self.log_start, min(end, self.end))

    def _reload(self, now_ms: int, *, drop_expired: bool, batches_each: int) -> None:
        """Builds the producers' state from what the log holds, and that of the transactions."""
        self.producers = {}
        for batch in self.batches:
            if batch.producer_id < 0:
                continue
            producer = self.producers.setdefault(batch.producer_id, _Producer(-1))
            epoch = int.from_bytes(batch.data[51:53], "big", signed=True)
            if epoch != producer.epoch:
                producer.batches.clear()
                producer.epoch = epoch
            producer.last_ms = batch.newest_ms
            if batch.data[22] & CONTROL:
                marker = read_marker(batch.data)
                producer.coordinator_epoch = marker.coordinator_epoch if marker else producer.coordinator_epoch
                continue
            last = (batch.sequence + batch.next - batch.base - 1) % SEQUENCES
            producer.batches.append((batch.sequence, last, batch.base, batch.next))
        for producer in self.producers.values():
            producer.batches = deque(list(producer.batches)[-batches_each:], maxlen=REMEMBERED_BATCHES)
        if self.transactions.open or self.transactions.decided:
            self.transactions = Transactions(self.batches)
        if drop_expired:
            self.expire(now_ms)

    def expire(self, now_ms: int) -> None:
        """The expiry check: an id is forgotten by the newest record timestamp of its last batch, or its marker's."""
        for producer_id in [
            producer_id
            for producer_id, producer in self.producers.items()
            if now_ms - producer.last_ms >= self.expiration_ms and producer_id not in self.transactions.open
        ]:
            del self.producers[producer_id]

    # ── what goes away ────────────────────────────────────────────────────────────────────────────────────────

    def check_deletion(self, before: int) -> int:
        """The error for a request to delete what lies below an offset (-1: below the high watermark)."""
        if self.compact:
            return POLICY_VIOLATION
        return OFFSET_OUT_OF_RANGE if before < -1 or before > self.high_watermark else NONE

    def delete_records(self, before: int) -> None:
        """The log begins at `before`, which may lie inside a batch; whole batches below it are gone."""
        start, deleted = self._deleted or (self.log_start, [])
        self.log_start = max(self.log_start, min(before, self.high_watermark))
        self._deleted = start, [*deleted, *(batch for batch in self.batches if batch.next <= self.log_start)]
        self.batches = [batch for batch in self.batches if batch.next > self.log_start]
        if self._other is not None:
            self._other = [batch for batch in self._other if batch.next > self.log_start]
        floor = [entry for entry in self.epochs if entry[1] <= self.log_start][-1:]
        later = [entry for entry in self.epochs if entry[1] > self.log_start]
        self.epochs = [(floor[0][0], self.log_start), *later] if floor else later

    def clean(
        self,
        below: int,
        now_ms: int,
        *,
        keys: Container[bytes] | None = None,
        idle: Container[int] = (),
        delete_retention_ms: int = DAY_MS,
        everywhere: bool = True,
    ) -> None:
        """One pass of the cleaner over what lies below an offset and is decided; see `cleaner.Cleaning`.

        It gives up at a damaged batch, as brokers do. Where it does not run `everywhere`, the other replicas keep what
        they have.
        """
        assert self.compact, "only compacted topics are cleaned"
        before = self.batches
        try:
            cleaning = Cleaning(
                before,
                self.transactions.aborted,
                limit=min(below, self.last_stable_offset),
                now_ms=now_ms,
                delete_retention_ms=delete_retention_ms,
                keys=keys,
                idle=idle,
            )
        except ValueError:
            return
        self.batches, self.transactions.aborted = cleaning.batches, cleaning.aborted
        if everywhere:
            self._other = None
        elif self._other is None:
            self._other = list(before)

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

    @property
    def last_stable_offset(self) -> int:
        """Below it everything is decided, and the decisions are replicated."""
        if not (self.transactions.open or self.transactions.decided):
            return self.high_watermark
        unstable = self.transactions.first_unstable(self.high_watermark)
        if unstable is None:
            return self.high_watermark
        return min(self.high_watermark, max(unstable, self.log_start))

    def latest(self, isolation_level: int = READ_UNCOMMITTED) -> tuple[int, int]:
        """(error, high watermark or last stable offset): what ListOffsets tells a client.

        Not before the leader is sure of the high watermark.
        """
        if self.high_watermark < self.epochs[-1][1]:
            return OFFSET_NOT_AVAILABLE, -1
        return NONE, self.last_stable_offset if isolation_level else self.high_watermark

    def known_producers(self) -> list[KnownProducer]:
        """Every id that is remembered, as DescribeProducers tells it."""
        return [
            KnownProducer(
                producer_id,
                producer.epoch,
                producer.batches[-1][1] if producer.batches else -1,
                producer.last_ms,
                producer.coordinator_epoch,
                self.transactions.open.get(producer_id, -1),
            )
            for producer_id, producer in self.producers.items()
        ]

    def fetch(
        self,
        offset: int,
        current_epoch: int,
        last_epoch: int,
        max_bytes: int,
        *,
        first: bool,
        isolation_level: int = READ_UNCOMMITTED,
    ) -> Served:
        """Stored batches from the one that holds `offset`, below the high watermark or the last stable offset.

        The first batch of an answer is whole whatever its size (`first`); elsewhere one that does not fit is left out.
        A later one may be cut. Of the aborted transactions those may be told too that begin somewhat behind the bytes.
        """
        error = self.check_epoch(current_epoch)
        if not error and last_epoch >= 0:
            found, end = self.end_offset_for(last_epoch)
            if end < 0:
                error = OFFSET_OUT_OF_RANGE
            elif found < last_epoch or end < offset:
                return Served(NONE, self.high_watermark, self.log_start, (found, end), b"", self.last_stable_offset)
        if not error and not self.log_start <= offset <= self.end:
            error = OFFSET_OUT_OF_RANGE
        if error:
            return Served(error, -1, -1, None, b"")
        stable = self.last_stable_offset
        limit = stable if isolation_level else self.high_watermark
        place = bisect_right(self.batches, offset, key=lambda batch: batch.next)
        parts: list[bytes] = []
        size = 0
        for batch in self.batches[place : place + 200]:
            if batch.next > limit or size >= max_bytes:
                break
            parts.append(batch.data)
            size += len(batch.data)
        data = b"".join(parts)
        if parts and len(parts[0]) > max_bytes:
            data = parts[0] if first else b""
        else:
            data = data[:max_bytes]
        aborted: tuple[tuple[int, int], ...] | None = None
        if isolation_level:
            known = self.transactions.aborted and data
            aborted = self.transactions.aborted_between(offset, self._indexed(place + len(parts))) if known else ()
        return Served(NONE, self.high_watermark, self.log_start, None, data, stable, aborted)

    def _indexed(self, place: int) -> int:
        """The first offset at or behind this place in the log that a sparse index would know."""
        size = 0
        for batch in self.batches[place:]:
            if size >= INDEX_INTERVAL_BYTES:
                return batch.base
            size += len(batch.data)
        return self.end


def validate(data: bytes) -> int:
    """The error for bytes that no broker appends: exactly one dense, plain, true batch with base offset 0.

    One that says LogAppendTime is taken, and silently stored with CreateTime.
    """
    if len(data) < HEADER.size:
        return CORRUPT_MESSAGE
    base, length, _, magic, crc, attributes, delta, _, _, _, _, _, count = HEADER.unpack_from(data)
    if length + 12 != len(data) or magic != 2 or base != 0 or count <= 0 or count != delta + 1 or attributes & CONTROL:
        return INVALID_RECORD
    if fastcrc.crc32.iscsi(data[21:]) != crc:
        return CORRUPT_MESSAGE
    return INVALID_TXN_STATE if attributes & TRANSACTIONAL else NONE
