"""WriteTxnMarkers and DeleteRecords as brokers handle them.

Every marker of a request is an append of its own, with acks=all. The answer has one result for each producer id and
partition: that of the marker which came to its end last, on all its partitions; so it can hide the failure of another.

Sources: KafkaApis.handleWriteTxnMarkersRequest, ReplicaManager.deleteRecords, DelayedDeleteRecords.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka.protocol.admin.topics import DeleteRecordsRequest, DeleteRecordsResponse
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from kmigrate.kafka_types import TopicPartition
from tests.simulation import log as codes
from tests.simulation import network

if TYPE_CHECKING:
    from tests.simulation.network import Broker

BROKER_TIMEOUT_SECONDS = 30.0
"""`request.timeout.ms` of a broker: how long markers wait for followers."""

MARKER_TROUBLE = 4
"""How much oftener something goes wrong with a row of markers than with a produced batch: it is many appends."""

Failures = dict[int, tuple[int, bool]]
"""Which markers of a partition fail, by their number: with which error, and whether they are appended all the same."""


class _Marked:
    """What became of one marker; `next` is where the high watermark must come."""

    def __init__(self, producer_id: int, topic: str, index: int, partition: TopicPartition | None) -> None:
        self.place = producer_id, topic, index
        self.partition = partition
        self.error = 0
        self.next = self.epoch = -1
        self.waits = False


def write_markers(broker: Broker, framed: bytes, version: int, answer: Callable[[bytes], None]) -> None:
    """Appends the markers of a request; answers when all of them have their result."""
    request = WriteTxnMarkersRequest.decode(memoryview(framed)[4:], version=version, header=True)
    asked = [
        (
            marker,
            _Marked(marker.producer_id, topic.name, index, broker.cluster.partition_of(topic.name.encode(), index)),
        )
        for marker in request.markers
        for topic in marker.topics
        for index in topic.partition_indexes
    ]
    counts = Counter(marked.partition for _, marked in asked)
    failures = {partition: _failures(broker, count) for partition, count in counts.items()}
    numbers: Counter[TopicPartition | None] = Counter()
    for marker, marked in asked:
        _append(broker, marker, marked, failures[marked.partition].get(numbers[marked.partition]))
        numbers[marked.partition] += 1
    late = {id(marker) for marker, marked in asked if marked.waits}
    outcomes = [marked for _, marked in sorted(asked, key=lambda each: id(each[0]) in late)]

    def look(final: bool) -> bytes | None:
        results: dict[tuple[int, str, int], int] = {}
        for marked in outcomes:
            code = _result(broker, marked, final)
            if code is None:
                return None
            results[marked.place] = code
        hidden = any(marked.error and not results[marked.place] for marked in outcomes)
        broker.cluster.seen["hidden failures"] += hidden
        return network.encoded(_marker_answer(version, results), request.header.correlation_id)

    broker.answer_or_park(look, answer, BROKER_TIMEOUT_SECONDS)


def _failures(broker: Broker, count: int) -> Failures:
    """One marker alone fails, or all from one on, as when the leader moves; mostly none."""
    chance = broker.cluster.chance
    if chance.random() >= broker.cluster.weather.error * MARKER_TROUBLE:
        return {}
    code, first = chance.choice([3, 19, 6, 56, 7, 20, -1]), chance.randrange(count)
    appended = code in (7, 20) or (code not in (3, 19) and chance.random() < 0.5)
    last = first if chance.random() < 0.5 else count - 1
    return dict.fromkeys(range(first, last + 1), (code, appended))


def _append(broker: Broker, marker: Any, marked: _Marked, failure: tuple[int, bool] | None) -> None:
    cluster = broker.cluster
    marked.error, log = broker.log_of(marked.partition)
    if log is None or marked.partition is None:
        return
    if failure is not None and not failure[1]:
        marked.error = failure[0]
        return
    appended = log.write_marker(
        marker.producer_id,
        marker.producer_epoch,
        marker.coordinator_epoch,
        broker.wall_ms(),
        committed=marker.transaction_result,
    )
    marked.error = appended.error or (failure[0] if failure is not None else 0)
    cluster.seen["fenced markers"] += appended.error == codes.TRANSACTION_COORDINATOR_FENCED
    if not appended.error:
        cluster.seen["markers"] += 1
        marked.next, marked.epoch = appended.next, log.leader_epoch
        marked.waits = not marked.error and log.high_watermark < appended.next
        cluster.appended(marked.partition)


def _result(broker: Broker, marked: _Marked, final: bool) -> int | None:
    """The error of a marker, or 0; None while it waits for followers."""
    if marked.error or marked.partition is None:
        return marked.error
    log = broker.cluster.logs[marked.partition]
    if broker.cluster.leaders[marked.partition] != broker.number or log.leader_epoch != marked.epoch:
        return codes.NOT_LEADER_OR_FOLLOWER if marked.waits else codes.NONE
    if log.high_watermark >= marked.next or not marked.waits:
        return codes.NONE
    return codes.REQUEST_TIMED_OUT if final else None


def _marker_answer(version: int, results: dict[tuple[int, str, int], int]) -> Any:
    marker_class = WriteTxnMarkersResponse.WritableTxnMarkerResult
    topic_class = marker_class.WritableTxnMarkerTopicResult
    part_class = topic_class.WritableTxnMarkerPartitionResult
    merged: dict[int, dict[str, list[Any]]] = {}
    for (producer_id, topic, index), code in results.items():
        parts = merged.setdefault(producer_id, {}).setdefault(topic, [])
        parts.append(part_class(partition_index=index, error_code=code))
    return WriteTxnMarkersResponse(
        version=version,
        markers=[
            marker_class(
                producer_id=producer_id, topics=[topic_class(name=name, partitions=parts) for name, parts in of.items()]
            )
            for producer_id, of in merged.items()
        ],
    )


def delete_records(broker: Broker, framed: bytes, version: int, answer: Callable[[bytes], None]) -> None:
    """Moves the beginnings of logs; answers when their followers have moved theirs."""
    request = DeleteRecordsRequest.decode(memoryview(framed)[4:], version=version, header=True)
    cluster = broker.cluster
    deleted: list[tuple[str, int, TopicPartition | None, int, int]] = []
    for topic in request.topics:
        for part in topic.partitions:
            partition = cluster.partition_of(topic.name.encode(), part.partition_index)
            error, log = broker.log_of(partition)
            epoch = -1
            if log is not None:
                error, epoch = log.check_deletion(part.offset), log.leader_epoch
                if not error:
                    log.delete_records(log.high_watermark if part.offset == -1 else part.offset)
                    cluster.seen["deletions"] += 1
            deleted.append((topic.name, part.partition_index, partition, error, epoch))

    def look(final: bool) -> bytes | None:
        results: dict[str, list[tuple[int, int, int]]] = {}
        for topic, index, partition, code, epoch in deleted:
            start, error = -1, code
            if not error and partition is not None:
                log = cluster.logs[partition]
                if cluster.leaders[partition] != broker.number or log.leader_epoch != epoch:
                    error = codes.NOT_LEADER_OR_FOLLOWER
                elif log.following:
                    start = log.log_start
                elif final:
                    error = codes.REQUEST_TIMED_OUT
                else:
                    return None
            results.setdefault(topic, []).append((index, start, error))
        return network.encoded(_deletion_answer(version, results), request.header.correlation_id)

    broker.answer_or_park(look, answer, request.timeout_ms / 1000)


def _deletion_answer(version: int, results: dict[str, list[tuple[int, int, int]]]) -> Any:
    topic_class = DeleteRecordsResponse.DeleteRecordsTopicResult
    part_class = topic_class.DeleteRecordsPartitionResult
    return DeleteRecordsResponse(
        version=version,
        throttle_time_ms=0,
        topics=[
            topic_class(
                name=topic,
                partitions=[
                    part_class(partition_index=index, low_watermark=start, error_code=code)
                    for index, start, code in parts
                ],
            )
            for topic, parts in results.items()
        ],
    )
