"""The copier of one partition: bytes and answers in, decisions out; no socket, no clock, no log.  (pure)

::

    DOUBT ──(nothing in flight)──▶ ASKING ──on_standing──▶ COPYING ──on_doubt──▶ DOUBT
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

from kmigrate.copy.judge import SPECIAL_BITS, judge
from kmigrate.copy.orders import PartitionOrder, Remembered
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.standing import Quiet, Standing, decide_standing
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import UNKNOWN_EPOCH, LeaderEpoch, Offset, ProducerId, TopicPartition
from kmigrate.records.batch import CODEC_MASK, CRC_START, HEADER, HEADER_BYTES, MAGIC_OFFSET, crc32c, stamp
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.fetch import FetchedPartition
from kmigrate.wire.produce import AppendAnswer

WINDOW = 5
"""Batches in flight for one partition: as many as a broker remembers of a producer id."""
PRODUCER_EPOCH = 0
"""Data batches always carry epoch 0: a higher one would restart their sequence."""
IN_SYNC_PATIENCE_MS = 2_000
"""How long a mark on the source may stay uncopied before the partition no longer counts as in sync."""
MOST_REFUSALS = 5
"""Refused sequences in a row, at an unmoved log end, before the target's refusal is final."""
_OLDER_MAGIC_BYTES = MAGIC_OFFSET + 1

_UNKNOWN_OUTCOMES = frozenset(
    {
        -1,
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.UNKNOWN_PRODUCER_ID,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)
"""Produce errors after which only the standing can tell what happened. Every other error is a refusal."""
_AFTER_THE_APPEND = frozenset(
    {
        -1,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode.KAFKA_STORAGE_ERROR,
    }
)
"""Those that may come although the batch lies in the log."""
_COUNTED_DOUBTS = frozenset({ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.CORRUPT_MESSAGE})
_DENIED = frozenset(
    {
        ErrorCode.TOPIC_AUTHORIZATION_FAILED,
        ErrorCode.GROUP_AUTHORIZATION_FAILED,
        ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    }
)


THROTTLED = "throttled"
WAITING_FOR_LEASE = "waiting for the lease on the target"
HELD_BY_QUOTA = "held by a quota of the target cluster"
_THROTTLES = frozenset({THROTTLED, HELD_BY_QUOTA})


class Phase(enum.Enum):
    """Where the copier is in its life."""

    DOUBT = "doubt"
    ASKING = "asking"
    COPYING = "copying"
    STOPPED = "stopped"


class Batch(NamedTuple):
    """A batch made ours, in the buffer it was fetched into; `size` and `records` outlive the bytes."""

    base: Offset
    next: Offset
    sequence: int
    records: int
    size: int
    newest_ms: int
    epoch: LeaderEpoch
    view: memoryview


class Copier:
    """One partition. Rewrites the bytes lent to it; holds them until `release` or until they are sent."""

    def __init__(self, order: PartitionOrder, producer_id: ProducerId, guarded_ms: int) -> None:
        """`guarded_ms`: for how long after a record's timestamp the target certainly remembers our id."""
        self.partition: TopicPartition = order.partition
        self.place = order.partition.topic.encode(), order.partition.partition
        self.order = order
        self.phase = Phase.DOUBT
        self.stop: Stop | None = None
        self.reason = "starting"
        self.fetch_offset = -1
        self.position = -1
        self.floor = order.remembered.appended if order.remembered else Offset(0)
        self.source_start = -1
        self.source_end = -1
        self.pending: deque[Batch] = deque()
        self.in_flight: deque[Batch] = deque()
        self.records = 0
        self.bytes = 0
        self.newest_ms = -1
        self.crc_errors = 0
        self.fruitless = 0
        """Refused batches since the log end moved: the more, the longer is waited before the next attempt."""
        self.changed = True
        self.in_sync = False
        self._producer_id = producer_id
        self._guarded_ms = guarded_ms
        self._guarded_until_ms = 0
        self._sequence = 0
        self._walked_epoch = UNKNOWN_EPOCH
        self._acked_epoch = UNKNOWN_EPOCH
        self._began = False
        self._late = not order.fresh
        self._must_be_quiet = False
        self._draining = False
        self._refused = 0
        self._suspect = -1
        self._mark = -1
        self._mark_ms = 0
        self._ids: Remembered | None = order.remembered
        self._check_identity()

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────

    def on_order(self, order: PartitionOrder) -> None:
        """Adopts what the owner says now: ids, leader epochs, and the operator's answer to a stop."""
        before, self.order = self.order, order
        if order.revision > before.revision and self.stop is not None:
            self.stop = None
            self._suspect = -1
            self.fruitless = self._refused = 0
            self.phase = Phase.COPYING
            self.on_doubt("resumed by the operator")
        self._check_identity()
        moved = order.source_epoch != before.source_epoch or order.target_epoch != before.target_epoch
        if moved and self.phase is Phase.COPYING:
            self.on_doubt("a leader changed")

    def _check_identity(self) -> None:
        order, at = self.order, Offset(max(self.position, self.floor))
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
        self._guarded_until_ms = 0
        self.in_sync = False
        self._drop_pending()

    def on_lost(self, reason: str) -> None:
        """The connection to the target is gone: what was in flight may still arrive, or never."""
        if self.in_flight:
            self._late = True
            first, last = self.in_flight[0].base, self.in_flight[-1].next - 1
            self._add_evidence(f"our batches of {first} to {last} may have landed too")
            self.in_flight.clear()
        self.on_doubt(reason)

    def wants_standing(self) -> bool:
        """Whether the standing is to be asked now: in doubt, and nothing in flight."""
        if self.phase is Phase.DOUBT and not self.in_flight:
            self.phase = Phase.ASKING
        return self.phase is Phase.ASKING

    @property
    def quiet(self) -> Quiet:
        """Whether something of ours may still be on its way, so that the log end must be seen to stand still."""
        if not self._late:
            return Quiet.NEEDLESS
        return Quiet.NEEDED if self._must_be_quiet else Quiet.UNLESS_GUARDED

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
        decision = decide_standing(standing, self.floor, self._memory(), self._began)
        self.source_start = standing.source_start
        self.changed = True
        if isinstance(decision, Stop):
            self._stop(decision.kind, decision.offset, decision.evidence)
            return
        if decision.offset != self.position:
            self.fruitless = self._refused = 0
        self.phase = Phase.COPYING
        self.reason = ""
        self.position = self.floor = self.fetch_offset = decision.offset
        self._walked_epoch = self._acked_epoch = decision.epoch
        self._sequence = decision.sequence
        self._began = True
        self._draining = False
        if standing.quiet:
            self._late = self._must_be_quiet = False
        self._mark = -1
        self.in_sync = decision.offset >= standing.source_end
        if self.in_sync:
            self.source_end = standing.source_end

    def _memory(self) -> Remembered | None:
        if self.position < 0 or self._ids is None:
            return self.order.remembered
        return self._ids._replace(source_epoch=self._acked_epoch, appended=Offset(self.position))

    # ── fetching ──────────────────────────────────────────────────────────────────────────────────────────────

    def fetch_wish(self) -> tuple[int, int] | None:
        """(offset, last fetched epoch), or None while nothing should be fetched."""
        if self.phase is not Phase.COPYING or self._draining:
            return None
        return self.fetch_offset, self._walked_epoch

    def on_fetched(self, fetched: FetchedPartition, asked: int, buffer: memoryview, now_ms: int) -> None:
        """Walks the batches of an answer to the wish for `asked`; a stale answer changes nothing."""
        if self.phase is not Phase.COPYING or self._draining or asked != self.fetch_offset:
            return
        if fetched.error or fetched.diverging is not None:
            self._on_fetch_error(fetched)
            return
        end = fetched.high_watermark
        if 0 <= fetched.last_stable_offset < end:
            end = fetched.last_stable_offset
        if end != self.source_end or fetched.log_start_offset != self.source_start:
            self.source_end = end
            self.source_start = fetched.log_start_offset
            self.changed = True
        self._walk(buffer, fetched.start, fetched.end)
        self._look_at_mark(now_ms)
        if self._late and any(now_ms >= batch.newest_ms + self._guarded_ms for batch in self.pending):
            self._must_be_quiet = True  # appending these may make the target forget our id, and take what comes late
            self.on_doubt("old records follow: nothing of ours may be on its way")

    def _walk(self, buffer: memoryview, at: int, end: int) -> None:
        start = at
        wanted, sequence, pending, producer_id = self.fetch_offset, self._sequence, self.pending, self._producer_id
        while at + HEADER_BYTES <= end:
            base, length, epoch, magic, crc, attributes, delta, _, newest_ms, _, _, _, count = HEADER.unpack_from(
                buffer, at
            )
            size = length + 12
            if magic == 2 and size > end - at:
                if at == start:
                    self._refuse(buffer, at, end, wanted)  # the first one is always whole
                break  # the last one may be cut
            if (
                magic != 2
                or base != wanted
                or count != delta + 1
                or count <= 0
                or attributes & SPECIAL_BITS
                or length < 49
                or crc32c(buffer[at + CRC_START : at + size]) != crc
            ):
                self._refuse(buffer, at, end, wanted)
                break
            stamp(buffer, at, size, producer_id, PRODUCER_EPOCH, sequence, attributes & CODEC_MASK)
            wanted = base + count
            pending.append(Batch(base, wanted, sequence, count, size, newest_ms, epoch, buffer[at : at + size]))
            sequence = (sequence + count) & 0x7FFFFFFF
            self._walked_epoch = epoch
            at += size
        else:
            if end - at >= _OLDER_MAGIC_BYTES and buffer[at + MAGIC_OFFSET] < 2:
                self._refuse(buffer, at, end, wanted)
        self.fetch_offset = wanted
        self._sequence = sequence

    def _refuse(self, buffer: memoryview, at: int, end: int, wanted: int) -> None:
        stop = judge(buffer, at, end, wanted)
        if stop.kind is StopKind.SOURCE_CORRUPT:
            self.crc_errors += 1
            self.changed = True
        if self._suspect != wanted or self.pending or self.in_flight:
            self._suspect = wanted  # fetched once more, when all before it is answered, and then believed
            self._draining = bool(self.pending or self.in_flight)
            return
        self._stop(stop.kind, stop.offset, stop.evidence)

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
        elif fetched.error in _DENIED:
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
        if not self.pending:
            return False
        return not self.in_flight or (len(self.in_flight) < WINDOW and self.is_guarded(now_ms))

    def is_guarded(self, now_ms: int) -> bool:
        """Whether the target certainly holds our id, before and after the first pending batch."""
        return now_ms < self._guarded_until_ms and now_ms < self.pending[0].newest_ms + self._guarded_ms

    def take_append(self) -> Batch:
        """The batch to send now; call only if `can_append`."""
        batch = self.pending.popleft()
        self.in_flight.append(batch)
        if batch.newest_ms + self._guarded_ms < self._guarded_until_ms:
            self._guarded_until_ms = batch.newest_ms + self._guarded_ms
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
        elif answer.base_offset != batch.base:
            self._on_wrong_place(batch, answer)
        elif self.phase is Phase.COPYING:
            self.position = self.floor = batch.next
            self.records += batch.records
            self.bytes += batch.size
            self.newest_ms = batch.newest_ms
            self._acked_epoch = batch.epoch
            self._guarded_until_ms = batch.newest_ms + self._guarded_ms
            self.fruitless = self._refused = 0
            self.changed = True
            if self.position >= self._mark >= 0:
                self.in_sync = True
            if not self._draining:
                return True
            self._draining = bool(self.in_flight or self.pending)
        elif self.phase is Phase.DOUBT:
            self.floor = max(self.floor, batch.next)
        return False

    def _on_append_error(self, batch: Batch, answer: AppendAnswer) -> None:
        if answer.error in _AFTER_THE_APPEND:
            self._add_evidence(f"our batch of {batch.base} to {batch.next - 1} may have landed too")
        if self.phase is not Phase.COPYING:
            return
        name = error_name(answer.error)
        if answer.error in _DENIED:
            self._stop(StopKind.UNAUTHORIZED, batch.base, f"WRITE on target topic {self.partition.topic}")
            return
        self.fruitless += 1
        self._refused += answer.error in _COUNTED_DOUBTS
        if answer.error in _UNKNOWN_OUTCOMES and self._refused < MOST_REFUSALS:
            self.on_doubt(f"target: {name}")
            return
        evidence = f"{name} ({answer.error})" + (f": {answer.message}" if answer.message else "")
        self._stop(StopKind.TARGET_REJECTED, batch.base, evidence)

    def _on_wrong_place(self, batch: Batch, answer: AppendAnswer) -> None:
        landed = f"our batch of {batch.base} to {batch.next - 1} landed at {answer.base_offset}"
        if self.stop is not None:
            self._add_evidence(landed)
        elif answer.base_offset > batch.base:
            evidence = f"somebody else's records lie from {batch.base} to {answer.base_offset - 1}; {landed}"
            self._stop(StopKind.FOREIGN_WRITE, batch.base, evidence)
        else:
            self._stop(StopKind.TARGET_LOST, Offset(answer.base_offset), landed)

    def _add_evidence(self, words: str) -> None:
        """What was in flight when the partition stopped is listed, so that nothing on the target is unaccounted for."""
        if self.stop is not None:
            self.stop = replace(self.stop, evidence=f"{self.stop.evidence}; {words}")
            self.changed = True

    # ── the buffer ────────────────────────────────────────────────────────────────────────────────────────────

    def release(self) -> None:
        """Drops the batches that are not sent yet, to be fetched again once those in flight are answered."""
        if self.pending and self.phase is Phase.COPYING:
            self._draining = bool(self.in_flight)
        self._drop_pending()

    def _drop_pending(self) -> None:
        if self.pending:
            first = self.pending[0]
            self.fetch_offset = first.base
            self._sequence = first.sequence
            self._walked_epoch = self.in_flight[-1].epoch if self.in_flight else self._acked_epoch
            self.pending.clear()

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

    def progress(self, *, paused: bool, hindrance: str) -> PartitionProgress:
        """The partition as the owner should see it; `hindrance` says why the pipeline as a whole stands still."""
        if self.stop is not None:
            state = PartitionState.STOPPED
        elif paused:
            state = PartitionState.PAUSED
        elif self.phase is not Phase.COPYING or (hindrance and hindrance not in _THROTTLES):
            state = PartitionState.WAITING
        elif self.in_sync:
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
            reason=self.reason or hindrance,
            stop=self.stop,
        )
