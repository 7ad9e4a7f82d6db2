"""A cluster of modelled logs as whoever only reads sees it: metadata, time indexes as brokers keep them, fetches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Offset,
    Partition,
    TopicId,
    TopicName,
    TopicPartition,
)
from kmigrate.query.contents import Contents, FoundRecord
from kmigrate.wire import calls
from tests.simulation.batches import Record, StoredBatch, decode, make_batch
from tests.simulation.links import LogLink
from tests.simulation.log import PartitionLog

TRANSACTIONAL = 0x10
PRODUCER = 7


class ReadersLink(LogLink):
    """A link that also looks up times: like a broker's index it does not know what consumers do not see."""

    def _one(self, request: Any, what: str, part: Any, partition: TopicPartition) -> Any:
        if what == "ListOffsets" and part.timestamp >= 0 and not self.error(what, partition):
            return calls.OffsetAnswer(0, Offset(offset_at(self.logs[partition], part.timestamp)), -1)
        return super()._one(request, what, part, partition)


def offset_at(log: PartitionLog, timestamp_ms: int) -> int:
    """The first record, or marker, at or after a time; −1 without one."""
    for batch in log.batches:
        for record in decode(batch.data):
            if record.timestamp_ms >= timestamp_ms and record.offset >= log.log_start:
                return record.offset
    return -1


class ReadersClient:
    """Stands in for a ClusterClient: each partition is led by the broker of its number modulo `brokers`."""

    def __init__(self, logs: Mapping[TopicPartition, PartitionLog], brokers: int = 1) -> None:
        self.logs = logs
        self.brokers = brokers
        self.links: list[ReadersLink] = []
        self.is_closed = False
        self._kept: dict[BrokerId, ReadersLink] = {}

    def metadata(self, topics: Sequence[TopicName] | None) -> calls.ClusterMetadata:
        found: dict[TopicName, calls.TopicMetadata] = {}
        names = {tp.topic for tp in self.logs} if topics is None else topics
        for name in names:
            mine = [tp for tp in self.logs if tp.topic == name]
            found[name] = calls.TopicMetadata(
                error=0 if mine else 3,
                topic_id=TopicId(self.logs[mine[0]].topic_id if mine else "0" * 32),
                is_internal=False,
                partitions={
                    tp.partition: calls.PartitionMetadata(
                        error=0, leader=self.leader(tp), leader_epoch=LeaderEpoch(0), replicas=()
                    )
                    for tp in mine
                },
            )
        addresses = {BrokerId(n): BrokerAddress(BrokerId(n), "simulated", 9092) for n in range(self.brokers)}
        return calls.ClusterMetadata(cluster_id="simulated", controller=BrokerId(0), brokers=addresses, topics=found)

    def leader(self, partition: TopicPartition) -> BrokerId:
        return BrokerId(partition.partition % self.brokers)

    def connect(self, broker: BrokerId) -> ReadersLink:
        link = ReadersLink({tp: log for tp, log in self.logs.items() if self.leader(tp) == broker})
        self.links.append(link)
        return link

    def link(self, broker: BrokerId) -> ReadersLink:
        if broker not in self._kept:
            self._kept[broker] = self.connect(broker)
        return self._kept[broker]

    def drop(self, broker: BrokerId) -> None:
        link = self._kept.pop(broker, None)
        if link is not None:
            link.close()

    def broker(self, broker: BrokerId, call: Any) -> Any:
        return ReadersLink(self.logs).call(call)

    def close(self) -> None:
        self.is_closed = True
        for broker in list(self._kept):
            self.drop(broker)


def partition_of(topic: str, number: int = 0) -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(number))


def new_log() -> PartitionLog:
    return PartitionLog("ab" * 16)


def commit(log: PartitionLog, records: Sequence[Record], *, committed: bool = True, marked_at: int = 0) -> None:
    """A transaction of one batch and its marker."""
    log.write(make_batch(records, attributes=TRANSACTIONAL, producer_id=PRODUCER, producer_epoch=0))
    log.write_marker(PRODUCER, 0, 0, marked_at, committed=committed)


def visible(log: PartitionLog, partition: TopicPartition) -> list[FoundRecord]:
    """What a consumer of decided data sees, by a second implementation."""
    found = []
    for batch in log.batches:
        if batch.next > log.last_stable_offset or _is_hidden(log, batch):
            continue
        for record in decode(batch.data):
            if record.offset >= log.log_start:
                contents = Contents(record.key, record.value, record.headers)
                found.append(FoundRecord(partition, Offset(record.offset), record.timestamp_ms, contents))
    return found


def _is_hidden(log: PartitionLog, batch: StoredBatch) -> bool:
    if batch.data[16] < 2:
        return False
    return bool(batch.data[22] & 0x20) or any(each.holds(batch) for each in log.transactions.aborted)
