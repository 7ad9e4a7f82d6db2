"""Collects standings for partitions that one pair of brokers leads.

In this order, from the same leaders at the same epochs, and again until it stands still: our last sequence on the
target, the target's true log end (OffsetForLeaderEpoch at the current epoch: ListOffsets tells only the high
watermark), its log start and high watermark, both tails, and once more sequence and log end. In the other order a late
request between the two would shift everything after it. Tails that differ are read once more before they are believed.

An answer is a `Standing`, or `Unclear` with the reason: ask again later; or `Denied`: a right is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.network import Link, Network
from kmigrate.cluster.reader import TailReader, fingerprint
from kmigrate.copy.standing import EMPTY_TAIL, Quiet, Standing, Tail, compare_tails
from kmigrate.kafka_types import LeaderEpoch, Offset, ProducerId, Side, TopicId, TopicPartition
from kmigrate.wire import calls
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode

QUIET_SECONDS = 5.0
"""How long the target's log end must stand still before a request that may be on its way counts as lost."""
FIRST_WINDOW = 64
"""Offsets before the end that are compared at first; where they differ, ever more until something is equal."""
WIDER = 16
WIDEST_WINDOW = FIRST_WINDOW * WIDER**3
WIDEST_BYTES = 64 << 20
"""What may be read of one partition's target to find where it parts from its source."""

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
    """One partition to be asked about."""

    partition: TopicPartition
    source_topic_id: TopicId
    target_topic_id: TopicId
    source_epoch: LeaderEpoch
    target_epoch: LeaderEpoch
    quiet: Quiet


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
    end: Offset


class _Stretch(NamedTuple):
    """What there is to compare of one partition, on both sides."""

    question: Question
    source_start: Offset
    source_end: Offset
    target_start: Offset
    target_end: Offset


class Inquiry:
    """Asks over two errand links; keeps since when a log end has been quiet, and differences that were seen once."""

    def __init__(self, network: Network, producer_id: ProducerId, guarded_ms: int, behind_seconds: float = 0.0) -> None:
        """`guarded_ms`: for how long after its last record's timestamp the target certainly keeps our id.

        `behind_seconds`: for how long a request may wait at the broker behind those before it on its connection.
        """
        self._network = network
        self._producer_id = producer_id
        self._guarded_ms = guarded_ms
        self._behind_seconds = behind_seconds
        self._quiet: dict[TopicPartition, tuple[Offset, float]] = {}
        self._seen_once: dict[TopicPartition, Tail] = {}

    def forget(self, partition: TopicPartition) -> None:
        """The partition is given up: who takes it next begins anew."""
        self._quiet.pop(partition, None)
        self._seen_once.pop(partition, None)

    def ask(self, source: Link, target: Link, questions: Sequence[Question]) -> Mapping[TopicPartition, Finding]:
        """One finding for every question; raises ConnectionLost or Unreachable if a link fails."""
        findings: dict[TopicPartition, Finding] = {}
        asked = {question.partition: question for question in questions}
        target_ends = self._target_ends(target, asked, findings)
        target_starts = self._target_starts(target, asked, findings, target_ends)
        source_bounds = self._source_bounds(source, asked, findings)
        stood_still: dict[TopicPartition, bool] = {}
        open_questions = [question for tp, question in asked.items() if tp not in findings]
        for question in open_questions:
            tp = question.partition
            stood_still[tp] = self._check_quiet(question, target_ends[tp], findings)
            if tp not in findings and source_bounds[tp][2] < min(target_ends[tp].end, source_bounds[tp][1]):
                findings[tp] = Unclear("the source's high watermark is still below what was copied", "")
        tails = self._tails(
            source,
            target,
            {
                tp: _Stretch(question, *source_bounds[tp][:2], target_starts[tp], target_ends[tp].end)
                for tp, question in asked.items()
                if tp not in findings
            },
            findings,
        )
        self._look_again(tails, findings)
        again = {tp: question for tp, question in asked.items() if tp not in findings}
        for tp, now in self._target_ends(target, again, findings).items():
            if now != target_ends[tp]:
                findings[tp] = Unclear("the target's log end is moving", "")
                continue
            self.forget(tp)
            start, end, _ = source_bounds[tp]
            findings[tp] = Standing(
                start, end, target_starts[tp], now.end, now.last_sequence, tails[tp], stood_still[tp]
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
                ours = [s for s in state.states if s.producer_id == self._producer_id]
                sequence, timestamp_ms = (ours[0].last_sequence, ours[0].last_timestamp_ms) if ours else (None, -1)
                found[tp] = _TargetEnd(sequence, timestamp_ms, end.end_offset)
        return found

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
    ) -> dict[TopicPartition, tuple[Offset, Offset, Offset]]:
        """(log start, true log end, high watermark) of the source."""
        wanted = [tp for tp in asked if tp not in findings]
        if not wanted:
            return {}
        ends = source.call(calls.offset_for_leader_epoch({tp: asked[tp].source_epoch for tp in wanted}))
        starts = source.call(calls.list_offsets(wanted, calls.EARLIEST))
        watermarks = source.call(calls.list_offsets(wanted, calls.LATEST))
        found = {}
        for tp in wanted:
            end, start, watermark = ends.get(tp), starts.get(tp), watermarks.get(tp)
            if end is None or start is None or watermark is None:
                findings[tp] = Unclear("the source did not answer for this partition", "source")
            elif end.error or start.error or watermark.error:
                findings[tp] = _trouble("source", end.error or start.error or watermark.error)
            else:
                found[tp] = start.offset, end.end_offset, watermark.offset
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
        seen_end, since = self._quiet.get(tp, (None, now))
        if seen_end != end.end:
            since = now
        self._quiet[tp] = end.end, since
        wanted = QUIET_SECONDS + (self._behind_seconds if guarded else 0.0)
        if now - since < wanted:
            findings[tp] = Unclear(f"the target's log end must stand still for {wanted:g} s first", "")
        return now - since >= wanted

    def _look_again(self, tails: Mapping[TopicPartition, Tail], findings: dict[TopicPartition, Finding]) -> None:
        """A difference is believed only when it was read twice: bytes may have been damaged on their way here."""
        for tp, tail in tails.items():
            if _is_suspicious(tail) and self._seen_once.get(tp) != tail:
                self._seen_once[tp] = tail
                findings.setdefault(tp, Unclear("the logs differ: their last records are read once more", ""))

    def _tails(
        self,
        source: Link,
        target: Link,
        wanted: Mapping[TopicPartition, _Stretch],
        findings: dict[TopicPartition, Finding],
    ) -> dict[TopicPartition, Tail]:
        tails = {tp: EMPTY_TAIL for tp, stretch in wanted.items() if stretch.target_end <= stretch.target_start}
        left = {tp: stretch for tp, stretch in wanted.items() if tp not in tails}
        compared = self._compare(source, target, left, FIRST_WINDOW, findings)
        for tp in list(compared):  # one at a time: each may be long
            window = FIRST_WINDOW
            while _is_worth_a_wider_look(left[tp], *compared[tp], window):
                window *= WIDER
                wider = self._compare(source, target, {tp: left[tp]}, window, findings)
                if tp not in wider:
                    break
                compared |= wider
        return tails | {tp: tail for tp, (tail, _) in compared.items()}

    def _compare(
        self,
        source: Link,
        target: Link,
        wanted: Mapping[TopicPartition, _Stretch],
        window: int,
        findings: dict[TopicPartition, Finding],
    ) -> dict[TopicPartition, tuple[Tail, int]]:
        """Reads the last `window` offsets of the target, and what the source has of them, and compares them.

        With each tail comes how many bytes of the target it took.
        """
        starts = {tp: max(stretch.target_start, stretch.target_end - window) for tp, stretch in wanted.items()}
        on_target = TailReader(Side.TARGET, target).read(
            {
                tp: (stretch.question.target_topic_id, Offset(starts[tp]), stretch.target_end)
                for tp, stretch in wanted.items()
            },
            fingerprint,
        )
        on_source = TailReader(Side.SOURCE, source).read(
            {
                tp: (stretch.question.source_topic_id, Offset(start), Offset(end))
                for tp, stretch in wanted.items()
                if (start := max(starts[tp], stretch.source_start))
                < (end := min(stretch.source_end, stretch.target_end))
            },
            fingerprint,
        )
        compared = {}
        for tp, stretch in wanted.items():
            target_tail, source_tail = on_target[tp], on_source.get(tp)
            error = target_tail.error or (source_tail.error if source_tail else 0)
            if error:
                findings[tp] = _trouble("target" if target_tail.error else "source", error)
                continue
            if not target_tail.batches or target_tail.batches[-1][0].next_offset < stretch.target_end:
                findings[tp] = Unclear("the target's last records cannot be read", "")
                continue
            batches = source_tail.batches if source_tail else []
            tail = compare_tails(batches, target_tail.batches, stretch.source_start, self._producer_id)
            compared[tp] = tail, sum(header.size for header, _ in target_tail.batches)
        return compared


def _is_suspicious(tail: Tail) -> bool:
    return tail.differs_at is not None or tail.foreign_at is not None


def _is_worth_a_wider_look(stretch: _Stretch, tail: Tail, read_bytes: int, window: int) -> bool:
    """Where nothing was the same before the first difference, the logs part further back."""
    return (
        _is_suspicious(tail)
        and not tail.equal_before
        and stretch.target_end - window > max(stretch.source_start, stretch.target_start)
        and window < WIDEST_WINDOW
        and read_bytes * WIDER <= WIDEST_BYTES
    )


def _trouble(side: str, error: int) -> Unclear | Denied:
    name = error_name(error)
    if error == ErrorCode.TOPIC_AUTHORIZATION_FAILED:
        return Denied(f"READ on the {side} topic")
    return Unclear(f"{side}: {name}", side if error in _LEADER_ERRORS else "")
