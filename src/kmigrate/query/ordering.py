"""The newest (or oldest) records out of several partitions that are gone through one window at a time.  (pure)

One partition is in the order of its offsets. Several are in the order of their records' timestamps, as far as these
rise with the offsets: what was not read yet of a partition is taken to be no newer (newest first) than what was read
last. So that partition is read next which may hold the next record, and no more is read than is needed.

Bounded: `limit` records, and about KEPT_BYTES of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmigrate.kafka_types import TopicPartition
from kmigrate.query.contents import FoundRecord

KEPT_BYTES = 64 << 20
_UNKNOWN = float("-inf")


class Ordering:
    """Collects at most `limit` records of these partitions."""

    def __init__(
        self, partitions: Iterable[TopicPartition], *, newest_first: bool, limit: int, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self.records: list[FoundRecord] = []
        """In order; also what was found so far is."""
        self.is_cut = False
        """Whether fewer than `limit` are kept because of their size."""
        self._fronts: dict[TopicPartition, float] = dict.fromkeys(partitions, _UNKNOWN)
        self._sign = -1 if newest_first else 1
        self._by_time = len(self._fronts) > 1
        self._limit = limit
        self._kept_bytes = kept_bytes

    def next_partition(self) -> TopicPartition | None:
        """Whose next window is needed; None if nothing more is."""
        if not self._fronts:
            return None
        partition = min(self._fronts, key=self._fronts.__getitem__)
        if len(self.records) < self._limit:
            return partition
        if not self._by_time:
            return None
        last = self.records[-1].timestamp_ms * self._sign
        return partition if self._fronts[partition] < last else None

    def add(
        self, partition: TopicPartition, records: Sequence[FoundRecord], front_ms: int | None, *, is_done: bool
    ) -> None:
        """What a partition's next window brought."""
        if front_ms is not None:
            self._fronts[partition] = max(self._fronts[partition], front_ms * self._sign)
        if is_done:
            del self._fronts[partition]
        if records:
            self.records.extend(records)
            self.records.sort(key=self._key)
            del self.records[self._limit :]
            self._bound()

    def _key(self, record: FoundRecord) -> tuple[int, TopicPartition, int]:
        time = record.timestamp_ms * self._sign if self._by_time else 0
        return time, record.partition, record.offset * self._sign

    def _bound(self) -> None:
        size = 0
        for count, record in enumerate(self.records):
            size += record.contents.size
            if size > self._kept_bytes and count:
                del self.records[count:]
                self._limit = count
                self.is_cut = True
                return
