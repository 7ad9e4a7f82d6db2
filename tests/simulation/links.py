"""Errand links to modelled logs: calls are answered with plain values, Fetch with bytes.

What is asked happens at once; its answer lies there until it is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from kmigrate.cluster.network import Buffer
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.wire import calls, gap_calls
from tests.simulation.log import KnownProducer, PartitionLog, Served
from tests.simulation.wire import FetchPart, fetch_answer, read_fetch_request


class LogLink:
    """One errand link to the leader of some partitions; override the hooks to make things happen."""

    client_id = b"simulated"
    opened_in_seconds = 0.001
    wants_renewal = False

    def __init__(self, logs: Mapping[TopicPartition, PartitionLog]) -> None:
        self.logs = logs
        self.asked: list[str] = []
        self._answer = b""
        self._answers: deque[tuple[Any, Any]] = deque()

    # ── hooks ─────────────────────────────────────────────────────────────────────────────────────────────────

    def renew(self) -> None:
        raise AssertionError("there is no session")

    def before(self, what: str) -> None:
        """Called before every request is answered."""

    def error(self, what: str, partition: TopicPartition) -> int:
        """An error for one partition of a request instead of its answer."""
        return 0

    def appended(self, partition: TopicPartition) -> None:
        """Called after every marker that was appended."""

    def wall_ms(self) -> int:
        """The broker's clock."""
        return 0

    def served(self, partition: TopicPartition, part: FetchPart, served: Served) -> Served:
        """What is really handed out of a fetched partition."""
        return served

    # ── a link ────────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, call: Any) -> Any:
        self.ask(call)
        return self.answer(call)

    def answer(self, call: Any) -> Any:
        asked, answers = self._answers.popleft()
        assert asked is call, "answers are read in the order in which they were asked for"
        return answers

    def ask(self, call: Any) -> None:
        self.asked.append(call.what)
        self.before(call.what)
        request = call.build(call.newest)
        if call.what == "WriteTxnMarkers":
            self._answers.append((call, self._write_markers(request)))
            return
        answers: dict[TopicPartition, Any] = {}
        for topic in request.topics:
            parts = topic.partition_indexes if call.what == "DescribeProducers" else topic.partitions
            for part in parts:
                name = topic.topic if call.what == "OffsetForLeaderEpoch" else topic.name
                partition = TopicPartition(TopicName(name), Partition(_index(call.what, part)))
                answers[partition] = self._one(request, call.what, part, partition)
        self._answers.append((call, answers))

    def _write_markers(self, request: Any) -> dict[TopicPartition, int]:
        """Of one producer id's markers on a partition the last one's result is told, as brokers merge them."""
        results: dict[TopicPartition, int] = {}
        for marker in request.markers:
            for topic in marker.topics:
                for index in topic.partition_indexes:
                    partition = TopicPartition(TopicName(topic.name), Partition(index))
                    error = self.error("WriteTxnMarkers", partition)
                    if not error:
                        ids = marker.producer_id, marker.producer_epoch, marker.coordinator_epoch
                        error = self.logs[partition].write_marker(*ids, self.wall_ms()).error
                        if not error:
                            self.appended(partition)
                    results[partition] = error
        return results

    def _one(self, request: Any, what: str, part: Any, partition: TopicPartition) -> Any:
        error, log = self.error(what, partition), self.logs[partition]
        if what == "DescribeProducers":
            states = [] if error else [_producer_state(known) for known in log.known_producers()]
            return calls.Producers(error, tuple(states))
        if what == "OffsetForLeaderEpoch":
            code, epoch, end = log.offset_for_leader_epoch(part.current_leader_epoch, part.leader_epoch)
            if error or code:
                return calls.EpochEnd(error or code, LeaderEpoch(-1), Offset(-1))
            return calls.EpochEnd(0, LeaderEpoch(epoch), Offset(end))
        if what == "DeleteRecords":
            error = error or log.check_deletion(part.offset)
            if not error:
                log.delete_records(log.high_watermark if part.offset == -1 else part.offset)
            return gap_calls.LogStart(error, Offset(-1 if error else log.log_start))
        assert what == "ListOffsets", what
        code, offset = (0, log.log_start) if part.timestamp == calls.EARLIEST else log.latest(request.isolation_level)
        return calls.OffsetAnswer(error or code, Offset(-1 if error else offset), -1)

    def send(self, buffers: Sequence[Buffer]) -> None:
        request = read_fetch_request(b"".join(buffers))
        self.asked.append("Fetch")
        self.before("Fetch")
        by_key = {
            bytes.fromhex(log.topic_id) if request.version >= 13 else partition.topic.encode(): (partition.topic)
            for partition, log in self.logs.items()
        }
        topics: dict[bytes, list[tuple[int, Served]]] = {}
        first, left = True, request.max_bytes
        for part in request.parts:
            topic = by_key.get(part.topic)
            if topic is None:
                served = Served(100, -1, -1, None, b"")
            else:
                partition = TopicPartition(topic, Partition(part.partition))
                error = self.error("Fetch", partition)
                served = Served(error, -1, -1, None, b"")
                if not error:
                    served = self.logs[partition].fetch(
                        part.offset,
                        part.leader_epoch,
                        part.last_epoch,
                        min(left, part.max_bytes),
                        first=first,
                        isolation_level=request.isolation_level,
                    )
                    first, left = first and not served.data, max(0, left - len(served.data))
                    served = self.served(partition, part, served)
            topics.setdefault(part.topic, []).append((part.partition, served))
        self._answer = fetch_answer(request.version, request.correlation_id, topics=topics)

    def receive(self, into: bytearray) -> memoryview:
        return memoryview(self._answer)

    def next_correlation_id(self) -> int:
        return 1

    def highest_version(self, api_key: int) -> int:
        return 13

    def close(self) -> None:
        pass


def _producer_state(known: KnownProducer) -> calls.ProducerState:
    """As much of it as the product reads."""
    return calls.ProducerState(**{name: getattr(known, name) for name in calls.ProducerState._fields})


def _index(what: str, part: Any) -> int:
    if what == "DescribeProducers":
        return int(part)
    return int(part.partition if what == "OffsetForLeaderEpoch" else part.partition_index)
