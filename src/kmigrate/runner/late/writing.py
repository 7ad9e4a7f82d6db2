"""Writes batches of late records to the target, and looks there for what became of one.

Rule: one request at a time on each connection, so that nothing waits unread behind another one; a connection whose
answer did not come is closed. A look is made of leaders that answer, and tells what they show, no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kmigrate.cluster.connection import Connection
from kmigrate.cluster.reader import whole_batches
from kmigrate.copy.guard import append_timeout_ms
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, Offset, ProducerId, Side, TopicId, TopicName, TopicPartition
from kmigrate.late.partition import Look
from kmigrate.late.searching import Search
from kmigrate.late.values import Batch
from kmigrate.preflight.bounds import Bounds, by_leader, read_bounds
from kmigrate.query.sides import ClusterSide
from kmigrate.runner.reach import Reach
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import READ_UNCOMMITTED, ClusterMetadata
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.produce import AppendAnswer, parse_produce, serialize_produce

ANSWER_BYTES = 64 << 10
SEARCH_BYTES = 1 << 20
EMPTY_ANSWERS = 20
"""So often nothing may come while a log is searched, before it is tried another time."""


class Question(NamedTuple):
    """What a look is for: the batch that is searched for (None: nothing is), and from where on."""

    wanted: Batch | None
    start: Offset


class NotSeen(NamedTuple):
    """Why the target does not tell."""

    reason: str


class LateTarget:
    """Used by one thread."""

    def __init__(self, reach: Reach, producer_id: ProducerId) -> None:
        self._reach = reach
        self._id = producer_id
        self._client = reach.client()
        self._side = ClusterSide(Side.TARGET, reach.client(), READ_UNCOMMITTED)
        self._links: dict[BrokerId, Connection] = {}
        self._muted_until: dict[BrokerId, float] = {}
        """Until when a broker reads nothing from its connection, because a quota was exceeded."""
        self._metadata: ClusterMetadata | None = None
        self.is_old = True
        """Whether it is not known any more who leads: `look_around` comes first."""
        self._timeout_ms = append_timeout_ms(reach.settings.request_timeout_ms)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._side.__exit__()
        self._client.close()

    def look_around(self, topics: list[TopicName]) -> dict[TopicName, TopicId]:
        """The ids of these topics now, and from now on who leads them; raises ClusterError."""
        self._metadata = self._client.metadata(topics)
        self._side.partitions(topics)
        self.is_old = False
        return {name: each.topic_id for name, each in self._metadata.topics.items() if not each.error}

    def _led(self, partitions: Mapping[TopicPartition, object]) -> dict[BrokerId, list[TopicPartition]]:
        assert self._metadata is not None, "look_around comes first"
        led, _ = by_leader(self._metadata, partitions)
        return led

    # -- writing

    def send(
        self,
        batches: Mapping[TopicPartition, memoryview],
        may_send: Callable[[], bool],
        note: Callable[[TopicPartition], None],
    ) -> dict[TopicPartition, AppendAnswer | None]:
        """Sends these batches, and waits for what their leaders say; None: nothing, and it may have landed.

        `may_send` is asked right before each request; what it forbids, a quota holds back, or nobody leads, is missing
        in the answer.
        `note` is told of every batch before it is sent.
        """
        under_way: dict[BrokerId, list[TopicPartition]] = {}
        found: dict[TopicPartition, AppendAnswer | None] = {}
        for leader, some in self._led(batches).items():
            if time.monotonic() < self._muted_until.get(leader, 0.0):
                continue  # it would lie there unread
            try:
                link = self._links.get(leader) or self._client.connect(leader)
                self._links[leader] = link
                if link.wants_renewal:
                    link.renew()
            except ClusterError:
                self._drop(leader)
                self.is_old = True
                continue
            if not may_send():
                break
            for tp in some:
                note(tp)
                found[tp] = None
            try:
                link.send(self._request(link, {tp: batches[tp] for tp in some}))
            except ClusterError:
                self._drop(leader)
                continue
            under_way[leader] = some
        for leader, some in under_way.items():
            try:
                answer = parse_produce(self._links[leader].receive(bytearray(ANSWER_BYTES)))
            except (ClusterError, ValueError):
                self._drop(leader)
                continue
            for tp in some:
                found[tp] = answer.partitions.get((tp.topic.encode(), tp.partition))
            self._muted_until[leader] = time.monotonic() + answer.throttle_ms / 1000
        return found

    def _request(self, link: Connection, batches: Mapping[TopicPartition, memoryview]) -> list[bytes | memoryview]:
        by_topic: dict[bytes, list[tuple[int, memoryview]]] = {}
        for tp, batch in batches.items():
            by_topic.setdefault(tp.topic.encode(), []).append((tp.partition, batch))
        return serialize_produce(
            correlation_id=link.next_correlation_id(),
            client_id=link.client_id,
            timeout_ms=self._timeout_ms,
            batches=by_topic,
        )

    def _drop(self, leader: BrokerId) -> None:
        self.is_old = True
        link = self._links.pop(leader, None)
        if link is not None:
            link.close()

    # -- looking

    def look(self, questions: Mapping[TopicPartition, Question]) -> dict[TopicPartition, Look | NotSeen]:
        """What the leaders of these partitions show now."""
        assert self._metadata is not None, "look_around comes first"
        found: dict[TopicPartition, Look | NotSeen] = {}
        for leader, some in self._led(questions).items():
            try:
                remembered = self._client.broker(leader, calls.describe_producers(some))
                bounds = read_bounds(self._client, self._metadata, some)
            except ClusterError as error:
                found.update(dict.fromkeys(some, NotSeen(str(error))))
                continue
            for tp in some:
                told = remembered.get(tp)
                if told is None or told.error:
                    reason = "its leader does not tell" if told is None else error_name(told.error)
                    found[tp] = NotSeen(f"DescribeProducers: {reason}")
                    continue
                last = next((each.last_sequence for each in told.states if each.producer_id == self._id), None)
                found[tp] = self._search(tp, questions[tp], bounds.get(tp), None if last == -1 else last)
        for tp in questions.keys() - found.keys():
            found[tp] = NotSeen("it has no leader now")
        return found

    def _search(self, tp: TopicPartition, question: Question, bounds: object, last: int | None) -> Look | NotSeen:
        if question.wanted is None and last is not None:
            return Look(last)  # whether that is what is kept, is seen at once
        if not isinstance(bounds, Bounds):
            return NotSeen(getattr(bounds, "reason", "its leader does not tell where its log ends"))
        search = Search(self._id, question.wanted, question.start, bounds.end)
        search.begins_at(bounds.start)
        empty = 0
        try:
            while not search.is_done:
                answer = self._side.fetch(tp, search.next, SEARCH_BYTES)
                if answer.error == ErrorCode.OFFSET_OUT_OF_RANGE:
                    return NotSeen("its log start moves")
                stored, is_damaged = whole_batches(answer.records)
                if is_damaged and not stored:
                    return NotSeen(f"what lies at offset {search.next:,} of the target is no record batch")
                for header, behind, _ in stored:
                    search.show(header, behind)
                    if search.found is not None:
                        break
                empty = 0 if stored else empty + 1
                if not stored and not len(answer.records) and answer.readable >= bounds.end:
                    search.miss_to_end()
                elif empty > EMPTY_ANSWERS:
                    return NotSeen(f"it is not replicated up to offset {bounds.end:,}")
        except ClusterError as error:
            return NotSeen(str(error))
        return Look(last, search.found, search.is_whole, search.contradiction)
