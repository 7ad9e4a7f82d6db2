"""What a reader of decided data needs of a log: control batches, batches with holes, and answers that tell what was
aborted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from kmigrate.cluster.network import Buffer
from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.wire import calls
from tests.simulation.batches import Record, record_bytes, seal
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog
from tests.simulation.wire import varint

TRANSACTIONAL, CONTROL = 0x10, 0x20
_STABLE_AT, _ABORTED_AT = 47, 63
_LARGEST_COUNT = 126


def marker(producer_id: int, *, commit: bool = True, producer_epoch: int = 0, coordinator_epoch: int = 0) -> bytes:
    """One control batch: the end of a transaction of this producer."""
    key, value = struct.pack(">hh", 0, int(commit)), struct.pack(">hi", 0, coordinator_epoch)
    return seal(
        record_bytes(Record(0, key, value), 0, 0),
        attributes=TRANSACTIONAL | CONTROL,
        last_offset_delta=0,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        record_count=1,
    )


def with_holes(
    records: Mapping[int, Record], *, length: int, attributes: int = 0, producer_id: int = -1, leader_epoch: int = -1
) -> bytes:
    """A batch over `length` offsets with records at these deltas only, as compaction leaves it."""
    return seal(
        b"".join(record_bytes(each, delta, each.timestamp_ms) for delta, each in sorted(records.items())),
        attributes=attributes,
        leader_epoch=leader_epoch,
        last_offset_delta=length - 1,
        max_timestamp_ms=max((each.timestamp_ms for each in records.values()), default=-1),
        producer_id=producer_id,
        record_count=len(records),
    )


def compact(log: PartitionLog, first: int, end: int) -> None:
    """The batches that lie between these offsets are gone."""
    log.batches = [batch for batch in log.batches if batch.next <= first or batch.base >= end]


class CommittedLink(LogLink):
    """A link to the leader of one partition that knows its last stable offset and its aborted transactions.

    `aborted` are (producer id, first offset, last offset: that of the marker); a fetch answer tells those that reach
    into its batches. `isolation` notes how each Fetch was asked.
    """

    def __init__(self, logs: Mapping[TopicPartition, PartitionLog]) -> None:
        super().__init__(logs)
        self.stable: int | None = None
        self.aborted: list[tuple[int, int, int]] = []
        self.isolation: list[int] = []

    def call(self, call: Any) -> Any:
        answers = super().call(call)
        if call.what == "ListOffsets" and self.stable is not None:
            request = call.build(call.newest)
            if request.isolation_level and request.topics[0].partitions[0].timestamp == calls.LATEST:
                return {tp: each._replace(offset=Offset(self.stable)) for tp, each in answers.items() if not each.error}
        return answers

    def send(self, buffers: Sequence[Buffer]) -> None:
        self.isolation.append(b"".join(buffers)[31 + len(self.client_id)])
        super().send(buffers)

    def receive(self, into: bytearray) -> memoryview:
        answer = bytes(super().receive(into))
        if not self.isolation[-1] or len(self.logs) > 1:
            return memoryview(answer)
        if self.stable is not None:
            answer = answer[:_STABLE_AT] + struct.pack(">q", self.stable) + answer[_STABLE_AT + 8 :]
        told = self._reaching(answer)
        assert len(told) < _LARGEST_COUNT
        after = _ABORTED_AT + 1 + 17 * max(0, answer[_ABORTED_AT] - 1)
        listed = varint(len(told) + 1) + b"".join(struct.pack(">qqb", *each, 0) for each in told)
        return memoryview(answer[:_ABORTED_AT] + listed + answer[after:])

    def _reaching(self, answer: bytes) -> list[tuple[int, int]]:
        """The transactions that reach into what is served; the newest first, for brokers keep no order that counts."""
        ends = [batch for log in self.logs.values() for batch in log.batches if batch.data in answer]
        if not ends:
            return []
        return [
            (producer_id, first)
            for producer_id, first, last in reversed(self.aborted)
            if last >= ends[0].base and first < ends[-1].next
        ]
