"""The bytes simulation: a network whose brokers read real requests and answer with real bytes, under a virtual clock.

It takes the place of `kmigrate.cluster.network` and of nothing else. Brokers handle one request at a time per
connection, keep fetch sessions (KIP-227), park fetches without data and appends whose followers are behind, and keep
working on what lies in their queue when the connection is gone. What goes wrong is decided by one `random.Random`.
"""

from __future__ import annotations

import heapq
import random
import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from kafka.protocol.admin.transactions import DescribeProducersRequest, DescribeProducersResponse
from kafka.protocol.consumer.offsets import (
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)

from kmigrate.cluster.network import Buffer, Link
from kmigrate.copy.guard import QUIET_SECONDS
from kmigrate.errors import ConnectionLost, Unreachable
from kmigrate.kafka_types import BrokerAddress, Side, TopicPartition
from kmigrate.wire.call import Call
from tests.simulation import gaps
from tests.simulation import log as codes
from tests.simulation.log import PartitionLog, Served
from tests.simulation.wire import FetchPart, FetchRequest, fetch_answer, read_fetch_request

T = TypeVar("T")
START_MS = 1_760_000_000_000
LATEST_ARRIVAL_SECONDS = QUIET_SECONDS * 0.99
"""How long after the end of its connection a request may still reach the broker."""
PRODUCE, FETCH, LIST_OFFSETS, DELETE_RECORDS, OFFSET_FOR_LEADER_EPOCH, WRITE_TXN_MARKERS = 0, 1, 2, 21, 23, 27
DESCRIBE_PRODUCERS = 61
WRITES = frozenset({PRODUCE, DELETE_RECORDS, WRITE_TXN_MARKERS})
"""Requests that change something: they need a lease, and may arrive after the end of their connection."""
MARKER_SECONDS = 4e-5
"""What a broker needs for one marker; a request of very many keeps its connection busy for seconds."""
MARKER_BYTES = 30
"""What it takes at least in a request."""


class Weather:
    """How often what goes wrong; all zero is calm."""

    def __init__(self, **chances: float) -> None:
        self.cut = chances.get("cut", 0.0)
        self.late = chances.get("late", 0.0)
        self.error = chances.get("error", 0.0)
        self.flip = chances.get("flip", 0.0)
        self.flip_places = chances.get("flip_places", 0.0)
        """How many of the flips hit where a batch lies and how long it is: no CRC covers that."""
        self.slow = chances.get("slow", 0.0)
        self.throttle = chances.get("throttle", 0.0)
        self.no_session = chances.get("no_session", 0.0)
        self.evict = chances.get("evict", 0.0)
        self.tails_flipped: set[TopicPartition] = set()

    def quota(self, chance: random.Random) -> int:
        """For how many milliseconds a broker reads nothing more from a connection."""
        return chance.randrange(200, 3000) if chance.random() < self.throttle else 0


class Clock:
    """Virtual time: what is due happens when it is waited for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (max(seconds, self.now), self._count, act))

    def wait(self, until: float, ready: Callable[[], bool]) -> None:
        """Lets time pass until something is ready, or until then."""
        while not ready() and self._due and self._due[0][0] <= until:
            at, _, act = heapq.heappop(self._due)
            self.now = max(self.now, at)
            act()
        if not ready():
            self.now = max(self.now, until)


class Parked(NamedTuple):
    """A request that waits in the broker: `look` gives the answer, at the deadline (True) whatever it is."""

    look: Callable[[bool], bytes | None]
    answer: Callable[[bytes], None]
    deadline: float


class _Session:
    def __init__(self, number: int) -> None:
        self.number = number
        self.epoch = 1
        self.parts: dict[tuple[bytes, int], tuple[FetchPart, int, int]] = {}


class Cluster:
    """Brokers, topics and their logs on one side."""

    def __init__(self, side: Side, clock: Clock, chance: random.Random, weather: Weather, fetch_version: int) -> None:
        self.side = side
        self.clock = clock
        self.chance = chance
        self.weather = weather
        self.fetch_version = fetch_version
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.leaders: dict[TopicPartition, int] = {}
        self.brokers = {number: Broker(self, number) for number in (1, 2)}
        self.parked: list[Parked] = []
        self.appended: Callable[[TopicPartition], None] = lambda partition: None
        self.seen: Counter[str] = Counter()
        self.largest_fetch = 0
        self.flips: Counter[tuple[TopicPartition, int]] = Counter()

    def address(self, broker: int) -> BrokerAddress:
        port = (9100 if self.side is Side.SOURCE else 9200) + broker
        return BrokerAddress(broker, "simulated", port)  # type: ignore[arg-type]

    def partition_of(self, topic: bytes, index: int, *, by_id: bool = False) -> TopicPartition | None:
        """By name, or by id in the versions that use it."""
        for partition, log in self.logs.items():
            key = bytes.fromhex(log.topic_id) if by_id else partition.topic.encode()
            if partition.partition == index and topic == key:
                return partition
        return None

    def poke(self) -> None:
        """Something changed: parked requests may have their answer now."""
        parked, self.parked = self.parked, []
        for each in parked:
            answer = each.look(self.clock.now >= each.deadline)
            if answer is None:
                self.parked.append(each)
            else:
                each.answer(answer)

    def park(self, each: Parked) -> None:
        self.parked.append(each)
        self.clock.at(each.deadline, self.poke)


class Broker:
    """One broker: reads requests, answers them."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.number = number
        self.up = True
        self.sessions: dict[int, _Session] = {}
        self.connections: dict[Connection, None] = {}

    def stop(self) -> None:
        """Connections, queues and sessions are gone."""
        self.up = False
        self.sessions.clear()
        for connection in list(self.connections):
            connection.die()

    def handle(self, framed: bytes, answer: Callable[[bytes], None]) -> None:
        """Reads one request; calls `answer` now or later, or never."""
        key, version, correlation_id = struct.unpack_from(">hhi", framed, 4)
        if key == PRODUCE:
            self._produce(framed, answer)
        elif key == FETCH:
            self._fetch(read_fetch_request(framed), answer)
        elif key == LIST_OFFSETS:
            self._list_offsets(framed, version, correlation_id, answer)
        elif key == OFFSET_FOR_LEADER_EPOCH:
            self._offset_for_leader_epoch(framed, version, correlation_id, answer)
        elif key == WRITE_TXN_MARKERS:
            gaps.write_markers(self, framed, version, answer)
        elif key == DELETE_RECORDS:
            gaps.delete_records(self, framed, version, answer)
        else:
            assert key == DESCRIBE_PRODUCERS, key
            self._describe_producers(framed, version, correlation_id, answer)

    def log_of(self, partition: TopicPartition | None) -> tuple[int, PartitionLog | None]:
        """(error, log): the log is here only if this broker leads."""
        if partition is None:
            return 3, None
        if self.cluster.leaders[partition] != self.number:
            return codes.NOT_LEADER_OR_FOLLOWER, None
        return 0, self.cluster.logs[partition]

    def answer_or_park(
        self, look: Callable[[bool], bytes | None], answer: Callable[[bytes], None], seconds: float
    ) -> None:
        """Answers now if everything is there, else when it is, or after so many seconds."""
        ready = look(False)
        if ready is not None:
            answer(ready)
        else:
            self.cluster.park(Parked(look, answer, self.cluster.clock.now + seconds))

    def wall_ms(self) -> int:
        """The broker's clock."""
        return START_MS + int(self.cluster.clock.now * 1000)

    # ── Produce ───────────────────────────────────────────────────────────────────────────────────────────────

    def _produce(self, framed: bytes, answer: Callable[[bytes], None]) -> None:
        size, _, version, correlation_id, client = struct.unpack_from(">ihhih", framed)
        assert (size, version) == (len(framed) - 4, 8)
        at = 14 + client
        transactional, acks, timeout_ms, topics = struct.unpack_from(">hhii", framed, at)
        assert (transactional, acks) == (-1, -1)
        at += 12
        outcomes: list[tuple[bytes, int, int, int, int, TopicPartition | None, int]] = []
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", framed, at)
            topic = framed[at + 2 : at + 2 + length]
            at += 2 + length
            (parts,) = struct.unpack_from(">i", framed, at)
            at += 4
            for _ in range(parts):
                index, length = struct.unpack_from(">ii", framed, at)
                data = framed[at + 8 : at + 8 + length]
                at += 8 + length
                partition = self.cluster.partition_of(topic, index)
                error, base, after, epoch = self._append(partition, data)
                outcomes.append((topic, index, error, base, after, partition, epoch))
        assert at == len(framed)

        def look(final: bool) -> bytes | None:
            answers: dict[bytes, list[tuple[int, int, int]]] = {}
            for topic, index, error, base, after, partition, epoch in outcomes:
                code = error
                if not error and partition is not None:
                    log = self.cluster.logs[partition]
                    if self.cluster.leaders[partition] != self.number or log.leader_epoch != epoch:
                        code = codes.NOT_LEADER_OR_FOLLOWER
                    elif log.high_watermark < after:
                        if not final:
                            return None
                        code = codes.REQUEST_TIMED_OUT
                answers.setdefault(topic, []).append((index, code, -1 if code else base))
            return _produce_answer(correlation_id, self.cluster.weather.quota(self.cluster.chance), answers)

        self.answer_or_park(look, answer, timeout_ms / 1000)

    def _append(self, partition: TopicPartition | None, data: bytes) -> tuple[int, int, int, int]:
        """(error, base, next, leader epoch)."""
        cluster, chance = self.cluster, self.cluster.chance
        error, log = self.log_of(partition)
        if log is None or partition is None:
            return error, -1, -1, -1
        after_append = 0
        if chance.random() < cluster.weather.error:
            code = chance.choice([3, 19, 6, 56, 7, 20, -1])
            if code in (3, 19) or (code in (6, 56, -1) and chance.random() < 0.5):
                return code, -1, -1, -1
            after_append = code
        before = log.end
        appended = log.append(data, self.wall_ms())
        assert appended.error in (0, codes.OUT_OF_ORDER_SEQUENCE_NUMBER), f"a batch that no broker takes: {appended}"
        cluster.seen["duplicates"] += appended.duplicate
        cluster.seen["refused sequences"] += bool(appended.error)
        if log.end > before:
            cluster.seen["appends"] += 1
            cluster.appended(partition)
        return after_append or appended.error, appended.base, appended.next, log.leader_epoch

    # ── Fetch ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, request: FetchRequest, answer: Callable[[bytes], None]) -> None:
        cluster, chance = self.cluster, self.cluster.chance
        cluster.seen["fetch requests"] += 1
        cluster.largest_fetch = max(cluster.largest_fetch, request.max_bytes)
        cluster.seen["wishes"] += len(request.parts)
        session: _Session | None = None
        wanted = {(part.topic, part.partition): (part, -1, -1) for part in request.parts}
        if request.session_epoch > 0:
            session = self.sessions.get(request.session_id)
            if session is not None and chance.random() < cluster.weather.evict:
                session = None
            if session is None or session.epoch != request.session_epoch:
                error = 70 if session is None else 71
                answer(fetch_answer(request.version, request.correlation_id, error=error, topics={}))
                return
            session.epoch += 1
            for key, (part, _, _) in wanted.items():
                known = session.parts.get(key)
                session.parts[key] = (part, known[1], known[2]) if known else (part, -1, -1)
            for key in request.forgotten:
                session.parts.pop(key, None)
        elif request.session_epoch == 0 and chance.random() >= cluster.weather.no_session:
            session = _Session(chance.randrange(1, 1 << 31))
            session.parts = wanted
            self.sessions[session.number] = session
        parts = session.parts if session is not None else wanted
        incremental = request.session_epoch > 0

        def look(final: bool) -> bytes | None:
            found: list[tuple[tuple[bytes, int], Served]] = []
            first, left, urgent = True, request.max_bytes, False
            for key, (part, _, _) in parts.items():
                served = self._serve(request, part, left, first=first)
                first, left = first and not served.data, max(0, left - len(served.data))
                urgent = urgent or bool(served.data or served.error or served.diverging)
                found.append((key, served))
            if not (urgent or final):
                return None
            topics: dict[bytes, list[tuple[int, Served]]] = {}
            for (topic, index), served in found:
                part, high_watermark, log_start = parts[topic, index]
                told = (high_watermark, log_start) == (served.high_watermark, served.log_start)
                if incremental and told and not (served.data or served.error or served.diverging):
                    continue
                topics.setdefault(topic, []).append((index, served))
                if session is not None:
                    if served.data:
                        del parts[topic, index]  # what had data comes last next time
                    parts[topic, index] = (part, served.high_watermark, served.log_start)
            throttle_ms = cluster.weather.quota(chance)
            return fetch_answer(
                request.version,
                request.correlation_id,
                throttle_ms=throttle_ms,
                session_id=session.number if session is not None else 0,
                topics=topics,
            )

        ready = look(request.max_wait_ms == 0)
        if ready is not None:
            answer(ready)
        else:
            cluster.park(Parked(look, answer, cluster.clock.now + request.max_wait_ms / 1000))

    def _serve(self, request: FetchRequest, part: FetchPart, left: int, *, first: bool) -> Served:
        cluster, chance, tail = self.cluster, self.cluster.chance, request.session_epoch < 0
        by_id = request.version >= 13
        partition = cluster.partition_of(part.topic, part.partition, by_id=by_id)
        error, log = self.log_of(partition)
        if partition is None and by_id:
            error = 100
        if chance.random() < cluster.weather.error / 4:
            error = chance.choice([3, 6, 56, 74, 75, 78, -1])
        if error or log is None or partition is None:
            return Served(error, -1, -1, None, b"")
        served = log.fetch(
            part.offset,
            part.leader_epoch,
            part.last_epoch,
            min(left, part.max_bytes),
            first=first,
            isolation_level=request.isolation_level,
        )
        if served.data and chance.random() < cluster.weather.flip:
            if tail and partition in cluster.weather.tails_flipped:
                return served  # seen twice it would be believed
            if tail:
                cluster.weather.tails_flipped.add(partition)
            served = served._replace(data=self._flip(partition, served.data, part.offset))
        return served

    def _flip(self, partition: TopicPartition, data: bytes, wanted: int) -> bytes:
        """One bit of one batch is not what it was.

        Never of a leader epoch, which nothing protects; nor so that a batch seems to lie just where one is wanted.
        """
        chance, weather = self.cluster.chance, self.cluster.weather
        starts = [0]
        while starts[-1] + 12 <= len(data):
            starts.append(starts[-1] + 12 + int.from_bytes(data[starts[-1] + 8 : starts[-1] + 12], "big"))
        if weather.flip_places and chance.random() < weather.flip_places:
            at = min(chance.choice(starts[:-1]) + chance.randrange(12), len(data) - 1)
        else:
            at = chance.randrange(len(data))
        start = max(each for each in starts if each <= at)
        if 12 <= at - start < 16:
            return data
        flipped = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        if int.from_bytes(flipped[start : start + 8], "big") == wanted and at - start < 8:
            return data
        self.cluster.flips[partition, int.from_bytes(data[start : start + 8], "big")] += 1
        self.cluster.seen["flips"] += 1
        return flipped

    # ── the others, through the codec library ─────────────────────────────────────────────────────────────────

    def _list_offsets(self, framed: bytes, version: int, correlation_id: int, answer: Callable[[bytes], None]) -> None:
        request = ListOffsetsRequest.decode(memoryview(framed)[4:], version=version, header=True)
        topic_class = ListOffsetsResponse.ListOffsetsTopicResponse
        topics = []
        for topic in request.topics:
            parts = []
            for part in topic.partitions:
                error, log = self.log_of(self.cluster.partition_of(topic.name.encode(), part.partition_index))
                offset = -1
                if log is not None:
                    error, offset = (0, log.log_start) if part.timestamp == -2 else log.latest(request.isolation_level)
                parts.append(
                    topic_class.ListOffsetsPartitionResponse(
                        partition_index=part.partition_index,
                        error_code=error,
                        timestamp=-1,
                        offset=offset,
                        leader_epoch=-1,
                    )
                )
            topics.append(topic_class(name=topic.name, partitions=parts))
        answer(encoded(ListOffsetsResponse(version=version, throttle_time_ms=0, topics=topics), correlation_id))

    def _offset_for_leader_epoch(
        self, framed: bytes, version: int, correlation_id: int, answer: Callable[[bytes], None]
    ) -> None:
        request = OffsetForLeaderEpochRequest.decode(memoryview(framed)[4:], version=version, header=True)
        topic_class = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult
        topics = []
        for topic in request.topics:
            parts = []
            for part in topic.partitions:
                error, log = self.log_of(self.cluster.partition_of(topic.topic.encode(), part.partition))
                epoch = end = -1
                if log is not None:
                    error, epoch, end = log.offset_for_leader_epoch(part.current_leader_epoch, part.leader_epoch)
                parts.append(
                    topic_class.EpochEndOffset(
                        partition=part.partition, error_code=error, leader_epoch=epoch, end_offset=end
                    )
                )
            topics.append(topic_class(topic=topic.topic, partitions=parts))
        answer(
            encoded(OffsetForLeaderEpochResponse(version=version, throttle_time_ms=0, topics=topics), correlation_id)
        )

    def _describe_producers(
        self, framed: bytes, version: int, correlation_id: int, answer: Callable[[bytes], None]
    ) -> None:
        request = DescribeProducersRequest.decode(memoryview(framed)[4:], version=version, header=True)
        topic_class = DescribeProducersResponse.TopicResponse
        part_class = topic_class.PartitionResponse
        topics = []
        for topic in request.topics:
            parts = []
            for index in topic.partition_indexes:
                error, log = self.log_of(self.cluster.partition_of(topic.name.encode(), index))
                states = [] if log is None else log.known_producers()
                parts.append(
                    part_class(
                        partition_index=index,
                        error_code=error,
                        error_message=None,
                        active_producers=[
                            part_class.ProducerState(
                                producer_id=known.producer_id,
                                producer_epoch=known.producer_epoch,
                                last_sequence=known.last_sequence,
                                last_timestamp=known.last_timestamp_ms,
                                coordinator_epoch=known.coordinator_epoch,
                                current_txn_start_offset=known.current_txn_start_offset,
                            )
                            for known in states
                        ],
                    )
                )
            topics.append(topic_class(name=topic.name, partitions=parts))
        answer(encoded(DescribeProducersResponse(version=version, throttle_time_ms=0, topics=topics), correlation_id))


def encoded(message: Any, correlation_id: int) -> bytes:
    """An answer without its frame length."""
    message.with_header(correlation_id=correlation_id)
    return bytes(message.encode(header=True))


def _produce_answer(correlation_id: int, throttle_ms: int, answers: dict[bytes, list[tuple[int, int, int]]]) -> bytes:
    out = [struct.pack(">ii", correlation_id, len(answers))]
    for topic, parts in answers.items():
        out.append(struct.pack(">h", len(topic)) + topic + struct.pack(">i", len(parts)))
        out.extend(struct.pack(">ihqqqih", index, error, base, -1, 0, 0, -1) for index, error, base in parts)
    return b"".join(out) + struct.pack(">i", throttle_ms)


def _marker_seconds(framed: bytes) -> float:
    markers = framed[5] == WRITE_TXN_MARKERS
    return len(framed) / MARKER_BYTES * MARKER_SECONDS if markers else 0.0


class Connection:
    """The broker's end of a link: a queue of requests, handled one at a time, to its end even when the link is gone."""

    def __init__(self, broker: Broker, link: SimulatedLink) -> None:
        self.broker = broker
        self.link = link
        self.clock = broker.cluster.clock
        self.queue: deque[tuple[float, bytes]] = deque()
        self.busy = self.orphaned = False
        self.deaf_until = 0.0
        broker.connections[self] = None

    def travel(self, framed: bytes, seconds: float) -> None:
        """A request is on its way; requests arrive in the order in which they were sent."""
        self.broker.cluster.seen["sent into a quota"] += self.clock.now < self.deaf_until
        at = max(self.clock.now + seconds, self.queue[-1][0] if self.queue else 0.0)
        self.queue.append((at, framed))
        self.clock.at(at, self._pump)

    def _pump(self) -> None:
        if self.busy or not self.queue or self.queue[0][0] > self.clock.now or not self.broker.up:
            return
        self.busy = True
        cluster = self.broker.cluster
        slow = not self.orphaned and cluster.chance.random() < cluster.weather.slow
        seconds = cluster.chance.random() * 2 if slow else 0.0005
        self.clock.at(self.clock.now + seconds + _marker_seconds(self.queue[0][1]), self._handle)

    def _handle(self) -> None:
        if not self.queue or not self.broker.up:
            self.busy = False
            return
        seen = self.broker.cluster.seen
        before, markers_before = seen["appends"], seen["markers"]
        _, framed = self.queue.popleft()
        self.broker.handle(framed, self._answered)
        if self.orphaned:
            seen["late requests"] += 1
            seen["late appends"] += seen["appends"] > before
            seen["late markers"] += seen["markers"] > markers_before

    def _answered(self, answer: bytes) -> None:
        cluster = self.broker.cluster
        muted_ms = 0
        if self.link.producing:
            (muted_ms,) = struct.unpack_from(">i", answer, len(answer) - 4)
        elif self._is_fetch(answer):
            (muted_ms,) = struct.unpack_from(">i", answer, 5)
        cluster.seen["quotas"] += muted_ms > 0
        self.deaf_until = self.clock.now + muted_ms / 1000
        self.clock.at(self.deaf_until, self._next)
        if self.orphaned:
            return
        if cluster.chance.random() < cluster.weather.cut:
            self.die()
        else:
            self.link.deliver(answer)

    def _is_fetch(self, answer: bytes) -> bool:
        return self.link.fetching and len(answer) > 9 and answer[4] == 0

    def _next(self) -> None:
        self.busy = False
        self._pump()

    def die(self) -> None:
        """The connection breaks; both ends learn of it, and what lies in the queue is gone with a broker that is."""
        self.orphan()
        self.link.lose("the connection was reset")

    def orphan(self) -> None:
        """The client's end is gone: what it wanted written is lost, or handled later, in its order."""
        if self.orphaned:
            return
        self.orphaned = True
        self.broker.connections.pop(self, None)
        chance, weather = self.broker.cluster.chance, self.broker.cluster.weather
        kept = [
            framed
            for _, framed in self.queue
            if self.broker.up and framed[5] in WRITES and chance.random() < weather.late
        ]
        times = sorted(self.clock.now + chance.random() * LATEST_ARRIVAL_SECONDS for _ in kept)
        self.queue = deque(zip(times, kept, strict=True))
        for at in times:
            self.clock.at(at, self._pump)


class SimulatedLink:
    """The client's end of a connection."""

    def __init__(self, network: SimulatedNetwork, cluster: Cluster, broker: Broker) -> None:
        self._network = network
        self._cluster = cluster
        self._clock = cluster.clock
        self._inbox: deque[tuple[float, bytes]] = deque()
        self._correlation_id = 0
        self._asked: deque[tuple[Call[Any], int]] = deque()
        self._failure: str | None = None
        self._address = cluster.address(broker.number)
        self.fetching = self.producing = False
        self._unanswered = 0
        self._renew_at = self._clock.now + network.session_seconds
        self.connection = Connection(broker, self)

    # ── what the broker's end calls ───────────────────────────────────────────────────────────────────────────

    def deliver(self, answer: bytes) -> None:
        at = self._clock.now + self._latency()
        if self._inbox:
            at = max(at, self._inbox[-1][0])
        self._inbox.append((at, answer))
        self._clock.at(at, lambda: None)

    def lose(self, reason: str) -> None:
        self._failure = self._failure or reason

    def _latency(self) -> float:
        return 0.0005 + self._cluster.chance.random() * 0.003

    # ── a link ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """An answer, or the end of the connection, can be read."""
        return self._failure is not None or bool(self._inbox and self._inbox[0][0] <= self._clock.now)

    def send(self, buffers: Sequence[Buffer]) -> None:
        self._check()
        if self.wants_renewal and not self._unanswered:
            self.renew()
        self._unanswered += 1
        framed = b"".join(buffers)
        key = int.from_bytes(framed[4:6], "big")
        self.fetching, self.producing = key == FETCH, key == PRODUCE
        if key in WRITES:
            self._network.sends(framed)
        chance, weather = self._cluster.chance, self._cluster.weather
        fate = chance.random()
        if fate < weather.cut / 2:
            self.connection.die()
            raise self._lost()
        self.connection.travel(framed, self._latency())
        if fate < weather.cut:
            self.connection.die()
            if chance.random() < 0.5:
                raise self._lost()

    def receive(self, into: bytearray) -> memoryview:
        self._clock.wait(self._clock.now + self._network.timeout_seconds, lambda: self.ready)
        self._check()
        if not self._inbox or self._inbox[0][0] > self._clock.now:
            self.connection.orphan()
            self.lose("no answer in time")
            raise self._lost()
        _, answer = self._inbox.popleft()
        self._unanswered -= 1
        if len(answer) > len(into):
            return memoryview(bytearray(answer))
        into[: len(answer)] = answer
        return memoryview(into)[: len(answer)]

    def next_correlation_id(self) -> int:
        self._correlation_id += 1
        return self._correlation_id

    def call(self, call: Call[T]) -> T:
        self.ask(call)
        self._network.meanwhile()
        return self.answer(call)

    def ask(self, call: Call[Any]) -> None:
        correlation_id = self.next_correlation_id()
        self.send([call.encode(call.newest, correlation_id, "simulated")])
        self._asked.append((call, correlation_id))

    def answer(self, call: Call[T]) -> T:
        asked, correlation_id = self._asked[0]
        assert asked is call, "answers are read in the order in which they were asked for"
        answer = self.receive(bytearray(1 << 16))
        self._asked.popleft()
        assert int.from_bytes(answer[:4], "big") == correlation_id
        return call.decode(call.newest, answer)

    client_id = b"simulated"

    @property
    def wants_renewal(self) -> bool:
        return self._clock.now >= self._renew_at

    def renew(self) -> None:
        self._check()
        assert self._unanswered == 0, "a session is renewed while nothing is under way"
        self._network.renewed(self)
        self._renew_at = self._clock.now + self._network.session_seconds

    @property
    def opened_in_seconds(self) -> float:
        return 0.001 if self._network.near else 0.1

    def highest_version(self, api_key: int) -> int:
        return self._cluster.fetch_version if api_key == FETCH else 12

    def close(self) -> None:
        self.lose("closed here")
        self.connection.orphan()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._lost()

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(self._failure or "?", side=self._cluster.side, broker=str(self._address))


class SimulatedNetwork:
    """What one pipeline sees of both clusters; `before_send` is called with every request that writes."""

    def __init__(
        self,
        clusters: dict[Side, Cluster],
        *,
        timeout_seconds: float = 30.0,
        before_send: Callable[[bytes], None] = lambda framed: None,
        meanwhile: Callable[[], None] = lambda: None,
        session_seconds: float = float("inf"),
        renewed: Callable[[SimulatedLink], None] = lambda link: None,
    ) -> None:
        self.session_seconds = session_seconds
        self.renewed = renewed
        self._clusters = clusters
        self._clock = clusters[Side.SOURCE].clock
        self.near = True
        self.timeout_seconds = timeout_seconds
        self.sends = before_send
        self.meanwhile = meanwhile

    def connect(self, side: Side, address: BrokerAddress) -> Link:
        cluster = self._clusters[side]
        broker = cluster.brokers[address.node_id]
        if not broker.up or cluster.chance.random() < cluster.weather.cut / 4:
            raise Unreachable("connection refused", side=side, broker=str(address))
        return SimulatedLink(self, cluster, broker)

    def wait(self, links: Sequence[Link], timeout_seconds: float) -> Sequence[Link]:
        self.meanwhile()
        simulated = [link for link in links if isinstance(link, SimulatedLink)]
        until = self._clock.now + max(timeout_seconds, 1e-6)  # the least time that any waiting takes
        self._clock.wait(until, lambda: any(link.ready for link in simulated))
        return [link for link in simulated if link.ready]

    def cpu_seconds(self) -> float:
        return 0.0

    def steady_seconds(self) -> float:
        return self._clock.now

    def wall_ms(self) -> int:
        return START_MS + int(self._clock.now * 1000)
