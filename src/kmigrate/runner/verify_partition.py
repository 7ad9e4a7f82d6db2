"""Verifies a range of one partition: walks both logs, and reads twice what differs before it is believed.

A difference that is not there at the second reading was damage on the way, or a moment of something that was being
trimmed: the walk goes on from there, and it is counted. Of a compacted topic also what the source holds beyond the
range is looked through, for keys whose record was replaced there.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import Offset, Side, TopicId, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap
from kmigrate.runner.leaders import Leaders
from kmigrate.runner.log_pieces import AT_ONCE, CannotRead, LogPieces, Pace, Span
from kmigrate.verify.buckets import Bucket
from kmigrate.verify.compacted import ALL_KEYS, Excuses, KeyClass, left_to_do
from kmigrate.verify.differences import Difference
from kmigrate.verify.digest import Fold
from kmigrate.verify.judging import Counts, Records
from kmigrate.verify.pieces import CannotTakeApart, Damaged, Piece, read_piece
from kmigrate.verify.places import Places
from kmigrate.verify.walk import NOTHING_YET, Amounts, Walk

MOST_SECOND_READINGS = 20
"""How many differences of one partition may be gone at the second reading before it is called unreadable."""
TELL_EVERY_STEPS = 256


class Mode(enum.StrEnum):
    """How closely both sides are compared: the closer, the more is read."""

    ENDS = "ends"
    """Where logs begin and end; no record is read."""
    COUNTS = "counts"
    """How many records of which time; every record is read, none is compared."""
    RECORDS = "records"
    """Every record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A range of one partition to be read, in the source's offsets: `start` ≤ o < `end`.

    `runs` are those of the offset map, as its `to_bytes` has them. `beyond` is the source's last stable offset, and of
    a compacted topic how far replaced keys are looked for. `fold` is the digest up to `start` that is to be continued;
    None: no digest is wanted.
    """

    partition: TopicPartition
    target: TopicPartition
    source_id: TopicId
    target_id: TopicId
    mode: Mode
    offset_class: OffsetClass
    runs: bytes
    ends: Ends
    start: int
    end: int
    beyond: int
    compacted: bool = False
    target_cleans: bool = False
    fold: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a task. `compared_to` is the offset of the source up to which both sides were compared.

    `failure` says why nothing is known of what follows. `excused` counts records that a cleaner took on one side,
    `second_readings` differences that were gone when they were read again. `settled` is where a digest may be
    continued.
    """

    partition: TopicPartition
    compared_to: int
    amounts: Amounts = NOTHING_YET
    difference: Difference | None = None
    failure: str = ""
    hint: str = ""
    trimmed_to: int | None = None
    excused: int = 0
    second_readings: int = 0
    digest: bytes | None = None
    settled: tuple[int, bytes] | None = None
    bucket_ms: int = 0
    buckets: tuple[Bucket, ...] = ()


class Sides(NamedTuple):
    """Both clusters."""

    source: Leaders
    target: Leaders


Tell = Callable[[int, Amounts], None]
"""Is told how far the source is compared, and how much that was, now and then."""


def _say_nothing(_compared_to: int, _amounts: Amounts) -> None:
    """For whoever does not want to know."""


def verify_partition(task: Task, sides: Sides, pace: Pace = AT_ONCE, tell: Tell = _say_nothing) -> Outcome:
    """Reads the range on both sides; never raises for what a cluster does."""
    return _Verification(task, sides, pace, tell).run()


@dataclass(slots=True)
class _Verification:
    task: Task
    sides: Sides
    pace: Pace
    tell: Tell
    places: Places = field(init=False)

    def run(self) -> Outcome:
        self.places = Places(self.task.offset_class, self._map(), self.task.ends)
        return self._passes()

    def _map(self) -> OffsetMap:
        runs = OffsetMap()
        runs.extend(self.task.runs)
        return runs

    def _passes(self) -> Outcome:
        """One pass for each class of keys: one for all, unless more wait for their successors than memory holds."""
        task = self.task
        outcome: Outcome | None = None
        to_do: list[KeyClass] = [ALL_KEYS]
        while to_do:
            asked = to_do.pop()
            excuses = Excuses(asked) if task.compacted else None
            fold = Fold(task.fold) if task.fold is not None and outcome is None else None
            judge = (
                Counts()
                if task.mode is Mode.COUNTS
                else Records(excuses=excuses, target_cleans=task.target_cleans, fold=fold)
            )
            found = self._walk(judge)
            if excuses is not None and found.difference is None and not found.failure:
                found = self._judge_excuses(excuses, found)
                to_do += left_to_do(asked, excuses.keys)
            outcome = found if outcome is None else _both(outcome, found)
            if outcome.difference is not None or outcome.failure:
                break
        assert outcome is not None, "there is at least one class of keys"
        return outcome

    def _walk(self, judge: Records | Counts) -> Outcome:
        """Compares the range; what differs is read once more."""
        task, at, amounts, readings = self.task, self.task.start, NOTHING_YET, 0
        trimmed_to: int | None = None
        suspect: Difference | None = None
        difference: Difference | None = None
        failure = hint = ""
        while True:
            readers = self._readers(at)
            walk = Walk(iter(readers[0]), iter(readers[1]), self.places, at, task.end, judge)
            try:
                self._follow(walk, amounts)
            except (CannotRead, CannotTakeApart) as error:
                failure, hint = str(error), getattr(error, "hint", "")
            finally:
                for reader in readers:
                    reader.close()
            at, amounts = walk.compared_to, amounts + walk.amounts
            trimmed_to = walk.trimmed_to if walk.trimmed_to is not None else trimmed_to
            if failure or walk.difference is None or walk.difference == suspect:
                difference = walk.difference
                break
            suspect, readings = walk.difference, readings + 1
            if readings > MOST_SECOND_READINGS:
                failure = f"{readings} differences were gone when they were read again; the first of the last is at "
                failure += f"offset {suspect.offset}: something damages what is read"
                break
            try:
                at = max(at, self.sides.source.log_start(task.partition))
            except ClusterError as error:
                failure, hint = str(error), error.hint
                break
        fold = judge.fold if isinstance(judge, Records) else None
        buckets = judge.buckets if isinstance(judge, Counts) else None
        excuses = judge.excuses if isinstance(judge, Records) else None
        return Outcome(
            partition=task.partition,
            compared_to=at,
            amounts=amounts,
            difference=difference,
            failure=failure,
            hint=hint,
            trimmed_to=trimmed_to,
            excused=0 if excuses is None else excuses.excused,
            second_readings=readings if difference is None else readings - 1,
            digest=None if fold is None else fold.digest,
            settled=None if fold is None else fold.settled,
            bucket_ms=0 if buckets is None else buckets.width_ms,
            buckets=() if buckets is None else tuple(buckets.all),
        )

    def _follow(self, walk: Walk, before: Amounts) -> None:
        for step, _ in enumerate(walk.steps(), 1):
            if step % TELL_EVERY_STEPS == 0:
                self.tell(walk.compared_to, before + walk.amounts)
        self.tell(walk.compared_to, before + walk.amounts)

    def _readers(self, at: int) -> tuple[LogPieces, LogPieces]:
        task, sides = self.task, self.sides
        target_start = self.places.target_of(at)
        source = Span(partition=task.partition, topic_id=task.source_id, start=at, end=task.end)
        target = Span(
            partition=task.target,
            topic_id=task.target_id,
            start=self.places.ends.target if target_start is None else target_start,
            end=self.places.ends.target,
        )

        def source_start() -> Offset:
            return sides.source.log_start(task.partition)

        return (
            LogPieces(sides.source, source, source_start, pace=self.pace),
            LogPieces(sides.target, target, source_start, pace=replace(self.pace, pause=lambda _bytes: None)),
        )

    def _judge_excuses(self, excuses: Excuses, found: Outcome) -> Outcome:
        """Looks beyond the range for what replaced the keys that still wait; what finds none is a difference."""
        task = self.task
        if excuses.unexcused() is not None and task.end < task.beyond:
            span = Span(partition=task.partition, topic_id=task.source_id, start=task.end, end=task.beyond)
            reader = LogPieces(
                self.sides.source, span, lambda: self.sides.source.log_start(task.partition), pace=self.pace
            )
            try:
                for piece in reader:
                    if excuses.unexcused() is None:
                        break
                    if isinstance(piece, Piece) and not piece.hidden:
                        excuses.see_beyond(read_piece(Side.SOURCE, piece), on_source=True)
            except (CannotRead, CannotTakeApart, Damaged) as error:
                hint = error.hint if isinstance(error, KmigrateError) else ""
                return replace(found, failure=f"what replaced keys cannot be looked up: {error}", hint=hint)
            finally:
                reader.close()
        return replace(found, difference=excuses.unexcused())


def _both(first: Outcome, other: Outcome) -> Outcome:
    """What two passes over the same range say together."""
    return replace(
        first,
        compared_to=min(first.compared_to, other.compared_to),
        amounts=first.amounts._replace(
            source_bytes=first.amounts.source_bytes + other.amounts.source_bytes,
            target_bytes=first.amounts.target_bytes + other.amounts.target_bytes,
            taken_apart=first.amounts.taken_apart + other.amounts.taken_apart,
        ),
        difference=other.difference,
        failure=other.failure,
        hint=other.hint,
        second_readings=first.second_readings + other.second_readings,
    )
