"""The machine of one partition: what is decided next, whether it may be sent, and what became of it.  (pure)

::

    DOUBT ──looked, nothing pending──▶ FREE ──decide──▶ DECIDED ──saved──▶ READY ──sent──▶ SENT ──answer──▶ FREE
      ▲  │                                                                 ▲                │
      │  └──looked: it is not there, and nothing can be on its way ────────┘                │
      └──────────────── no answer, or one that tells nothing ───────────────────────────────┘

Rule: one batch at a time. A batch that is decided is sent as it was decided, until it is known to lie on the target: a
broker that holds our id refuses it a second time, and where it may not, nothing is sent before our batches were seen
not to change for a while. A process begins in doubt. What cannot be told is a stop, which is looked at again and again.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from kmigrate.copy.guard import QUIET_SECONDS, Stillness
from kmigrate.copy.refusals import TOO_LARGE, UNKNOWN_OUTCOMES
from kmigrate.kafka_types import Offset
from kmigrate.late.gathering import MOST_RECORDS, Gathered
from kmigrate.late.values import NOTHING, Batch, Handover, Kept, LateStop, LateStopKind
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode

LOOK_SECONDS = 1.0
"""How often it is looked whether nothing has changed."""
REFUSED_SECONDS = 10.0
"""How long until what was refused is tried again."""


_OF_READING = frozenset({LateStopKind.UNREADABLE, LateStopKind.TRIMMED, LateStopKind.TRUNCATED})
"""What only a read that succeeds ends."""


class Phase(enum.Enum):
    """What is known of the batch that was decided last."""

    DOUBT = "doubt"
    FREE = "free"
    DECIDED = "decided"
    READY = "ready"
    SENT = "sent"


class Look(NamedTuple):
    """What the target shows: the last sequence that its leader remembers of our id (None: it does not know us), and if
    a batch was searched for, where it lies (None: not there), whether the log shows all that was ever behind the start
    of the search, and what of ours contradicts what is kept."""

    last_sequence: int | None
    found: Offset | None = None
    is_whole: bool = True
    contradiction: str = ""


class LatePartition:
    """Of one partition; the shell asks `phase`, and tells what it did and heard."""

    def __init__(self, kept: Kept) -> None:
        self.handover = kept.handover
        self.pending = kept.pending
        self.landed = kept.landed
        self.phase = Phase.DOUBT
        self.stop: LateStop | None = None
        self.most_records = MOST_RECORDS
        self.position = kept.handover.source_from
        """Every record below this source offset lies on the target."""
        self._last = kept.last
        if kept.last is not None:
            self.position = max(self.position, kept.last.source_next)
        if kept.pending is not None:
            self.position = kept.pending.source_from
        self._stillness: Stillness | None = None
        self._again_at = 0.0

    # -- what is wanted

    @property
    def is_given_up(self) -> bool:
        """Whether nothing more is sent. What was decided last may lie on the target: `sent_records` counts it."""
        return self.handover.until == NOTHING

    @property
    def is_busy(self) -> bool:
        """Whether something is wanted, or under way."""
        until = self.handover.until
        return not self.is_given_up and (self.pending is not None or until is None or self.position < until)

    @property
    def wants_records(self) -> bool:
        """Whether the source is to be read at `position`."""
        until = self.handover.until
        return self.phase is Phase.FREE and (until is None or self.position < until)

    def wants_look(self, now: float) -> bool:
        """Whether it is time to look at the target."""
        return self.phase is Phase.DOUBT and now >= self._again_at

    @property
    def search_from(self) -> Offset:
        """Where the target's log is searched for the pending batch: nothing of ours behind it is known."""
        if self._last is None or self._last.target_base is None:
            return self.handover.target_from
        return Offset(self._last.target_base + self._last.records)

    @property
    def sent_records(self) -> int:
        """How many records lie on the target, or may: no more than these are ours there."""
        return self.landed + (0 if self.pending is None else self.pending.records)

    def extend(self, handover: Handover) -> None:
        """Other records are wanted now, none that come before those that are; or none any more."""
        self.handover = handover
        if self.is_given_up:
            self.stop = None
        elif self.pending is None:
            self.position = max(self.position, handover.source_from)

    # -- deciding

    def decide(self, gathered: Gathered) -> Batch | None:
        """The batch of these records, which is to be saved before it is sent; None where there is no record."""
        assert self.phase is Phase.FREE, "one batch at a time"
        self.stop = None
        if not gathered.records:
            self.position = max(self.position, gathered.next)
            return None
        last = self._last
        self.pending = Batch(
            number=0 if last is None else last.number + 1,
            sequence=0 if last is None else last.next_sequence,
            source_from=self.position,
            source_next=gathered.next,
            records=len(gathered.records),
        )
        self.phase = Phase.DECIDED
        return self.pending

    def on_saved(self) -> None:
        """The decision is kept, and survives this machine's disk where it is mirrored."""
        assert self.phase is Phase.DECIDED, "nothing else is saved"
        self.phase = Phase.READY

    def on_sent(self) -> None:
        assert self.phase is Phase.READY, "only what is kept is sent"
        self.phase = Phase.SENT

    # -- what became of it

    def on_answer(self, error: int, base_offset: int, message: str, now: float) -> Batch | None:
        """The broker's answer; returns the batch that has landed, which is to be saved.

        A batch that is too large is given up: `pending` is None then, and what is kept of it is to be deleted.
        """
        assert self.phase is Phase.SENT, "nothing was sent"
        assert self.pending is not None, "what was sent is pending"
        if not error and base_offset >= self.search_from:
            return self._land(Offset(base_offset))
        if not error or error in UNKNOWN_OUTCOMES:
            self.on_silence(now)
            return None
        if error in TOO_LARGE and self.pending.records > 1:
            self.most_records = max(1, self.pending.records // 2)
            self._drop()
            return None
        way = "mend it: it is tried again by itself"
        if error == ErrorCode.TOPIC_AUTHORIZATION_FAILED:
            way = "grant WRITE on the topic to kmigrate's user: it is tried again by itself"
        words = error_name(error) + (f", {message}" if message else "")
        self._stop(LateStopKind.REFUSED, f"the target refuses {self._named(self.pending)}: {words}", way, now)
        return None

    def on_silence(self, now: float) -> None:
        """No answer, or one that tells nothing."""
        self.phase, self._stillness, self._again_at = Phase.DOUBT, None, now

    def on_unseen(self) -> None:
        """The leader did not answer: what it had not read by then it may read when it answers again."""
        self._stillness = None

    def on_look(self, look: Look, now: float) -> Batch | None:
        """What the target shows, at a time when its leader answered; returns the batch that turns out to have landed.

        That nothing is found counts once it was seen so for QUIET_SECONDS, in which the leader always answered.
        """
        assert self.phase is Phase.DOUBT, "there is no doubt"
        pending, kept = self.pending, -1 if self._last is None else self._last.last_sequence
        if look.contradiction:
            self._unknown(look.contradiction, now)
            return None
        if pending is None:
            if look.last_sequence is not None and look.last_sequence != kept:
                self._unknown(f"its last sequence is {look.last_sequence}, {kept} is kept", now)
                return None
            self.phase = Phase.FREE
            if self.stop is not None and self.stop.kind not in _OF_READING:
                self.stop = None
            return None
        if look.found is not None:
            return self._land(look.found)
        if look.last_sequence == pending.last_sequence:
            self._unknown(f"{self._named(pending)} was appended, and compaction took it", now)
        elif look.last_sequence is not None and look.last_sequence != kept:
            self._unknown(f"its last sequence is {look.last_sequence}, {kept} or {pending.last_sequence} is kept", now)
        elif look.last_sequence is None and not look.is_whole:
            self._unknown(f"the log does not show all that came behind offset {self.search_from:,}", now)
        else:
            self._wait_for_quiet(pending, now)
        return None

    def _wait_for_quiet(self, pending: Batch, now: float) -> None:
        self._stillness = self._stillness or Stillness(now)
        if self._stillness.look(now) < QUIET_SECONDS:
            self._again_at = now + LOOK_SECONDS
        else:
            self.phase, self._stillness = Phase.READY, None
            if pending.source_from < self.handover.source_from:
                self._drop()  # it is not there, and no longer wanted: it was listed

    def on_unreadable(self, kind: LateStopKind, evidence: str, way: str, now: float) -> None:
        """Nothing can be read at the position, or not what it should be.

        A batch that was to be sent is given up: it is known not to lie on the target.
        """
        if self.phase is Phase.READY:
            self._drop()
        self._stop(kind, evidence, way, now)

    def rebuild(self, gathered: Gathered) -> bool:
        """Whether these are the records of the pending batch, read anew; if they are not, they are decided anew.

        Then the source's compaction took some of them: that the batch was not appended is known by now.
        """
        assert self.phase is Phase.READY, "only what is to be sent is read anew"
        pending = self.pending
        assert pending is not None, "there is something to be read anew"
        if len(gathered.records) == pending.records and gathered.next == pending.source_next:
            return True
        self._drop()
        return False

    # -- inside

    def _land(self, base: Offset) -> Batch:
        assert self.pending is not None, "something was pending"
        landed = self.pending._replace(target_base=base)
        self._last, self.pending, self.phase, self.stop = landed, None, Phase.FREE, None
        self._stillness = None
        self.landed += landed.records
        self.position = max(landed.source_next, self.handover.source_from)
        return landed

    def _drop(self) -> None:
        """The batch that was decided last is known not to lie on the target, and not wanted as it was decided."""
        self.pending, self.phase = None, Phase.FREE
        self.position = max(self.position, self.handover.source_from)

    def _unknown(self, evidence: str, now: float) -> None:
        self._stop(
            LateStopKind.UNKNOWN,
            f"what was appended cannot be told: {evidence}",
            "`kmigrate message diff -f FILE` shows both sides; it is looked at again by itself",
            now,
        )

    def _stop(self, kind: LateStopKind, evidence: str, way: str, now: float) -> None:
        self.stop = LateStop(kind=kind, offset=self.position, evidence=evidence, way=way)
        self.phase, self._stillness, self._again_at = Phase.DOUBT, None, now + REFUSED_SECONDS

    @staticmethod
    def _named(batch: Batch) -> str:
        return f"the batch of {batch.records:,} records from source offset {batch.source_from:,}"
