"""Reads what late records there are from the source: many partitions in one request, decided records only.

Rule: nothing is concluded from an answer that did not come. A hole at the end of a log is believed where nothing else
kept the partition out of an answer, and only once it has been seen for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.cluster.reader import Fetched, whole_batches
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import Offset, ProducerId, Side, TopicId, TopicName, TopicPartition
from kmigrate.late.gathering import Gathered, Limits, gather
from kmigrate.late.values import Batch, LateStopKind
from kmigrate.query.sides import ClusterSide
from kmigrate.records.record import RawRecord
from kmigrate.runner.reach import Reach
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import READ_COMMITTED
from kmigrate.wire.error_codes import ErrorCode

FETCH_BYTES = 256 << 10
"""Of a partition in one answer, or one batch if that is larger."""
REREAD_ROUNDS = 1_000
HOLE_SECONDS = 10.0
"""How long nothing must come: a broker that gets old records from elsewhere first answers without them."""
_REPLACED = frozenset(
    {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.INCONSISTENT_TOPIC_ID}
)


class Wish(NamedTuple):
    """What is wanted of a partition: from `start` on, below `end` (None: to its end)."""

    start: Offset
    end: Offset | None
    limits: Limits


class Unreadable(NamedTuple):
    """Why a partition cannot be read."""

    kind: LateStopKind
    evidence: str
    way: str


@dataclass(slots=True)
class LateSource:
    """Used by one thread; raises ClusterError where a broker cannot be reached. `ignored` are not applications' ids."""

    side: ClusterSide
    ignored: Collection[ProducerId]
    seconds: Callable[[], float] = time.monotonic
    _holes: dict[TopicPartition, tuple[Offset, float]] = field(default_factory=dict)
    """From which offset on nothing came, and since when; as of the last answer."""

    @classmethod
    def of(cls, reach: Reach, ignored: Collection[ProducerId]) -> LateSource:
        return cls(ClusterSide(Side.SOURCE, reach.client(), READ_COMMITTED), ignored)

    def look(self, topics: Collection[TopicName]) -> dict[TopicName, TopicId]:
        """The ids of these topics, as the source has them now; one that it does not have is missing."""
        return {name: self.side.topic_id(name) for name in self.side.partitions(topics)}

    def read(
        self, wanted: Mapping[TopicPartition, Wish], max_wait_ms: int
    ) -> dict[TopicPartition, Gathered | Unreadable]:
        """What there is of these partitions now; where nothing new is, or it is not known, it is missing."""
        if not wanted:
            return {}
        at = {tp: wish.start for tp, wish in wanted.items()}
        before = {tp: self._holes.pop(tp) for tp in wanted if tp in self._holes}
        answers = self.side.fetch_some(at, FETCH_BYTES, max_wait_ms)
        is_silent = not any(len(each.records) for each in answers)
        found: dict[TopicPartition, Gathered | Unreadable] = {}
        for answer in answers:
            tp = answer.partition
            judged = self._judge(answer, wanted[tp], before.get(tp), is_silent=is_silent)
            if judged is not None:
                found[tp] = judged
        return found

    def reread(self, partition: TopicPartition, batch: Batch) -> Gathered | Unreadable | None:
        """The records of a batch that was decided before; None where they do not come now."""
        records: list[RawRecord] = []
        at = batch.source_from
        limits = Limits(batch.records + 1, 1 << 62)
        gathered = Gathered((), at)
        for _ in range(REREAD_ROUNDS):
            found = self.read({partition: Wish(at, batch.source_next, limits)}, 100).get(partition)
            if not isinstance(found, Gathered):
                return found
            records += found.records
            gathered = Gathered(tuple(records), found.next, gathered.codec or found.codec)
            at = found.next
            if at >= batch.source_next:
                return gathered
        return None

    def close(self) -> None:
        self.side.__exit__()

    def _judge(
        self, answer: Fetched, wish: Wish, hole: tuple[Offset, float] | None, *, is_silent: bool
    ) -> Gathered | Unreadable | None:
        tp = answer.partition
        if answer.error == ErrorCode.OFFSET_OUT_OF_RANGE:
            return self._out_of_range(tp, wish.start)
        if answer.error in _REPLACED:
            return Unreadable(
                LateStopKind.SOURCE_REPLACED,
                f"the source says {error_name(answer.error)}",
                "what was not appended of it is gone",
            )
        if answer.error:
            if self.side.has_moved(tp, answer.error):
                return None
            error = self.side.refusal(tp, answer.error, wish.start)
            return Unreadable(LateStopKind.UNREADABLE, str(error), error.hint)
        stored, is_damaged = whole_batches(answer.records)
        if not stored and is_damaged:
            return _damaged(f"what lies at source offset {wish.start:,} is no record batch")
        if not stored:
            return self._nothing(tp, answer, wish, hole, is_silent=is_silent)
        try:
            return gather(
                stored,
                AbortedTransactions(answer.aborted).covers,
                start=wish.start,
                end=wish.end,
                ignored=self.ignored,
                limits=wish.limits,
            )
        except ValueError as error:
            return _damaged(str(error))

    def _nothing(
        self, tp: TopicPartition, answer: Fetched, wish: Wish, hole: tuple[Offset, float] | None, *, is_silent: bool
    ) -> Gathered | None:
        """Nothing came: it was kept out of the answer, or there is nothing up to where its log may be read."""
        readable = answer.readable
        if readable <= wish.start or len(answer.records):
            return None
        if not is_silent:
            alone = self.side.fetch(tp, wish.start, FETCH_BYTES)
            if alone.error or len(alone.records) or alone.readable <= wish.start:
                return None
            readable = alone.readable
        since = self.seconds() if hole is None or hole[0] != wish.start else hole[1]
        self._holes[tp] = wish.start, since
        if self.seconds() - since < HOLE_SECONDS:
            return None
        return Gathered((), Offset(readable if wish.end is None else min(readable, wish.end)))

    def _out_of_range(self, tp: TopicPartition, at: Offset) -> Unreadable | None:
        try:
            start, end = self.side.bounds([tp])[tp]
        except ClusterError:
            return None
        if at < start:
            return Unreadable(
                LateStopKind.TRIMMED,
                f"its log starts at {start:,} on the source now",
                "raise the source's retention earlier (`kmigrate retention raise -f FILE`); what it deleted is lost",
            )
        if at > end:
            return Unreadable(
                LateStopKind.TRUNCATED,
                f"its log ends at {end:,} on the source now",
                "an unclean election lost records that were appended to the target: find out which",
            )
        return None


def _damaged(evidence: str) -> Unreadable:
    return Unreadable(
        LateStopKind.UNREADABLE, evidence, "it is read again by itself; repair the replica that it is read from"
    )
