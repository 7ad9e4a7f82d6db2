"""One pass of the log cleaner over a partition, as on a topic with `cleanup.policy=compact`.

Of every key the newest committed record stays. What goes leaves holes: batches with fewer records than offsets, batches
without any (a producer's last one, and the last of the pass), whole batches, and in the end markers too.

Sources: Cleaner, CleanedTransactionMetadata; MemoryRecords.filterTo and buildRetainedRecordsInto.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Sequence

from tests.simulation.batches import (
    APPEND_TIME,
    CODEC_BITS,
    CONTROL,
    DELETE_HORIZON,
    HEADER,
    MAGIC_AT,
    TRANSACTIONAL,
    StoredBatch,
    StoredRecord,
    compress,
    decode,
    make_message,
    read_marker,
    record_bytes,
    seal,
)
from tests.simulation.transactions import Aborted


class Cleaning:
    """A pass over the batches below `limit`; `batches` and `aborted` are the log and its index afterwards.

    Only records of `keys` are superseded (None: of all keys). `idle` are the producer ids that the broker has
    forgotten: the last batches of all others stay, without records if need be. Tombstones, and markers whose records
    are gone, stay for `delete_retention_ms` after a pass has seen them.
    """

    def __init__(
        self,
        batches: Sequence[StoredBatch],
        aborted: Sequence[Aborted],
        *,
        limit: int,
        now_ms: int,
        delete_retention_ms: int,
        keys: Container[bytes] | None,
        idle: Container[int],
    ) -> None:
        count = bisect_right(batches, limit, key=lambda batch: batch.next)
        self._head = batches[:count]
        self._end = self._head[-1].next if self._head else 0
        self._now_ms = now_ms
        self._horizon_ms = now_ms + delete_retention_ms
        self._keys = keys
        self._aborted = aborted
        self._newest = self._newest_offsets()
        self._last_of_producer = _last_of_producers(batches, idle)
        self._committing: set[int] = set()
        self._observed = {
            each for each in aborted if each.last >= self._end or any(each.holds(batch) for batch in self._head)
        }
        self.aborted = [each for each in aborted if each in self._observed]
        left = [after for batch in self._head if (after := self._clean(batch)) is not None]
        self.batches = [*left, *batches[count:]]

    def _newest_offsets(self) -> dict[bytes, int]:
        committed = (batch for batch in self._head if not self._is_aborted(batch) and not _is_control(batch))
        return {
            record.key: record.offset for batch in committed for record in decode(batch.data) if record.key is not None
        }

    def _is_aborted(self, batch: StoredBatch) -> bool:
        return any(each.holds(batch) for each in self._aborted)

    def _clean(self, batch: StoredBatch) -> StoredBatch | None:
        if _is_old(batch):
            return self._clean_old(batch)
        if _is_control(batch):
            return self._clean_marker(batch)
        if batch.data[22] & TRANSACTIONAL and not self._is_aborted(batch):
            self._committing.add(batch.producer_id)
        records = decode(batch.data)
        horizon = _delete_horizon_of(batch.data)
        expired = horizon is not None and horizon <= self._now_ms
        kept = [] if self._is_aborted(batch) else [each for each in records if self._stays(each, expired)]
        if not kept and not self._must_stay(batch):
            return None
        if horizon is None and any(each.value is None for each in kept):
            return _rewritten(batch, kept, self._horizon_ms)
        return batch if len(kept) == len(records) else _rewritten(batch, kept, horizon)

    def _clean_marker(self, batch: StoredBatch) -> StoredBatch | None:
        """A marker goes after the last batch of its transaction, and some time later."""
        marker = read_marker(batch.data)
        of_aborted = any(each.last == batch.base for each in self._observed)
        of_committed = marker is not None and marker.committed and batch.producer_id in self._committing
        if marker is not None and marker.committed:
            self._committing.discard(batch.producer_id)
        if of_aborted or of_committed:
            return batch
        horizon = _delete_horizon_of(batch.data)
        if marker is not None and horizon is None:
            return _rewritten(batch, decode(batch.data), self._horizon_ms)
        if marker is not None and horizon is not None and self._now_ms < horizon:
            return batch
        return _rewritten(batch, [], None) if self._must_stay(batch) else None

    def _clean_old(self, batch: StoredBatch) -> StoredBatch | None:
        """Older formats know no empty batch; their tombstones stay here."""
        records = decode(batch.data)
        kept = [each for each in records if self._stays(each, False)]
        if len(kept) == len(records) or (not kept and self._must_stay(batch)):
            return batch
        if not kept:
            return None
        attributes = batch.data[17]
        appended_at = kept[0].timestamp_ms if attributes & APPEND_TIME else None
        data = make_message(kept, magic=batch.data[MAGIC_AT], codec=attributes & CODEC_BITS, append_time_ms=appended_at)
        return batch._replace(base=kept[0].offset, next=kept[-1].offset + 1, count=len(kept), data=data)

    def _stays(self, record: StoredRecord, expired: bool) -> bool:
        if record.key is None:
            return False
        superseded = (self._keys is None or record.key in self._keys) and record.offset < self._newest[record.key]
        return not superseded and (record.value is not None or not expired)

    def _must_stay(self, batch: StoredBatch) -> bool:
        return batch.next == self._end or self._last_of_producer.get(batch.producer_id) == batch.base


def _is_old(batch: StoredBatch) -> bool:
    return batch.data[MAGIC_AT] < 2


def _is_control(batch: StoredBatch) -> bool:
    return not _is_old(batch) and bool(batch.data[22] & CONTROL)


def _delete_horizon_of(batch: bytes) -> int | None:
    return int.from_bytes(batch[27:35], "big", signed=True) if batch[22] & DELETE_HORIZON else None


def _last_of_producers(batches: Sequence[StoredBatch], idle: Container[int]) -> dict[int, int]:
    """The base offset of each producer's last data batch, or of its marker where that began an epoch of its own."""
    last: dict[int, int] = {}
    epochs: dict[int, bytes] = {}
    for batch in batches:
        if batch.producer_id < 0 or batch.producer_id in idle:
            continue
        epoch = batch.data[51:53]
        if not _is_control(batch) or epochs.get(batch.producer_id) != epoch:
            last[batch.producer_id] = batch.base
        epochs[batch.producer_id] = epoch
    return last


def _rewritten(batch: StoredBatch, kept: Sequence[StoredRecord], delete_horizon_ms: int | None) -> StoredBatch:
    """The batch with some of its records, or none: over the same offsets, by the same writer.

    A horizon takes the place of the base timestamp.
    """
    base, _, epoch, _, _, attributes, delta, _, newest_ms, producer_id, producer_epoch, sequence, _ = (
        HEADER.unpack_from(batch.data)
    )
    attributes &= ~DELETE_HORIZON
    base_timestamp_ms, body = -1, b""
    if kept:
        base_timestamp_ms = kept[0].timestamp_ms if delete_horizon_ms is None else delete_horizon_ms
        attributes |= 0 if delete_horizon_ms is None else DELETE_HORIZON
        newest_ms = newest_ms if attributes & APPEND_TIME else max(each.timestamp_ms for each in kept)
        laid_out = (
            record_bytes(each.record, each.offset - base, each.timestamp_ms - base_timestamp_ms) for each in kept
        )
        body = compress(attributes & CODEC_BITS, b"".join(laid_out))
    else:
        attributes &= ~CODEC_BITS
    data = seal(
        body,
        base_offset=base,
        leader_epoch=epoch,
        attributes=attributes,
        last_offset_delta=delta,
        base_timestamp_ms=base_timestamp_ms,
        max_timestamp_ms=newest_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
        record_count=len(kept),
    )
    return batch._replace(newest_ms=newest_ms, count=len(kept), data=data)
