"""The topic that mirrors a state, on the target: looked for, created, read, and written by one writer at a time.

Rule: a batch goes out again as the same bytes until its outcome is known, and must lie where it is expected. So what
the writer believes to be in the topic is there, and a topic that lost something, or was made anew, shows at the next
batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.connection import Connection
from kmigrate.cluster.reader import Aborted, Stored, TailReader
from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import BrokerId, Offset, Partition, Side, TopicId, TopicName, TopicPartition
from kmigrate.records.batch import SEQUENCES, stamp
from kmigrate.records.compression import Codec
from kmigrate.records.record import RawRecord, build_batch, read_records, read_varint, varint
from kmigrate.state.mirror import HEAD_KEY, Head, Producer
from kmigrate.topics.create import judge_error
from kmigrate.topics.replicas import decide_replication_factor
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import NewTopic
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.produce import parse_produce, serialize_produce

REPLICAS = 3
BATCH_BYTES = 512 << 10
MAX_BATCH_BYTES = 16 << 20
_BUDGET_BYTES = 64 << 20
_CREATE_MS = 20_000
_ANSWER_BYTES = 64 << 10
_INVALID_PRODUCER_EPOCH = 47
_PRODUCER_FENCED = 90
_DENIED = frozenset(
    {ErrorCode.TOPIC_AUTHORIZATION_FAILED, ErrorCode.CLUSTER_AUTHORIZATION_FAILED, ErrorCode.POLICY_VIOLATION}
)
_GONE = frozenset({ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID})
_PASSING = frozenset(
    {
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.OFFSET_NOT_AVAILABLE,
    }
)


class MirrorAbsent(KmigrateError):
    """There is no such topic."""


class MirrorDenied(KmigrateError):
    """The target does not let us: no repetition mends it."""


class MirrorFenced(KmigrateError):
    """A later writer has begun."""


class MirrorDiffers(KmigrateError):
    """The topic does not hold what we believe it to: it must be read again."""


class Found(NamedTuple):
    """The topic's only partition."""

    topic_id: TopicId
    start: Offset
    end: Offset


class Record(NamedTuple):
    """A key with its value; none says that it is gone."""

    key: bytes
    value: bytes | None


class MirrorTopic:
    """One thread at a time uses it. Everything raises ClusterError for what may pass, and the errors above."""

    def __init__(self, client: ClusterClient, topic: TopicName, *, timeout_ms: int) -> None:
        self.topic = topic
        self._client = client
        self._place = TopicPartition(topic, Partition(0))
        self._timeout_ms = timeout_ms
        self._leader: Connection | None = None
        self._producer: Producer | None = None
        self._sequence = 0
        self._expected: int | None = None
        self._pending: bytearray | None = None
        self._pending_count = 0

    # -- the topic

    def look(self) -> Found:
        """Where its log begins and ends now."""
        try:
            metadata = self._client.metadata([self.topic])
            topic = metadata.topics.get(self.topic)
            if topic is None or topic.error in _GONE:
                raise MirrorAbsent(f"there is no topic {self.topic} on the target")
            self._check(topic.error, "Metadata")
            if len(topic.partitions) != 1:
                raise MirrorDenied(f"the topic {self.topic} has {len(topic.partitions)} partitions, and ours has one")
            part = topic.partitions[Partition(0)]
            if part.leader < 0:
                raise self._later("no leader at the moment")
            self._connect_to(part.leader)
            start, end = (
                self._client.broker(part.leader, calls.list_offsets([self._place], at))[self._place]
                for at in (calls.EARLIEST, calls.LATEST)
            )
            self._check(start.error or end.error, "ListOffsets")
        except ClusterError:
            self._disconnect()
            raise
        return Found(topic.topic_id, start.offset, end.offset)

    def create(self) -> None:
        """Creates it; one that is there is left as it is."""
        brokers = len(self._client.metadata([]).brokers)
        replicas = decide_replication_factor("fit", REPLICAS, brokers)
        wanted = NewTopic(
            name=self.topic,
            partitions=1,
            replication_factor=replicas,
            configs={
                "cleanup.policy": "compact",
                "compression.type": "producer",
                "max.message.bytes": str(MAX_BATCH_BYTES),
                "min.insync.replicas": str(max(1, replicas - 1)),
                "segment.bytes": str(16 << 20),
            },
        )
        outcome = self._client.controller(calls.create_topics([wanted], _CREATE_MS))[self.topic]
        if outcome.error in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS):
            return
        if outcome.error in _DENIED:
            raise MirrorDenied(f"creating the topic {self.topic} is refused: {error_name(outcome.error)}")
        raise self._later(judge_error(outcome).reason)

    # -- reading

    def head(self) -> Head | None:
        """The newest head: the last record of the log; None if nothing is in it."""
        found = self.look()
        if found.end <= found.start:
            return None
        last: list[Record] = []
        self._read(found.topic_id, Offset(found.end - 1), found.end, last.append)
        head = Head.from_bytes(last[-1].value) if last and last[-1].key == HEAD_KEY and last[-1].value else None
        if head is None:
            raise MirrorDenied(f"the topic {self.topic} holds what kmigrate did not write")
        return head

    def read(self, take: Callable[[Record], None], end: int = 0) -> None:
        """All records in order, to the high watermark, and at least to this offset."""
        found = self.look()
        if found.end < end:
            raise self._later(f"its log is to be read up to {end}, and is shown up to {found.end}")
        self._read(found.topic_id, found.start, found.end, take)

    def _read(self, topic_id: TopicId, start: Offset, end: Offset, take: Callable[[Record], None]) -> None:
        def show(_: TopicPartition, batches: Sequence[Stored], __: Aborted) -> None:
            for batch in batches:
                if batch.header is None:
                    continue
                for record in read_records(batch.header, batch.view, _BUDGET_BYTES):
                    if record.offset >= start:
                        take(parse_record(record.body))

        assert self._leader is not None
        try:
            errors = TailReader(Side.TARGET, self._leader).show({self._place: (topic_id, start, end)}, show)
        except ClusterError:
            self._disconnect()
            raise
        except (ValueError, IndexError) as error:
            raise MirrorDiffers(f"a record in {self.topic} cannot be read: {error}") from error
        self._check(errors.get(self._place, 0), "Fetch")

    # -- writing

    def begin(self, producer: Producer) -> None:
        """Writes as this producer from now on, from its first sequence."""
        self._producer, self._sequence, self._expected, self._pending = producer, 0, None, None

    def append(self, records: Iterable[Record], now_ms: int) -> int:
        """Appends one batch, and returns the offset behind it. After ClusterError it must be appended again.

        Then the same bytes go out, whatever records are given: `is_pending` says so.
        """
        if self._pending is None:
            raw = [RawRecord(number, now_ms, serialize_record(record)) for number, record in enumerate(records)]
            self._pending, self._pending_count = build_batch(raw, Codec.ZSTD), len(raw)
            assert self._producer is not None
            view = memoryview(self._pending)
            stamp(view, 0, len(view), *self._producer, self._sequence, Codec.ZSTD)
        if self._leader is None:
            self.look()
        try:
            base = self._send(self._pending)
        except ClusterError:
            self._disconnect()
            raise
        if self._expected is not None and base not in (self._expected, -1):
            self._pending = None
            raise MirrorDiffers(f"a batch lies at {self.topic}@{base}, and was expected at {self._expected}")
        self._sequence = (self._sequence + self._pending_count) % SEQUENCES
        self._expected = base + self._pending_count
        self._pending = None
        return self._expected

    @property
    def is_pending(self) -> bool:
        """Whether a batch is under way whose outcome is not known."""
        return self._pending is not None

    def _send(self, batch: bytearray) -> int:
        link = self._leader
        assert link is not None
        correlation_id = link.next_correlation_id()
        link.send(
            serialize_produce(
                correlation_id=correlation_id,
                client_id=link.client_id,
                timeout_ms=self._timeout_ms,
                batches={self.topic.encode(): [(0, memoryview(batch))]},
            )
        )
        try:
            answer = parse_produce(link.receive(bytearray(_ANSWER_BYTES)))
        except ValueError as error:
            raise self._later(str(error)) from error
        if answer.throttle_ms:
            time.sleep(min(answer.throttle_ms / 1000, 1.0))
        said = answer.partitions.get((self.topic.encode(), 0))
        if said is None:
            raise self._later("the answer to Produce leaves it out")
        if said.error in (_INVALID_PRODUCER_EPOCH, _PRODUCER_FENCED):
            raise MirrorFenced(f"another owner writes to {self.topic}")
        if said.error in (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
            raise MirrorDiffers(f"{self.topic}: {error_name(said.error)}")
        self._check(said.error, "Produce", said.message)
        return said.base_offset

    # -- the rest

    def _connect_to(self, leader: BrokerId) -> None:
        if self._leader is not None and self._leader.address.node_id == leader:
            return
        self._disconnect()
        self._leader = self._client.connect(leader)

    def _disconnect(self) -> None:
        if self._leader is not None:
            self._leader.close()
            self._leader = None

    def _check(self, error: int, what: str, message: str = "") -> None:
        if not error:
            return
        words = f"{what} of the topic {self.topic}: {error_name(error)}" + (f": {message}" if message else "")
        if error in _GONE and what != "Produce":
            raise MirrorAbsent(words)
        if error in _DENIED:
            raise MirrorDenied(words)
        if error in _PASSING or error in _GONE:
            raise self._later(words)
        raise MirrorDiffers(words)

    def _later(self, reason: str) -> ClusterError:
        return ClusterError(f"topic {self.topic}: {reason}", side=Side.TARGET)

    def close(self) -> None:
        self._disconnect()
        self._client.close()


def serialize_record(record: Record) -> bytes:
    """A record's body."""
    value = b"\x01" if record.value is None else varint(len(record.value)) + record.value
    return varint(len(record.key)) + record.key + value + b"\x00"


def parse_record(body: bytes) -> Record:
    """Key and value of a record's body; raises ValueError or IndexError for a damaged one."""
    size, at = read_varint(body, 0)
    if size < 0:
        raise ValueError("a record without a key")
    key = body[at : at + size]
    size, at = read_varint(body, at + size)
    if at + max(0, size) > len(body):
        raise ValueError("a record ends early")
    return Record(key, None if size < 0 else body[at : at + size])


def fold(records: Iterable[Record]) -> dict[bytes, bytes]:
    """What counts of a mirror: of each key what came last."""
    found: dict[bytes, bytes] = {}
    for record in records:
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value
    return found


def read_all(topic: MirrorTopic, end: int = 0) -> dict[bytes, bytes]:
    """What counts in the topic, to its end."""
    records: list[Record] = []
    topic.read(records.append, end)
    return fold(records)
