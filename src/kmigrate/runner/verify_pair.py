"""Compares one partition with its copy by another tool: both logs are read, and records compared in order.

What a log start takes away is no difference. Where the logs begin with different records, the later beginning is looked
up on the other side by its time. A batch that cannot be read is read twice before that is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import Side, TopicId, TopicPartition
from kmigrate.runner.log_pieces import CannotRead, LogPieces, Pace, Span
from kmigrate.runner.verify_partition import TELL_EVERY_STEPS, Mode, Sides, Tell
from kmigrate.verify.buckets import Bucket, Buckets
from kmigrate.verify.differences import DifferenceKind
from kmigrate.verify.findings import Finding, Findings
from kmigrate.verify.history import History
from kmigrate.verify.in_order import InOrder, apart
from kmigrate.verify.pieces import CannotTakeApart, Damaged
from kmigrate.verify.streams import Stream
from kmigrate.verify.walk import NOTHING_YET, Amounts

_COUNTED_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTask:
    """A partition and its copy, each with what is to be read of it, in its own offsets: `start` ≤ o < `end`.

    `start_is_cut`: the source's log does not begin with its first record any more. `compacted`: the topic is, on either
    side.
    """

    partition: TopicPartition
    target: TopicPartition
    source_id: TopicId
    target_id: TopicId
    mode: Mode
    start: int
    end: int
    target_start: int
    target_end: int
    start_is_cut: bool
    compacted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutcome:
    """What came of a task. Up to `compared_to` on the source, and `target_compared_to`, both were compared.

    `findings` are the first differences, `counts` how many there are of each kind. `failure` says why nothing is known
    of what follows.
    """

    partition: TopicPartition
    compared_to: int
    target_compared_to: int
    amounts: Amounts = NOTHING_YET
    findings: tuple[Finding, ...] = ()
    counts: Mapping[DifferenceKind, int] = field(default_factory=dict)
    excused: int = 0
    failure: str = ""
    hint: str = ""
    bucket_ms: int = 0
    buckets: tuple[Bucket, ...] = ()


def verify_pair(task: PairTask, sides: Sides, pace: Pace, tell: Tell) -> PairOutcome:
    """Reads both logs; never raises for what a cluster does."""
    reading = _Reading(task, sides, pace, tell)
    try:
        return reading.counts() if task.mode is Mode.COUNTS else reading.records()
    except (ClusterError, CannotRead, CannotTakeApart, Damaged) as error:
        hint = error.hint if isinstance(error, KmigrateError) else ""
        return replace(reading.outcome(), failure=str(error), hint=hint)


@dataclass(slots=True)
class _Reading:
    task: PairTask
    sides: Sides
    pace: Pace
    tell: Tell
    source_at: int = field(init=False)
    target_at: int = field(init=False)
    amounts: Amounts = NOTHING_YET
    findings: Findings = field(init=False)
    history: History = field(default_factory=History)
    readers: list[LogPieces] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source_at, self.target_at = self.task.start, self.task.target_start
        self.findings = Findings(is_compacted=self.task.compacted)

    def outcome(self) -> PairOutcome:
        return PairOutcome(
            partition=self.task.partition,
            compared_to=self.source_at,
            target_compared_to=self.target_at,
            amounts=self.amounts,
            findings=tuple(self.findings.shown),
            counts=self.findings.counts,
            excused=self.findings.excused,
        )

    def records(self) -> PairOutcome:
        """Compares every record with the one in the same place."""
        is_cut_here, is_cut_there, is_aligned = self.task.start_is_cut, False, False
        damaged: tuple[Side, int] | None = None
        rewound_at = -1
        while True:
            walk = self._walk(is_cut_here=is_cut_here, is_cut_there=is_cut_there)
            is_cut_here = is_cut_there = False
            if walk.damage is not None:
                if damaged == (walk.damage.side, walk.damage.offset):
                    self.findings.tells(self._damage(walk.damage))
                    return self.outcome()
                damaged = walk.damage.side, walk.damage.offset
            elif walk.rewind_to is not None and self.target_at > rewound_at:
                rewound_at = self.target_at
                self._rewind(walk.rewind_to)
            elif walk.rewind_to is not None or walk.is_apart:
                if is_aligned or self.amounts.records or not self._align(walk):
                    self.findings.tells(apart(walk.source, walk.target))
                    return self.outcome()
                is_cut_here = is_cut_there = is_aligned = True
            else:
                return self.outcome()

    def counts(self) -> PairOutcome:
        """Counts the records of each stretch of time on both sides."""
        buckets = Buckets()
        for side in (Side.SOURCE, Side.TARGET):
            stream = self._stream(side)
            try:
                while stream.fill(1):
                    records = stream.ahead(_COUNTED_AT_ONCE)
                    times = [record.timestamp_ms for record in records]
                    buckets.add(*((times, ()) if side is Side.SOURCE else ((), times)))
                    stream.take(len(records))
                    self._counted(side, stream, len(records))
            finally:
                self._close()
        return replace(self.outcome(), bucket_ms=buckets.width_ms, buckets=tuple(buckets.all))

    def _counted(self, side: Side, stream: Stream, records: int) -> None:
        size = stream.take_bytes()
        if side is Side.SOURCE:
            self.source_at = stream.next_offset
            self.amounts += Amounts(records, size, 0, records)
        else:
            self.target_at = stream.next_offset
            self.amounts += Amounts(0, 0, size, records)
        self.tell(self.source_at, self.amounts)

    def _walk(self, *, is_cut_here: bool, is_cut_there: bool) -> InOrder:
        source, target = self._stream(Side.SOURCE), self._stream(Side.TARGET)
        walk = InOrder(source, target, self.findings, self.history)
        try:
            for stream, is_cut in ((source, is_cut_here), (target, is_cut_there)):
                if is_cut and stream.fill(1):
                    stream.gaps.add(stream.ahead(1)[0].offset)
            for step, _ in enumerate(walk.steps(), 1):
                if step % TELL_EVERY_STEPS == 0:
                    self.tell(source.next_offset, self.amounts + walk.amounts)
        except Damaged as damage:
            walk.damage = damage
        finally:
            self.source_at, self.target_at = source.next_offset, target.next_offset
            self.amounts += walk.amounts
            self._close()
        self.tell(self.source_at, self.amounts)
        return walk

    def _stream(self, side: Side) -> Stream:
        task = self.task
        if side is Side.SOURCE:
            leaders, start, pace = self.sides.source, self.source_at, self.pace
            span = Span(partition=task.partition, topic_id=task.source_id, start=start, end=task.end)
        else:
            leaders, start, pace = self.sides.target, self.target_at, replace(self.pace, pause=lambda _bytes: None)
            span = Span(partition=task.target, topic_id=task.target_id, start=start, end=task.target_end)
        reader = LogPieces(leaders, span, lambda: leaders.log_start(span.partition), pace=pace)
        self.readers.append(reader)
        return Stream(side, iter(reader), start)

    def _close(self) -> None:
        for reader in self.readers:
            reader.close()
        self.readers.clear()

    def _rewind(self, offset: int) -> None:
        """The target has again what it had, from this offset of the source on: that is compared once more."""
        note = f"and what follows, up to source offset {self.source_at}"
        self.findings.tells(Finding(DifferenceKind.REPEATED, offset, self.target_at, note=note))
        self.source_at = offset

    def _align(self, walk: InOrder) -> bool:
        """Whether the later of two beginnings was found on the other side, by its time; both go on from there."""
        mine, theirs = walk.source.ahead(1)[0], walk.target.ahead(1)[0]
        found = self.sides.source.offset_at(self.task.partition, theirs.timestamp_ms)
        if found is not None and found > mine.offset:
            note = f"the target begins with what the source has near offset {found}"
            self.findings.tells(Finding(DifferenceKind.MISSING, mine.offset, theirs.offset, mine, None, note))
            self.source_at = found
            return True
        found = self.sides.target.offset_at(self.task.target, mine.timestamp_ms)
        if self.task.start_is_cut and found is not None and found > theirs.offset:
            self.target_at = found
            return True
        return False

    def _damage(self, damage: Damaged) -> Finding:
        if damage.side is Side.SOURCE:
            return Finding(DifferenceKind.DAMAGED_SOURCE, damage.offset, self.target_at, note=str(damage))
        return Finding(DifferenceKind.DAMAGED_TARGET, self.source_at, damage.offset, note=str(damage))
