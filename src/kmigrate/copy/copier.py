"""The copier of one partition: bytes and answers in, decisions out; no socket, no clock, no log.  (pure)

::

    DOUBT ──(nothing in flight)──▶ ASKING ──on_standing──▶ COPYING ──on_doubt──▶ DOUBT
                                      ├────▶ ALIGNING, TRIMMING ──────on_doubt──▶ DOUBT
                                      └──────────────▶ STOPPED ◀───────┘  left only by a new revision of the order

A start, a time-out, a lost connection, a refused sequence, a moved leader: all are `on_doubt`, and the standing is the
one way back. While copying, every batch is walked once, made ours in place, sent in order, and believed only when the
target answers with the expected base offset.

How a lost Produce answer is survived: the connection is lost → `on_lost` (what was in flight has an unknown outcome) →
DOUBT → the standing reads our last sequence and the true log end → copying goes on behind whatever did arrive. If the
request arrives later still, its sequence is refused, or it is answered as a duplicate; where the target does not hold
our id, or may forget it with the next batch, a quiet log end has been waited for first.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import replace
from typing import NamedTuple

from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.copy.alignment import Alignment
from kmigrate.copy.course import Course
from kmigrate.copy.frontier import Frontier, Refusal
from kmigrate.copy.guard import Guard
from kmigrate.copy.identity import filler_producer_id
from kmigrate.copy.judge import Treatment
from kmigrate.copy.limit import LimitWish, TooLarge
from kmigrate.copy.orders import UNKNOWN_TIME_MS, PartitionOrder, Remembered, Saved
from kmigrate.copy.pieces import Backlog, Batch, Gap, Room
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.refusals import AFTER_THE_APPEND, COUNTED_DOUBTS, DENIED, TOO_LARGE, UNKNOWN_OUTCOMES
from kmigrate.copy.standing import Align, GoOn, Quiet, Standing, Trim, decide_standing
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.copy.tombstones import Tombstones
from kmigrate.kafka_types import UNKNOWN_EPOCH, Offset, ProducerId, TopicPartition
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.fetch import FetchedPartition
from kmigrate.wire.gap_calls import LogStart
from kmigrate.wire.produce import AppendAnswer

WINDOW = 5
"""Batches in flight for one partition: as many as a broker remembers of a producer id."""
IN_SYNC_PATIENCE_MS = 2_000
"""How long a mark on the source may stay uncopied before the partition no longer counts as in sync."""
MOST_REFUSALS = 5
"""Refused sequences in a row, at an unmoved log end, before the target's refusal is final."""
TRIM_SECONDS = 30.0
"""How often a log start that moves on is followed."""
AS_IS = Treatment.AS_IS

THROTTLED = "throttled"
WAITING_FOR_LEASE = "waiting for the lease on the target"
HELD_BY_QUOTA = "held by a quota of the target cluster"
BRAKED = "the target answers later than the limit allows"
_THROTTLES = frozenset({THROTTLED, HELD_BY_QUOTA, BRAKED})


class Phase(enum.Enum):
    """Where the copier is in its life."""

    DOUBT = "doubt"
    ASKING = "asking"
    ALIGNING = "aligning"
    TRIMMING = "trimming"
    COPYING = "copying"
    STOPPED = "stopped"


class Filling(NamedTuple):
    """A gap that is being filled: a marker for each of its offsets, under this coordinator epoch."""

    gap: Gap
    coordinator_epoch: int


class Copier:
    """One partition. Rewrites the bytes lent to it; holds them until `release` or until they are sent."""

    def __init__(self, order: PartitionOrder, producer_id: ProducerId, guarded_ms: int, room: Room) -> None:
        """`guarded_ms`: for how long after a record's timestamp the target certainly remembers our id."""
        self.partition: TopicPartition = order.partition
        self.place = order.partition.topic.encode(), order.partition.partition
        self.order = order
        self.phase = Phase.DOUBT
        self.stop: Stop | None = None
        self.reason = "starting"
        self.position = -1
        self.floor: int = order.remembered.appended if order.remembered else 0
        self.source_start = -1
        self.source_end = -1
        self.target_start = -1
        self.held_back = 0
        self.course = Course(order.offset_class, order.runs)
        self.tombstones = Tombstones(order)
        self.backlog = Backlog(room)
        self.pending = self.backlog.pieces
        self.frontier = Frontier(self.course, self.backlog, producer_id)
        self.frontier.keep_within(order.batch_bytes)
        self.in_flight: deque[Batch] = deque()
        self.filling: Filling | None = None
        """Markers under way."""
        self.records = 0
        self.bytes = 0
        self.markers = 0
        self.reencoded = 0
        self.converted = 0
        self.newest_ms = -1
        self.crc_errors = 0
        self.fruitless = 0
        """Refused batches since the log end moved: the more, the longer is waited before the next attempt."""
        self.changed = True
        self.in_sync = False
        self._producer_id = producer_id
        self._guard = Guard(guarded_ms, fresh=order.fresh)
        self._acked_epoch = UNKNOWN_EPOCH
        self._began = False
        self._coordinator_epoch = 0
        self._alignment: Alignment | None = None
        self._backlog_end = -1
        self._backlog_markers = 0
        self._trim_at = 0.0
        self._shows_more = False
        """Whether the target began below the source at the last standing, and its log start was not moved since."""
        self._filled_to = 0
        self._mapped_start = 0
        self._limit_wish = LimitWish()
        self._draining = False
        self._refused = 0
        self._passed = Offset(0)
        self._suspect = -1
        self._mark = -1
        self._mark_ms = 0
        self._ids: Remembered | None = order.remembered
        self._check_identity()

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────

    def on_order(self, order: PartitionOrder) -> None:
        """Adopts what the owner says now: ids, leader epochs, and the operator's answer to a stop."""
        before, self.order = self.order, order
        self.tombstones.on_order(order)
        self._limit_wish.on_limit(order.limit)
        self.frontier.keep_within(order.batch_bytes)
        if self._limit_wish.open_bytes(order.limit):
            self.changed = True  # another partition's wish was answered: this one is told again
        new_class = order.offset_class is not before.offset_class
        if self.stop is not None and (order.revision > before.revision or (new_class and self.stop.asks_for_class)):
            self.stop = None
            self._limit_wish.forget()
            self.frontier.forget_refusals()
            self._suspect = -1
            self.fruitless = self._refused = 0
            self.phase = Phase.COPYING
            self.on_doubt("resumed by the operator")
        if new_class:
            self.course = self.frontier.course = Course(order.offset_class, order.runs)
        self._check_identity()
        moved = order.source_epoch != before.source_epoch or order.target_epoch != before.target_epoch
        if moved and self.phase not in (Phase.DOUBT, Phase.STOPPED):
            self.on_doubt("a leader changed")

    def _check_identity(self) -> None:
        order, at = self.order, Offset(self.position if self.position >= 0 else self.floor)
        if order.source_topic_id is None:
            self._stop(StopKind.SOURCE_DELETED, at, "the source cluster no longer has this partition")
        elif order.target_topic_id is None:
            self._stop(StopKind.TARGET_LOST, at, "the target cluster no longer has this partition")
        elif self._ids is None:
            self._ids = Remembered(order.source_topic_id, order.target_topic_id, UNKNOWN_EPOCH, Offset(0))
        elif order.source_topic_id != self._ids.source_topic_id:
            evidence = f"topic id {self._ids.source_topic_id} became {order.source_topic_id}"
            self._stop(StopKind.SOURCE_REPLACED, at, evidence)
        elif order.target_topic_id != self._ids.target_topic_id:
            evidence = f"the target topic was deleted and created again (topic id now {order.target_topic_id})"
            self._stop(StopKind.TARGET_LOST, at, evidence)

    # ── the one way back ──────────────────────────────────────────────────────────────────────────────────────

    def on_doubt(self, reason: str) -> None:
        """Drops what is not sent; what is in flight is waited for; then the standing is asked."""
        if self.phase is Phase.STOPPED:
            return
        self.phase = Phase.DOUBT
        self.reason = reason
        self.changed = True
        self._guard.forget()
        self.in_sync = False
        self._drop_pending()

    def on_lost(self, reason: str) -> None:
        """The connection to the target is gone: what was in flight may still arrive, or never."""
        if self.in_flight:
            self._guard.late = True
            first, last = self.in_flight[0].base, self.in_flight[-1].next - 1
            self._add_evidence(f"our batches of {first} to {last} may have landed too")
            self.in_flight.clear()
        if self.filling is not None:
            self._guard.late_markers = True
            self._add_evidence(f"our markers of {_range(self.filling.gap)} may have landed too")
            self.filling = None
        self.on_doubt(reason)

    def wants_standing(self) -> bool:
        """Whether the standing is to be asked now: in doubt, nothing in flight, and no limit to be raised first."""
        if self.phase is Phase.DOUBT and not self.is_busy and not self._limit_wish.open_bytes(self.order.limit):
            self.phase = Phase.ASKING
        return self.phase is Phase.ASKING

    @property
    def is_busy(self) -> bool:
        """Whether an answer of the target is still to come."""
        return bool(self.in_flight) or self.filling is not None

    @property
    def quiet(self) -> Quiet:
        """Whether something of ours may still be on its way, so that the log end must be seen to stand still."""
        return self._guard.quiet

    def on_unclear(self, reason: str) -> None:
        """The standing cannot be told yet; it will be asked again."""
        if self.reason != reason:
            self.reason = reason
            self.changed = True

    def on_denied(self, evidence: str) -> None:
        """A right is missing."""
        self._stop(StopKind.UNAUTHORIZED, Offset(max(self.position, 0)), evidence)

    def on_standing(self, standing: Standing) -> None:
        """Goes on from the target's end, or stops."""
        if self.phase is not Phase.ASKING:
            return
        decision = decide_standing(
            standing,
            self.order.offset_class,
            Offset(self.floor),
            self._memory(),
            began=self._began,
            aligning=self._alignment is not None,
            own_from=self.order.own_from,
        )
        self.source_start, self.target_start = standing.source_start, standing.target_start
        self._filled_to = max(self._filled_to, standing.tail.filler_end or 0)
        self.changed = True
        self.reason = ""
        match decision:
            case Stop():
                self._stop(decision.kind, decision.offset, decision.evidence)
            case Align() if decision.to > self.order.pad_budget:
                evidence = (
                    f"copying begins at offset {decision.to}, which takes more filler than padBudget and padBudgetTotal"
                    f" leave for this partition ({self.order.pad_budget})"
                )
                self._stop(StopKind.START_QUESTION, decision.to, evidence)
            case Align():
                self.phase = Phase.ALIGNING
                self._alignment = Alignment(decision.to, decision.sequence, filler_producer_id(self._producer_id))
                self.position = self.floor = standing.target_end
                self.source_end = standing.source_stable
                self.reason = f"filling the offsets below {decision.to}, where copying begins"
            case Trim():
                self.phase = Phase.TRIMMING
                self.position = self.floor = standing.target_end
            case GoOn() if self._guard.late and not standing.quiet and self.course.is_ahead_of(decision.offset):
                self._guard.need(Quiet.NEEDED)  # what is late lies where these runs say, and they would be cut
                self.on_doubt("the offset map was written ahead: nothing of ours may be on its way")
            case GoOn():
                self._go_on(decision, standing)

    def _go_on(self, decision: GoOn, standing: Standing) -> None:
        if decision.offset != self.position:
            self.fruitless = self._refused = 0
        self.phase = Phase.COPYING
        self._alignment = None
        self.position = decision.offset
        self.floor = standing.target_end
        self.course.begin(decision.offset, standing.target_end)
        is_empty = standing.target_start == standing.target_end and not self.order.own_from
        self.tombstones.begin(target_is_empty=is_empty)
        self._passed = Offset(0)
        self.frontier.begin(decision.offset, decision.sequence, decision.epoch, at_edge=standing.at_edge)
        self._acked_epoch = decision.epoch
        self._began = True
        self._draining = False
        self._coordinator_epoch = standing.marker_epoch + 1
        self._guard.on_standing(standing)
        if self._backlog_end < 0:
            self._backlog_end = standing.source_stable
        self._shows_more = self._trails and self.target_start < self._next_start
        if self._shows_more:
            self._trim_at = 0.0  # a crash may have brought filler back: nobody may read it
        self._mark = -1
        self.in_sync = decision.offset >= standing.source_stable
        if self.in_sync:
            self.source_end = standing.source_stable

    def _memory(self) -> Remembered | None:
        if self.position < 0 or self._ids is None:
            return self.order.remembered
        return self._ids._replace(source_epoch=self._acked_epoch, appended=Offset(self.floor))

    # ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def fetch_offset(self) -> int:
        """The next offset to read; -1 before the first standing."""
        return self.frontier.offset

    def fetch_wish(self) -> tuple[int, int] | None:
        """(offset, last fetched epoch), or None while nothing should be fetched.

        Where much is kept already, that is written first.
        """
        if self.phase is not Phase.COPYING or self._draining or self.backlog.is_full:
            return None
        return self.frontier.offset, self.frontier.epoch

    def on_fetched(
        self,
        fetched: FetchedPartition,
        asked: int,
        buffer: memoryview,
        now_ms: int,
        *,
        asked_ms: int = UNKNOWN_TIME_MS,
        silent_ms: int = UNKNOWN_TIME_MS,
    ) -> bool:
        """Walks the batches of an answer to the wish for `asked`; a stale answer changes nothing.

        `asked_ms` is when the request was sent, `silent_ms` when the last one was that told nothing new (-1: none).
        Returns whether what the answer tells of the source's end was taken up.
        """
        if self.phase is not Phase.COPYING or self._draining or asked != self.frontier.offset:
            return False
        if fetched.error or fetched.diverging is not None:
            self._on_fetch_error(fetched)
            return False
        self.on_silence(silent_ms)
        end = fetched.high_watermark
        if 0 <= fetched.last_stable_offset < end:
            end = fetched.last_stable_offset
        if self.held_back != fetched.high_watermark - end:
            self.held_back = fetched.high_watermark - end
            self.changed = True
        start = max(fetched.log_start_offset, self.order.start)
        if end != self.source_end or start != self.source_start:
            self.source_end = end
            self.source_start = start
            self.changed = True
        if self._may_lack_tombstones(asked_ms, now_ms):
            return True
        refusal = self.frontier.walk(buffer, fetched.start, fetched.end, AbortedTransactions(fetched.aborted), end)
        if refusal is not None:
            self._refuse(refusal)
        self._look_at_mark(now_ms)
        if self._guard.late or self._guard.late_markers:
            self._look_for_quiet(now_ms)
        return True

    def on_silence(self, asked_ms: int) -> None:
        """An answer to a request of this time left the partition out: until then nothing was written."""
        is_even = self.phase is Phase.COPYING and self.position == self.fetch_offset == self.source_end
        if is_even and not self.held_back and self.tombstones.on_silence(asked_ms):
            self.changed = True

    def _may_lack_tombstones(self, asked_ms: int, now_ms: int) -> bool:
        """Whether what was fetched must not be taken in; stops once all before it is answered."""
        evidence = self.tombstones.on_fetched(
            position=self.position,
            fetch_offset=self.fetch_offset,
            end=self.source_end,
            asked_ms=asked_ms,
            taken_up_ms=now_ms,
        )
        if evidence and (self.pending or self.is_busy):
            self._draining = True
        elif evidence:
            self._stop(StopKind.TOMBSTONES_MAY_BE_LOST, Offset(self.fetch_offset), evidence)
        return bool(evidence)

    def _look_for_quiet(self, now_ms: int) -> None:
        """What is read may need a proof that nothing of ours is on its way, before it is sent."""
        quiet = self._guard.quiet_before(self.pending, now_ms)
        if quiet is not Quiet.UNLESS_GUARDED:
            self._guard.need(quiet)
            self.on_doubt("old records or a gap follow: nothing of ours may be on its way")
        else:
            self._look_at_start()

    def _look_at_start(self) -> None:
        """Moving the log start past all that is ours needs the same proof."""
        if self._guard.late and not self.pending and self._trails and self._guard.landed < self.wanted_start:
            self._guard.need(Quiet.NEEDED)
            self.on_doubt("the log start moves past all that is ours: nothing of ours may be on its way")

    def _refuse(self, refusal: Refusal) -> None:
        """Stops here, if it is the second time in a row."""
        wanted = self.fetch_offset
        if refusal.kind is StopKind.SOURCE_CORRUPT:
            self.crc_errors += 1
            self.changed = True
        if self._suspect != wanted or self.pending or self.is_busy:
            self._suspect = wanted  # fetched once more, when all before it is answered, and then believed
            self._draining = bool(self.pending) or self.is_busy
        else:
            self._stop(refusal.kind, Offset(wanted), refusal.evidence)

    def _on_fetch_error(self, fetched: FetchedPartition) -> None:
        if fetched.diverging is not None and not fetched.error:
            epoch, end = fetched.diverging
            if end < 0:
                self.on_doubt("the source does not know the epoch of the last copied record")
                return
            if self._suspect != self.fetch_offset:
                self._suspect = self.fetch_offset  # no CRC covers the epoch of a batch: it may have come damaged
                self.on_doubt(f"the source's log seems to part from what was fetched at offset {end}")
                return
            evidence = f"the source's log parts from what was copied at offset {end} (leader epoch {epoch})"
            self._stop(StopKind.SOURCE_TRUNCATED, Offset(end), evidence)
        elif fetched.error in DENIED:
            self._stop(StopKind.UNAUTHORIZED, Offset(self.fetch_offset), f"READ on source topic {self.partition.topic}")
        elif fetched.error == ErrorCode.CORRUPT_MESSAGE:
            self.crc_errors += 1
            if self._suspect == self.fetch_offset:
                evidence = "the source broker itself reports a corrupt message"
                self._stop(StopKind.SOURCE_CORRUPT, Offset(self.fetch_offset), evidence)
            else:
                self._suspect = self.fetch_offset
                self.on_doubt("the source broker reports a corrupt message")
        else:
            self.fruitless = max(self.fruitless, 1)
            self.on_doubt(f"source: {error_name(fetched.error)}")

    def _look_at_mark(self, now_ms: int) -> None:
        if self._mark < 0:
            self._mark, self._mark_ms = self.source_end, now_ms
        if self.position >= self._mark:
            if not self.in_sync:
                self.in_sync = self.changed = True
            self._mark, self._mark_ms = self.source_end, now_ms
        elif self.in_sync and now_ms - self._mark_ms > IN_SYNC_PATIENCE_MS:
            self.in_sync = False
            self.changed = True

    # ── appending ─────────────────────────────────────────────────────────────────────────────────────────────

    def can_append(self, now_ms: int) -> bool:
        """Whether the first pending batch may be sent now.

        More than one in flight only while the target certainly holds our id: after a good answer, with timestamps
        well inside the expiry. If a first batch were refused on an id it does not hold, a second would take its place.
        """
        pending, in_flight = self.pending, self.in_flight
        if not pending or self.filling is not None:
            return False
        first = pending[0]
        if isinstance(first, Gap) or first.entries > self.course.saved:
            return False
        return not in_flight or (len(in_flight) < WINDOW and self._guard.holds(first, now_ms))

    @property
    def has_batch(self) -> bool:
        """Whether a batch comes next: no gap before it is being filled, and what the map says of it is saved."""
        if not self.pending or self.filling is not None:
            return False
        first = self.pending[0]
        return isinstance(first, Batch) and first.entries <= self.course.saved

    def is_guarded(self, now_ms: int) -> bool:
        """Whether the target certainly holds our id, before and after the first pending batch."""
        first = self.pending[0]
        assert isinstance(first, Batch), "a gap comes first"
        return self._guard.holds(first, now_ms)

    def take_append(self) -> Batch:
        """The batch to send now; call only if `can_append`."""
        batch = self.backlog.take_batch()
        self.in_flight.append(batch)
        self._guard.on_sent(batch)
        return batch

    def on_appended(self, batch: Batch, answer: AppendAnswer) -> bool:
        """What the target says about a batch; answers come in the order of sending.

        Returns True where all went as usual: the position moved, and nothing else.
        """
        if not self.in_flight or self.in_flight[0] is not batch:
            return False  # given up before: its outcome was treated as unknown
        self.in_flight.popleft()
        if answer.error:
            self._on_append_error(batch, answer)
        elif answer.base_offset != batch.target:
            self._on_wrong_place(batch, answer)
        elif self.phase is Phase.ALIGNING:
            self._on_filler_landed(batch)
        elif self.phase is Phase.COPYING:
            self.position, self.floor = batch.next, batch.target + batch.records
            self._guard.landed = batch.target
            if not self.in_flight and self._passed > self.position:
                self.position = self._passed
            self.records += batch.records
            if batch.treatment is not AS_IS:
                self._count_rebuilt(batch)
            self.bytes += batch.size
            self.newest_ms = batch.newest_ms
            self._acked_epoch = batch.epoch
            self._guard.on_landed(batch)
            self.fruitless = self._refused = 0
            self.changed = True
            if self.position >= self._mark >= 0:
                self.in_sync = True
            if not self._draining:
                return not self.pending or isinstance(self.pending[0], Batch) or bool(self.in_flight)
            self._draining = bool(self.pending) or self.is_busy
        elif self.phase is Phase.DOUBT:
            self.floor = max(self.floor, batch.target + batch.records)
        return False

    def _count_rebuilt(self, batch: Batch) -> None:
        if batch.treatment is Treatment.CONVERT:
            self.converted += batch.records
        elif batch.treatment is Treatment.REENCODE:
            self.reencoded += batch.records

    def _on_append_error(self, batch: Batch, answer: AppendAnswer) -> None:
        if answer.error in AFTER_THE_APPEND:
            self._add_evidence(f"our batch of {batch.base} to {batch.next - 1} may have landed too")
        if self.phase not in (Phase.COPYING, Phase.ALIGNING):
            return
        name = error_name(answer.error)
        if answer.error in DENIED:
            self._stop(StopKind.UNAUTHORIZED, batch.base, f"WRITE on target topic {self.partition.topic}")
            return
        self.fruitless += 1
        if answer.error == ErrorCode.MESSAGE_TOO_LARGE and self._may_fit_later(batch):
            return
        if answer.error in TOO_LARGE and batch.records > 1:
            self._use_smaller(batch)
            self.on_doubt(f"target: {name}: the batch is split")
            return
        self._refused += answer.error in COUNTED_DOUBTS
        if answer.error in UNKNOWN_OUTCOMES and self._refused < MOST_REFUSALS:
            self.on_doubt(f"target: {name}")
            return
        if batch.treatment is Treatment.MERGE:
            self._refused = 0
            self.frontier.take_apart(batch)
            self.on_doubt(f"target: {name}: the batch is taken apart")
            return
        evidence = f"{name} ({answer.error})" + (f": {answer.message}" if answer.message else "")
        if answer.error in TOO_LARGE:
            evidence += (
                f"; this one record takes {batch.size} bytes: raise the target topic's max.message.bytes to that"
            )
            if self.order.limit is not None and self.order.limit.why:
                evidence += f" (kmigrate may not: {self.order.limit.why})"
        self._stop(StopKind.TARGET_REJECTED, batch.base, evidence)

    def _may_fit_later(self, batch: Batch) -> bool:
        """Whether the batch is sent again as it is, once the topic's limit was raised and that is in force.

        RECORD_LIST_TOO_LARGE is about the size of a segment: no limit would help. What was made larger here is made
        smaller here.
        """
        if batch.treatment in (Treatment.FILLER, Treatment.MERGE):
            return False
        match self._limit_wish.on_too_large(batch.base, batch.size, self.order.limit):
            case TooLarge.WAIT:
                self.on_doubt(f"the target topic's max.message.bytes is to be raised to {batch.size}")
            case TooLarge.AGAIN:
                self.on_doubt(
                    f"the target topic's max.message.bytes was raised: it should take {batch.size} bytes soon"
                )
            case TooLarge.FINAL:
                return False
        return True

    def _use_smaller(self, batch: Batch) -> None:
        if batch.treatment is Treatment.FILLER:
            assert self._alignment is not None, "filler is written only while aligning"
            self._alignment.use_smaller_than(batch.records)
        else:
            self.frontier.split(batch)

    def _on_wrong_place(self, batch: Batch, answer: AppendAnswer) -> None:
        landed = f"our batch of {batch.base} to {batch.next - 1} landed at {answer.base_offset}"
        if self.stop is not None:
            self._add_evidence(landed)
        elif answer.base_offset > batch.target:
            evidence = f"somebody else's records lie from {batch.target} to {answer.base_offset - 1}; {landed}"
            self._stop(StopKind.FOREIGN_WRITE, batch.base, evidence)
        else:
            self._stop(StopKind.TARGET_LOST, Offset(answer.base_offset), landed)

    def _add_evidence(self, words: str) -> None:
        """What was in flight when the partition stopped is listed, so that nothing on the target is unaccounted for."""
        if self.stop is not None:
            self.stop = replace(self.stop, evidence=f"{self.stop.evidence}; {words}")
            self.changed = True

    # ── the log start ─────────────────────────────────────────────────────────────────────────────────────────

    def feed_filler(self, now_ms: int) -> bool:
        """Makes the next batch of filler pending, while aligning and when nothing is; returns whether it did."""
        if self.phase is not Phase.ALIGNING or self._alignment is None or self.pending or self.is_busy:
            return False
        self._alignment.feed(self.backlog, Offset(self.position), now_ms)
        return bool(self.pending)

    def _on_filler_landed(self, batch: Batch) -> None:
        self.position = self.floor = batch.next
        self._guard.on_landed(batch)
        self.changed = True
        self.fruitless = self._refused = 0
        if self._alignment is not None and self.position >= self._alignment.to:
            self.on_doubt("the log start is reached")

    @property
    def wanted_start(self) -> Offset:
        """Where the target's log should start: where the source's does, as far as that is copied.

        Where gaps are left out, the owner says: only the whole map can tell.
        """
        if not self.course.offset_class.fills_gaps:
            return Offset(max(self._filled_to, min(self._mapped_start, self.floor)))
        return Offset(max(self._filled_to, min(self.source_start, self.position) + self.course.shift))

    @property
    def _trails(self) -> bool:
        """Whether the target's log starts below where it should; where it is ours from some offset on, that is not ours
        to say."""
        return self.order.own_from is None and self.target_start < self.wanted_start

    @property
    def _next_start(self) -> Offset:
        """How far the target's log start may move now.

        A leader that takes over knows our id from the batches that its log still holds. So the last one of them stays
        while something of ours may be on its way: the sequence could not refuse it any more.
        """
        wanted = self.wanted_start
        if self.phase is Phase.COPYING and (self.is_busy or self._guard.late):
            return Offset(min(wanted, self._guard.landed))
        return wanted

    def wants_trim(self, now: float) -> bool:
        """Whether the target's log start is to be moved now."""
        if self.phase is Phase.TRIMMING:
            return now >= self._trim_at
        if self.phase is not Phase.COPYING or now < self._trim_at or not self._trails:
            return False
        return self.target_start < self._next_start

    def take_trim(self) -> Offset:
        """The log start to ask for now; call only if `wants_trim`.

        Where nothing of ours is left, our id counts as not held, until the next batch has landed.
        """
        to = self._next_start
        if to > self._guard.landed:
            self._guard.forget()
        return to

    def on_trimmed(self, answer: LogStart | None, now: float) -> None:
        """What the target says about its log start (None: nothing). Nothing is lost if it moved less than asked."""
        self._trim_at = now + (1.0 if self.phase is Phase.TRIMMING else TRIM_SECONDS)
        if answer is not None and not answer.error:
            self.target_start = max(self.target_start, answer.offset)
        if self.phase is not Phase.TRIMMING:
            if self._shows_more and answer is not None and answer.error not in UNKNOWN_OUTCOMES:
                self._shows_more = False  # also where it may not be moved: that holds nothing up
                self.changed = True
            return
        if answer is not None and answer.error in DENIED:
            self._stop(StopKind.UNAUTHORIZED, self.wanted_start, f"DELETE on target topic {self.partition.topic}")
        elif answer is not None and not answer.error:
            self.on_doubt("the log start was moved")
        else:
            self.on_unclear(f"target: {error_name(-1 if answer is None else answer.error)}, for DeleteRecords")

    # ── filling gaps ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def has_gap(self) -> bool:
        """Whether a gap is to be filled now: nothing of the partition is under way, and the log ends at the gap.

        Where it goes must be saved before, as for records.
        """
        if self.phase is not Phase.COPYING or self.is_busy or not self.pending:
            return False
        first = self.pending[0]
        return self.course.offset_class.fills_gaps and isinstance(first, Gap) and first.entries <= self.course.saved

    def on_saved(self, saved: Saved) -> None:
        """The owner has saved so many entries of the offset map: what lies behind them may be sent.

        It tells where the log should start, too.
        """
        if saved.life == self.order.life:
            self.course.on_saved(saved.entries, Offset(self.floor))
            self._mapped_start = saved.start
            if self.phase is Phase.COPYING and not self.is_busy:
                self._look_at_start()

    def pass_gaps(self) -> None:
        """Passes the gaps that come next, where the map leaves them out and that is saved."""
        while (
            self.phase is Phase.COPYING
            and self.pending
            and isinstance(first := self.pending[0], Gap)
            and not self.course.offset_class.fills_gaps
            and first.entries <= self.course.saved
        ):
            gap = self.backlog.take_gap(first.next - first.base)
            self._passed = gap.next
            if not self.in_flight:
                self.position, self._acked_epoch = gap.next, gap.epoch
                self._draining = self._draining and bool(self.pending)
                if self.position >= self._mark >= 0:
                    self.in_sync = True  # where nothing more is written, no fetch answer tells it
            self.changed = True

    def take_gap(self, term: int, most: int) -> Filling | None:
        """The markers to write now, at most so many; call only if `has_gap`. `term` is the lease's.

        None where the budget for the backlog does not allow them: then the partition has stopped.
        """
        gap = self.pending[0]
        assert isinstance(gap, Gap), "a batch comes first"
        if gap.base < self._backlog_end and self._backlog_markers + gap.next - gap.base > self.order.gap_budget:
            evidence = f"{_range(gap)} would need more markers than gapBudget ({self.order.gap_budget}) allows"
            self._stop(StopKind.CLASS_QUESTION, gap.base, evidence)
            return None
        self._coordinator_epoch = max(self._coordinator_epoch, term)
        self.filling = Filling(self.backlog.take_gap(most), self._coordinator_epoch)
        return self.filling

    def on_filled(self, filling: Filling, error: int, end: Offset | None) -> None:
        """What the target says about markers, and its true log end, read after their answer (None: not told).

        The answer alone proves nothing: of several markers it tells only the last one's result.
        """
        if self.filling is not filling:
            return  # given up before: the outcome was treated as unknown
        self.filling = None
        gap = filling.gap
        if self.phase is not Phase.COPYING:
            self._add_evidence(f"our markers of {_range(gap)} may have landed too")
        elif error in DENIED:
            evidence = (
                f"ALTER (before 3.8: CLUSTER_ACTION) on the target cluster is missing: no markers at {_range(gap)}"
            )
            self._stop(StopKind.CLASS_QUESTION, gap.base, evidence)
        elif error or end is None or end < gap.target:
            self._on_markers_refused(gap, error)
        elif end > gap.target + gap.next - gap.base:
            evidence = f"the target ends at {end} after the markers of {_range(gap)}: somebody else wrote there too"
            self._stop(StopKind.GAP_OVERSHOT, gap.next, evidence)
        else:
            self._on_markers_landed(gap, end)

    def _on_markers_refused(self, gap: Gap, error: int) -> None:
        self.fruitless += 1
        self._refused += error not in UNKNOWN_OUTCOMES
        if self._refused < MOST_REFUSALS or not error or error in UNKNOWN_OUTCOMES:
            self.on_doubt(f"target: {error_name(error)}, for markers" if error else "the target did not tell its end")
            return
        evidence = f"{error_name(error)} ({error}), for the markers of {_range(gap)}"
        self._stop(StopKind.TARGET_REJECTED, gap.base, evidence)

    def _on_markers_landed(self, gap: Gap, end: Offset) -> None:
        self.markers += end - gap.target
        if gap.base < self._backlog_end:
            self._backlog_markers += end - gap.target
        self.position, self.floor = Offset(gap.base + end - gap.target), end
        self.changed = True
        if self.position < gap.next:
            self._acked_epoch = UNKNOWN_EPOCH
            self.backlog.put_back(gap._replace(base=self.position, target=end))
            return
        self._acked_epoch = gap.epoch
        self.fruitless = self._refused = 0
        if self.position >= self._mark >= 0:
            self.in_sync = True
        if self._draining:
            self._draining = bool(self.pending)

    # ── the buffer ────────────────────────────────────────────────────────────────────────────────────────────

    def release(self) -> None:
        """Drops the batches that are not sent yet, to be fetched again once those in flight are answered."""
        if self.pending and self.phase is Phase.ALIGNING:
            self.on_doubt("filler was dropped")
        if self.pending and self.phase is Phase.COPYING:
            self._draining = self.is_busy
        self._drop_pending()

    def _drop_pending(self) -> None:
        if self.pending:
            if self.in_flight:
                epoch = self.in_flight[-1].epoch
            else:
                epoch = self.filling.gap.epoch if self.filling is not None else self._acked_epoch
            self.frontier.return_to(self.pending[0], epoch)
            self.backlog.clear()

    # ── what is seen from outside ─────────────────────────────────────────────────────────────────────────────

    def _stop(self, kind: StopKind, offset: Offset, evidence: str) -> None:
        if self.stop is not None:
            return
        self.stop = Stop(kind=kind, offset=offset, evidence=evidence)
        self.phase = Phase.STOPPED
        self.reason = ""
        self.in_sync = False
        self.changed = True
        self._drop_pending()

    def progress(self, *, paused: bool, hindrance: str, is_unseen: bool = False) -> PartitionProgress:
        """The partition as the owner should see it; `hindrance` says why the pipeline as a whole stands still.

        `is_unseen`: the source has not been asked for so long that nobody can say whether it is in sync.
        """
        if self.stop is not None:
            state = PartitionState.STOPPED
        elif paused:
            state = PartitionState.PAUSED
        elif self.phase in (Phase.ALIGNING, Phase.TRIMMING) and not hindrance:
            state = PartitionState.ALIGNING
        elif self.phase is not Phase.COPYING or (hindrance and hindrance not in _THROTTLES):
            state = PartitionState.WAITING
        elif self.in_sync and not self._shows_more and not is_unseen:
            state = PartitionState.IN_SYNC
        elif hindrance:
            state = PartitionState.THROTTLED
        else:
            state = PartitionState.CATCHING_UP
        return PartitionProgress(
            partition=self.partition,
            state=state,
            position=Offset(self.position),
            source_start=Offset(self.source_start),
            source_end=Offset(self.source_end),
            source_epoch=self._acked_epoch,
            records=self.records,
            bytes=self.bytes,
            newest_ms=self.newest_ms,
            crc_errors=self.crc_errors,
            markers=self.markers,
            reencoded=self.reencoded,
            converted=self.converted,
            held_back=self.held_back,
            target_end=Offset(self.floor if self.position >= 0 else -1),
            offset_class=self.order.offset_class,
            life=self.order.life,
            entries=tuple(self.course.unsaved),
            entries_made=self.course.made,
            even_ms=self.tombstones.even_ms,
            retention_ms=self.tombstones.retention_ms,
            limit_wish_bytes=self._limit_wish.open_bytes(self.order.limit),
            reason=self.reason or hindrance,
            stop=self.stop,
        )


def _range(gap: Gap) -> str:
    return f"offset {gap.base}" if gap.next == gap.base + 1 else f"offsets {gap.base} to {gap.next - 1}"
