"""Collects standings for partitions that one pair of brokers leads.

In this order, from the same leaders at the same epochs, and again until it stands still: our last sequence on the
target, the target's true log end (OffsetForLeaderEpoch at the current epoch: ListOffsets tells only the high
watermark), its log start and high watermark, both tails, and once more sequence and log end. In the other order a late
request between the two would shift everything after it. Tails that differ are read once more before they are believed.

Tails are read as batches first; where that does not prove them equal, they are read again and decoded. The source is
read up to its last stable offset, without what was aborted.

An answer is a `Standing`, or `Unclear` with the reason: ask again later; or `Denied`: a right is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.network import Link, Network
from kmigrate.cluster.reader import Aborted, Stored, TailReader, fingerprint
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.copy.course import IDENTITY, Place, locate
from kmigrate.copy.guard import QUIET_SECONDS, Stillness
from kmigrate.copy.identity import filler_producer_id, marker_producer_id
from kmigrate.copy.standing import (
    EMPTY_TAIL,
    Bounds,
    Quiet,
    Standing,
    Tail,
    Unreadable,
    Writers,
    compare_batches,
    compare_records,
)
from kmigrate.kafka_types import LeaderEpoch, Offset, ProducerId, Side, TopicId, TopicPartition
from kmigrate.offsets.offset_map import Run
from kmigrate.records.batch import CONTROL
from kmigrate.records.visible import Visible
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode

FIRST_WINDOW = 64
"""Offsets before the end that are compared at first; where they differ or are empty, ever more until one is equal."""
WIDER = 16
WIDEST_WINDOW = FIRST_WINDOW * WIDER**3
WIDEST_BYTES = 64 << 20
"""What may be read of one partition's target to find where it parts from its source."""

NO_PRODUCER_ID = ProducerId(-1)


_LEADER_ERRORS = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)


class Question(NamedTuple):
    """One partition to be asked about. Below `start` nothing of the source is wanted, as if its log started there.

    Only from `own_from` on is the target's log ours (None: all of it).
    """

    partition: TopicPartition
    source_topic_id: TopicId
    target_topic_id: TopicId
    source_epoch: LeaderEpoch
    target_epoch: LeaderEpoch
    quiet: Quiet
    runs: Sequence[Run] = IDENTITY
    start: Offset = Offset(0)
    own_from: Offset | None = None


class Unclear(NamedTuple):
    """The standing cannot be told yet. `moved` names the side whose leader should be looked up again, if any."""

    reason: str
    moved: str


class Denied(NamedTuple):
    """A right is missing: which one, on which side."""

    evidence: str


Finding = Standing | Unclear | Denied


class _TargetEnd(NamedTuple):
    last_sequence: int | None
    last_timestamp_ms: int
    marker_epoch: int
    filler_sequence: int | None
    end: Offset


class _SourceBounds(NamedTuple):
    start: Offset
    end: Offset
    stable: Offset


class _Stretch(NamedTuple):
    """What there is to compare of one partition, on both sides; `bounds` and windows are offsets on the target."""

    question: Question
    bounds: Bounds
    shift: int

    def window(self, size: int) -> Offset:
        """Where the target's last `size` offsets begin."""
        return Offset(max(self.bounds.target_start, self.bounds.target_end - size))

    def on_target(self, start: int) -> tuple[TopicId, Offset, Offset]:
        """What to read there."""
        return self.question.target_topic_id, Offset(start), self.bounds.target_end

    @property
    def own_from(self) -> int:
        """From where on the target's log is ours."""
        return self.question.own_from or 0

    def of_others(self, start: int) -> tuple[TopicId, Offset, Offset]:
        """What of that others wrote …"""
        return self.question.target_topic_id, Offset(start), Offset(min(self.own_from, self.bounds.target_end))

    def of_ours(self, start: int) -> tuple[TopicId, Offset, Offset]:
        """… and what should be ours."""
        return self.on_target(max(start, self.own_from))

    def on_source(self, start: int) -> tuple[TopicId, Offset, Offset]:
        """What to read there, if anything."""
        first, end = max(start, self.bounds.source_start), self.bounds.end
        return self.question.source_topic_id, Offset(first - self.shift), Offset(end - self.shift)


class Inquiry:
    """Asks over two errand links; keeps since when a log end has been quiet, and differences that were seen once."""

    def __init__(
        self,
        network: Network,
        producer_id: ProducerId,
        guarded_ms: int,
        behind_seconds: float = 0.0,
        marker_id: ProducerId | None = None,
    ) -> None:
        """`guarded_ms`: for how long after its last record's timestamp the target certainly keeps our id.

        `behind_seconds`: for how long a request may wait at the broker behind those before it on its connection.
        `marker_id`: the producer id of our markers, if it is not the one that follows from `producer_id`.
        """
        self._network = network
        self._producer_id = producer_id
        self._marker_id = marker_producer_id(producer_id) if marker_id is None else marker_id
        self._filler_id = filler_producer_id(producer_id)
        self._guarded_ms = guarded_ms
        self._behind_seconds = behind_seconds
        self._quiet: dict[TopicPartition, tuple[Offset, Stillness]] = {}
        self._seen_once: dict[TopicPartition, Tail] = {}

    def forget(self, partition: TopicPartition) -> None:
        """The partition is given up: who takes it next begins anew."""
        self._quiet.pop(partition, None)
        self._seen_once.pop(partition, None)

    def on_lost(self) -> None:
        """The target did not answer: what it has not read until then it may read when it answers again."""
        self._quiet.clear()

    def ask(self, source: Link, target: Link, questions: Sequence[Question]) -> Mapping[TopicPartition, Finding]:
        """One finding for every question; raises ConnectionLost or Unreachable if a link fails."""
        findings: dict[TopicPartition, Finding] = {}
        asked = {question.partition: question for question in questions}
        target_ends = self._target_ends(target, asked, findings)
        target_starts = self._target_starts(target, asked, findings, target_ends)
        source_bounds = self._source_bounds(source, asked, findings)
        places = {tp: locate(question.runs, target_ends[tp].end) for tp, question in asked.items() if tp in target_ends}
        stood_still: dict[TopicPartition, bool] = {}
        open_questions = [question for tp, question in asked.items() if tp not in findings]
        for question in open_questions:
            tp = question.partition
            stood_still[tp] = self._check_quiet(question, target_ends[tp], findings)
            place = places[tp]
            if tp in findings or place is None:
                continue
            if source_bounds[tp].stable < min(place.source, source_bounds[tp].end):
                findings[tp] = Unclear("the source's last stable offset is still below what was copied", "")
        tails = self._tails(
            source,
            target,
            {
                tp: _stretch(question, source_bounds[tp], target_starts[tp], target_ends[tp].end, places[tp])
                for tp, question in asked.items()
                if tp not in findings
            },
            findings,
        )
        below = {
            tp: source_bounds[tp].end < max(asked[tp].start, Offset(0) if place is None else place.source)
            for tp, place in places.items()
            if tp in tails
        }
        self._look_again(tails, below, findings)
        again = {tp: question for tp, question in asked.items() if tp not in findings}
        for tp, now in self._target_ends(target, again, findings).items():
            if now != target_ends[tp]:
                findings[tp] = Unclear("the target's log end is moving", "")
                continue
            self.forget(tp)
            findings[tp] = Standing(
                source_start=source_bounds[tp].start,
                source_end=source_bounds[tp].end,
                target_start=target_starts[tp],
                target_end=now.end,
                last_sequence=now.last_sequence,
                tail=tails[tp],
                quiet=stood_still[tp],
                source_stable=source_bounds[tp].stable,
                marker_epoch=now.marker_epoch,
                filler_sequence=now.filler_sequence,
                place=places[tp],
            )
        return findings

    def _target_ends(
        self, target: Link, asked: Mapping[TopicPartition, Question], findings: dict[TopicPartition, Finding]
    ) -> dict[TopicPartition, _TargetEnd]:
        """Sequences first, then true log ends."""
        if not asked:
            return {}
        producers = target.call(calls.describe_producers(asked))
        ends = target.call(calls.offset_for_leader_epoch({tp: q.target_epoch for tp, q in asked.items()}))
        found = {}
        for tp in asked:
            state, end = producers.get(tp), ends.get(tp)
            if state is None or end is None:
                findings[tp] = Unclear("the target did not answer for this partition", "target")
            elif state.error or end.error:
                findings[tp] = _trouble("target", state.error or end.error)
            else:
                found[tp] = self._target_end(state.states, end.end_offset)
        return found

    def _target_end(self, states: Sequence[calls.ProducerState], end: Offset) -> _TargetEnd:
        listed = {state.producer_id: state for state in states}
        data, markers = listed.get(self._producer_id), listed.get(self._marker_id)
        filler = listed.get(self._filler_id)
        return _TargetEnd(
            last_sequence=data.last_sequence if data else None,
            last_timestamp_ms=data.last_timestamp_ms if data else -1,
            marker_epoch=markers.coordinator_epoch if markers else -1,
            filler_sequence=filler.last_sequence if filler else None,
            end=end,
        )

    def _target_starts(
        self,
        target: Link,
        asked: Mapping[TopicPartition, Question],
        findings: dict[TopicPartition, Finding],
        ends: Mapping[TopicPartition, _TargetEnd],
    ) -> dict[TopicPartition, Offset]:
        """Log starts, and the high watermarks that must have reached the true log ends."""
        wanted = [tp for tp in asked if tp not in findings]
        if not wanted:
            return {}
        starts = target.call(calls.list_offsets(wanted, calls.EARLIEST))
        watermarks = target.call(calls.list_offsets(wanted, calls.LATEST))
        found = {}
        for tp in wanted:
            start, watermark = starts.get(tp), watermarks.get(tp)
            if start is None or watermark is None:
                findings[tp] = Unclear("the target did not answer for this partition", "target")
            elif start.error or watermark.error:
                findings[tp] = _trouble("target", start.error or watermark.error)
            elif watermark.offset != ends[tp].end:
                findings[tp] = Unclear(
                    f"the target holds records above its high watermark {watermark.offset}: followers are behind", ""
                )
            else:
                found[tp] = start.offset
        return found

    def _source_bounds(
        self, source: Link, asked: Mapping[TopicPartition, Question], findings: dict[TopicPartition, Finding]
    ) -> dict[TopicPartition, _SourceBounds]:
        """Log starts, true log ends, and last stable offsets, which are never above the high watermarks.

        A log start is where what is wanted begins, even if the source holds more below.
        """
        wanted = [tp for tp in asked if tp not in findings]
        if not wanted:
            return {}
        ends = source.call(calls.offset_for_leader_epoch({tp: asked[tp].source_epoch for tp in wanted}))
        starts = source.call(calls.list_offsets(wanted, calls.EARLIEST))
        stables = source.call(calls.list_offsets(wanted, calls.LATEST, calls.READ_COMMITTED))
        found = {}
        for tp in wanted:
            end, start, stable = ends.get(tp), starts.get(tp), stables.get(tp)
            if end is None or start is None or stable is None:
                findings[tp] = Unclear("the source did not answer for this partition", "source")
            elif end.error or start.error or stable.error:
                findings[tp] = _trouble("source", end.error or start.error or stable.error)
            else:
                # A log of format v0 or v1 has no epochs, and so no end by epoch: nothing of it is ever undecided.
                true_end = end.end_offset if end.end_offset >= 0 else stable.offset
                found[tp] = _SourceBounds(max(start.offset, asked[tp].start), true_end, stable.offset)
        return found

    def _check_quiet(self, question: Question, end: _TargetEnd, findings: dict[TopicPartition, Finding]) -> bool:
        """Whether the log end has stood still for long enough; where it must and has not, the finding says so.

        Only behind a guarded batch can others have been sent before it was answered.
        """
        tp = question.partition
        guarded = end.last_sequence is not None and self._network.wall_ms() < end.last_timestamp_ms + self._guarded_ms
        if question.quiet is Quiet.NEEDLESS or (question.quiet is Quiet.UNLESS_GUARDED and guarded):
            return False
        now = self._network.steady_seconds()
        seen_end, stillness = self._quiet.get(tp, (None, Stillness(now)))
        if seen_end != end.end:
            stillness = Stillness(now)
        self._quiet[tp] = end.end, stillness
        seconds = stillness.look(now)
        certain = QUIET_SECONDS + (self._behind_seconds if guarded else 0.0)
        wanted = QUIET_SECONDS if question.quiet is Quiet.BRIEF else certain
        if seconds < wanted:
            findings[tp] = Unclear(f"the target's log end must stand still for {wanted:g} s first", "")
        return seconds >= certain

    def _look_again(
        self,
        tails: Mapping[TopicPartition, Tail],
        below: Mapping[TopicPartition, bool],
        findings: dict[TopicPartition, Finding],
    ) -> None:
        """A difference is believed only when it was read twice: bytes may have been damaged on their way here.

        A source that ends `below` what was copied, or is wanted, is looked up again meanwhile: it may be another topic
        of that name.
        """
        for tp, tail in tails.items():
            if (_is_suspicious(tail) or tail.excused or below[tp]) and self._seen_once.get(tp) != tail:
                self._seen_once[tp] = tail
                side = "source" if below[tp] else ""
                findings.setdefault(tp, Unclear("the logs differ: their last records are read once more", side))

    def _tails(
        self,
        source: Link,
        target: Link,
        wanted: Mapping[TopicPartition, _Stretch],
        findings: dict[TopicPartition, Finding],
    ) -> dict[TopicPartition, Tail]:
        tails = {tp: EMPTY_TAIL for tp, each in wanted.items() if each.bounds.target_end <= each.bounds.target_start}
        left = {tp: stretch for tp, stretch in wanted.items() if tp not in tails}
        tails |= self._compare_batches(source, target, left, findings)
        left = {tp: stretch for tp, stretch in left.items() if tp not in tails and tp not in findings}
        compared = self._compare_records(source, target, left, FIRST_WINDOW, findings)
        for tp in list(compared):  # one at a time: each may be long
            window = FIRST_WINDOW
            while _is_worth_a_wider_look(left[tp].bounds, *compared[tp], window):
                window *= WIDER
                wider = self._compare_records(source, target, {tp: left[tp]}, window, findings)
                if tp not in wider:
                    break
                compared |= wider
        return tails | {tp: tail for tp, (tail, _) in compared.items()}

    def _compare_batches(
        self,
        source: Link,
        target: Link,
        wanted: Mapping[TopicPartition, _Stretch],
        findings: dict[TopicPartition, Finding],
    ) -> dict[TopicPartition, Tail]:
        """Reads the last offsets of the target, and what the source has of them; tails that this proves equal."""
        starts = {tp: stretch.window(FIRST_WINDOW) for tp, stretch in wanted.items()}
        on_target = TailReader(Side.TARGET, target).read(
            {tp: stretch.on_target(starts[tp]) for tp, stretch in wanted.items()}, fingerprint
        )
        on_source = TailReader(Side.SOURCE, source, calls.READ_COMMITTED).read(
            {tp: stretch.on_source(starts[tp]) for tp, stretch in wanted.items()}, fingerprint
        )
        tails = {}
        for tp, stretch in wanted.items():
            if on_target[tp].error or on_source[tp].error:
                findings[tp] = _unread(on_source[tp].error, on_target[tp].error)
                continue
            batches, writers = on_target[tp].batches, self._writers(stretch)
            for header, _ in batches:
                writers.add(header)
            tail = compare_batches(on_source[tp].batches, batches, starts[tp], stretch.bounds, stretch.shift, writers)
            if tail is not None:
                tails[tp] = tail
        return tails

    def _compare_records(
        self,
        source: Link,
        target: Link,
        wanted: Mapping[TopicPartition, _Stretch],
        window: int,
        findings: dict[TopicPartition, Finding],
    ) -> dict[TopicPartition, tuple[Tail, int]]:
        """Reads and decodes the last `window` offsets of the target, and what the source has of them.

        With each tail comes how many bytes of the target it took. What others wrote to the target is seen as consumers
        of committed data see it; what should be ours is seen whole, as nobody writes transactions there.
        """
        starts = {tp: stretch.window(window) for tp, stretch in wanted.items()}
        offsets = {tp: range(max(starts[tp], each.bounds.first), each.bounds.end) for tp, each in wanted.items()}
        on_target = {tp: Visible(each.start, each.stop) for tp, each in offsets.items()}
        on_source = {tp: Visible(each.start, each.stop, wanted[tp].shift) for tp, each in offsets.items()}
        writers = {tp: self._writers(stretch) for tp, stretch in wanted.items()}

        target_errors = TailReader(Side.TARGET, target, calls.READ_COMMITTED).show(
            {tp: each.of_others(starts[tp]) for tp, each in wanted.items() if starts[tp] < each.own_from},
            lambda tp, shown, aborted: _look_at_target(on_target[tp], writers[tp], shown, aborted),
        )
        target_errors |= TailReader(Side.TARGET, target).show(
            {tp: stretch.of_ours(starts[tp]) for tp, stretch in wanted.items()},
            lambda tp, shown, _: _look_at_target(on_target[tp], writers[tp], shown, ()),
        )
        source_errors = TailReader(Side.SOURCE, source, calls.READ_COMMITTED).show(
            {tp: stretch.on_source(starts[tp]) for tp, stretch in wanted.items()},
            lambda tp, shown, aborted: _look_at_source(on_source[tp], shown, aborted),
        )
        compared = {}
        for tp, stretch in wanted.items():
            if tp in target_errors or tp in source_errors:
                findings[tp] = _unread(source_errors.get(tp, 0), target_errors.get(tp, 0))
                continue
            if on_target[tp].next_offset < stretch.bounds.target_end:
                findings[tp] = Unclear("the target's last records cannot be read", "")
                continue
            tail = compare_records(
                on_source[tp], on_target[tp], offsets[tp], stretch.bounds.target_end, writers[tp], stretch.own_from
            )
            if isinstance(tail, Unreadable):
                findings[tp] = Unclear(f"the records at offset {tail.offset} cannot be read: damaged, or too large", "")
            else:
                seen = tail._replace(shows_nothing=_shows_nothing(tail, stretch.bounds, starts[tp]))
                compared[tp] = seen, on_target[tp].size
        return compared

    def _writers(self, stretch: _Stretch) -> Writers:
        return Writers(self._producer_id, self._marker_id, stretch.own_from)


def _stretch(
    question: Question, source: _SourceBounds, target_start: Offset, target_end: Offset, place: Place | None
) -> _Stretch:
    """What can be compared: the last run's records. Nothing, where the map does not tell."""
    if place is None:
        return _Stretch(question, Bounds(source.start, source.end, target_end, target_end), 0)
    # On the way back a gap of the target may follow the last run: there the source's next record is none of that run.
    start, end = Offset(source.start + place.shift), Offset(min(source.end, place.source) + place.shift)
    return _Stretch(question, Bounds(start, end, max(target_start, place.begins), target_end), place.shift)


def _look_at_target(visible: Visible, writers: Writers, shown: Sequence[Stored], aborted: Aborted) -> None:
    transactions = AbortedTransactions(aborted)
    for header, next_offset, view in shown:
        if header is None:
            writers.add_foreign(Offset(visible.next_offset), NO_PRODUCER_ID)  # we never wrote so old a format
            visible.add_message(view, next_offset)
        else:
            writers.add(header)
            was_aborted = transactions.covers(header)
            visible.add_batch(header, view, hidden=was_aborted or bool(header.attributes & CONTROL))


def _look_at_source(visible: Visible, shown: Sequence[Stored], aborted: Aborted) -> None:
    transactions = AbortedTransactions(aborted)
    for header, next_offset, view in shown:
        if header is None:
            visible.add_message(view, next_offset)
        else:
            was_aborted = transactions.covers(header)
            visible.add_batch(header, view, hidden=was_aborted or bool(header.attributes & CONTROL))


def _is_suspicious(tail: Tail) -> bool:
    return tail.differs_at is not None or tail.foreign_at is not None or tail.marked_at is not None


def _shows_nothing(tail: Tail, bounds: Bounds, start: Offset) -> bool:
    """Whether all of the target was looked at, without a record on either side."""
    whole = start <= bounds.first == bounds.target_start and bounds.end == bounds.target_end
    return whole and tail.compared == tail.excused == 0 and not _is_suspicious(tail)


def _is_worth_a_wider_look(bounds: Bounds, tail: Tail, read_bytes: int, window: int) -> bool:
    """Where nothing was the same before the first difference, the logs part further back."""
    return (
        (tail.compared == 0 or (_is_suspicious(tail) and not tail.equal_before))
        and min(bounds.target_end - window, bounds.end) > bounds.first
        and window < WIDEST_WINDOW
        and read_bytes * WIDER <= WIDEST_BYTES
    )


def _unread(source_error: int, target_error: int) -> Unclear | Denied:
    return _trouble("target", target_error) if target_error else _trouble("source", source_error)


def _trouble(side: str, error: int) -> Unclear | Denied:
    name = error_name(error)
    if error == ErrorCode.TOPIC_AUTHORIZATION_FAILED:
        return Denied(f"READ on the {side} topic")
    return Unclear(f"{side}: {name}", side if error in _LEADER_ERRORS else "")
