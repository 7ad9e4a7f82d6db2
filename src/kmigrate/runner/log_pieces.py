"""Reads a range of a partition's log as pieces, one answer ahead: the next is asked for before the last is walked.

Rule: it waits for what is being mended (a leader that moves, a broker that is away) for PATIENCE_SECONDS without any
progress, then raises what was wrong. A log start that moved on is not a failure: where the source's did, a `Trimmed` is
among the pieces; where only the target's did, its pieces begin later.

Memory: two buffers of ANSWER_BYTES, or one batch if that is larger. A piece lies in one of them until the next answer
but one is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kmigrate.cluster.network import Link
from kmigrate.cluster.reader import (
    ANSWER_BYTES,
    Aborted,
    Fetched,
    FetchUnderWay,
    Stored,
    receive_fetch,
    send_fetch,
    whole_batches,
)
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.errors import ClusterError, KmigrateError
from kmigrate.kafka_types import Offset, Side, TopicId, TopicPartition
from kmigrate.records.batch import CONTROL
from kmigrate.runner.leaders import Leaders
from kmigrate.verify.pieces import Piece, Trimmed
from kmigrate.wire.call import error_name
from kmigrate.wire.calls import READ_COMMITTED
from kmigrate.wire.error_codes import ErrorCode

_BUFFER_BYTES = ANSWER_BYTES + (64 << 10)
MAX_WAIT_MS = 100
PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
_FOR_GOOD = {
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "the right to read it is missing: READ on the topic",
    ErrorCode.UNKNOWN_TOPIC_ID: "the topic was deleted, or created anew, while it was read",
    ErrorCode.INCONSISTENT_TOPIC_ID: "the topic was created anew while it was read",
}


class CannotRead(KmigrateError):
    """A partition cannot be read on; nothing is known of the rest of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The offsets of one side's log that are wanted: `start` ≤ o < `end`."""

    partition: TopicPartition
    topic_id: TopicId
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The outside: `pause` is told the bytes of each answer and may wait; the rest are this machine's clock."""

    pause: Callable[[int], None] = lambda _bytes: None
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


AT_ONCE = Pace()


@dataclass(slots=True)
class LogPieces:
    """The pieces of one span; `source_start` tells where the source's log starts now."""

    leaders: Leaders
    span: Span
    source_start: Callable[[], Offset]
    pace: Pace = AT_ONCE
    _link: Link | None = None
    _asked_at: int | None = None
    _under_way: FetchUnderWay | None = None

    def __iter__(self) -> Iterator[Piece | Trimmed]:
        """Reads; raises CannotRead. Whoever stops early calls `close`."""
        at, buffers, empty_since = (
            self.span.start,
            [bytearray(_BUFFER_BYTES), bytearray(_BUFFER_BYTES)],
            self.pace.now(),
        )
        while at < self.span.end:
            try:
                answer = self._receive(at, buffers[0])
            except ClusterError as error:
                self._wait(empty_since, str(error), error.hint)
                continue
            buffers.reverse()
            if answer.error == ErrorCode.OFFSET_OUT_OF_RANGE:
                try:
                    start = self.leaders.log_start(self.span.partition)
                    source_start = start if self.leaders.side is Side.SOURCE else self.source_start()
                except ClusterError as error:
                    self._wait(empty_since, str(error), error.hint)
                    continue
                if start <= at:
                    self._wait(empty_since, f"offset {at} is not there, although the log starts at {start}", "")
                    continue
                yield Trimmed(source_start)
                at = start
                continue
            if answer.error:
                if answer.error in _FOR_GOOD:
                    raise self._cannot_read(_FOR_GOOD[ErrorCode(answer.error)])
                self._wait(empty_since, error_name(answer.error), "")
                continue
            stored, damaged = whole_batches(answer.records)
            after = _after(stored, at)
            if after is None:
                if damaged:
                    raise self._cannot_read(f"what lies at offset {at} is no record batch")
                if answer.readable >= self.span.end and not len(answer.records):
                    return  # what is left is a hole
                self._wait(empty_since, f"nothing comes at offset {at}", "", keep=True)
                continue
            if after < self.span.end:
                self._ask_ahead(after)
            self.pace.pause(len(answer.records))
            yield from self._pieces(stored, answer.aborted, at)
            at, empty_since = after, self.pace.now()

    def close(self) -> None:
        """Gives the link back, if nothing is under way on it."""
        link, self._link = self._link, None
        if link is None:
            return
        if self._asked_at is None:
            self.leaders.give_back(self.span.partition, link)
        else:
            self._asked_at = None
            link.close()

    def _pieces(self, stored: list[Stored], aborted: Aborted, at: int) -> Iterator[Piece]:
        transactions = AbortedTransactions(aborted)
        for header, next_offset, view in stored:
            if header is None:
                base, hidden = at, False
            else:
                base, hidden = header.base_offset, transactions.covers(header) or bool(header.attributes & CONTROL)
            if next_offset > at and base < self.span.end:
                yield Piece(base, next_offset, header, view, hidden)
            at = max(at, next_offset)

    def _receive(self, at: int, buffer: bytearray) -> Fetched:
        if self._asked_at != at:
            if self._asked_at is not None:  # an answer to something else is under way
                self.leaders.drop(self.span.partition, self._link)
                self._link = self._asked_at = None
            self._ask(at)
        link, under_way = self._link, self._under_way
        self._asked_at = None
        assert link is not None, "a link was asked"
        assert under_way is not None, "a link was asked"
        error, found = receive_fetch(self.leaders.side, link, under_way, buffer)
        return found[0] if found else Fetched(self.span.partition, error, -1, memoryview(b""), ())

    def _ask_ahead(self, at: int) -> None:
        """Asks for what follows what came; where that fails it is asked again when it is needed."""
        try:
            self._ask(at)
        except ClusterError:
            self.leaders.drop(self.span.partition, self._link)
            self._link = self._asked_at = None

    def _ask(self, at: int) -> None:
        if self._link is None:
            self._link = self.leaders.link(self.span.partition)
        self._asked_at = at
        self._under_way = send_fetch(
            self._link,
            {self.span.partition: (self.span.topic_id, Offset(at))},
            partition_bytes=ANSWER_BYTES,
            max_wait_ms=MAX_WAIT_MS,
            isolation_level=READ_COMMITTED,
        )

    def _wait(self, since: float, reason: str, hint: str, *, keep: bool = False) -> None:
        """A moment, before it is tried again on another link; raises CannotRead where it has lasted too long."""
        if self.pace.now() - since > PATIENCE_SECONDS:
            raise self._cannot_read(reason, hint)
        if not keep:
            self.leaders.drop(self.span.partition, self._link)
            self._link = self._asked_at = None
            self.pace.sleep(_PAUSE_SECONDS)

    def _cannot_read(self, reason: str, hint: str = "") -> CannotRead:
        return CannotRead(f"{self.leaders.side} cluster: {self.span.partition} cannot be read: {reason}", hint=hint)


def _after(stored: list[Stored], at: int) -> int | None:
    """Where to go on behind these batches; None if none of them reaches beyond `at`."""
    after = max((each.next_offset for each in stored), default=at)
    return after if after > at else None
