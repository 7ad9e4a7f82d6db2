"""Compares two logs record by record in order, whatever their offsets: the n-th record with the n-th.  (pure)

For copies that another tool made. Where both go apart, it is looked for the nearest place at which they go on together;
what lies in between is told as missing, additional, repeated, altered or out of order. Where the target begins once
more at an earlier record, as a copier does that was restarted, the source is read once more from there on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kmigrate.records.record import RawRecord
from kmigrate.verify.aligning import next_common, set_side_by_side
from kmigrate.verify.differences import DifferenceKind, take_apart
from kmigrate.verify.findings import Finding, Findings
from kmigrate.verify.history import History
from kmigrate.verify.pieces import Damaged
from kmigrate.verify.streams import Stream, content_of
from kmigrate.verify.walk import NOTHING_YET, Amounts

WINDOWS = (64, 1_024, 16_384)
"""How far is looked ahead on both sides, the nearer first."""
_AT_ONCE = 4_096


class InOrder:
    """One walk over both logs; it ends with the target's, with `rewind_to`, or with `is_apart`.

    `rewind_to`: the target goes on with what the source has from this offset on, a second time. `is_apart`: nothing
    of what follows fits together. `damage`: a batch that no consumer could read.
    """

    def __init__(self, source: Stream, target: Stream, findings: Findings, history: History) -> None:
        self.source = source
        self.target = target
        self.amounts = NOTHING_YET
        self.matched = 0
        """How many records are the same on both sides."""
        self.rewind_to: int | None = None
        self.is_apart = False
        self.damage: Damaged | None = None
        self._findings = findings
        self._history = history

    def steps(self) -> Iterator[None]:
        """Compares a stretch at each step; raises CannotTakeApart, and what the iterators of the pieces raise."""
        try:
            while self._step():
                self._count()
                yield
            self._count()
        except Damaged as damage:
            self.damage = damage

    def _step(self) -> bool:
        have = min(self.source.fill(1), self.target.fill(1))
        if not have:
            return self._end()
        one, other = self.source.ahead(_AT_ONCE), self.target.ahead(_AT_ONCE)
        same = _same(one, other)
        self._agree(one[:same], same)
        if same == min(len(one), len(other)):
            return True
        return self._part()

    def _agree(self, records: Sequence[RawRecord], targets: int) -> None:
        self._history.add(records)
        self._findings.see_later(records)
        self.source.take(len(records))
        self.target.take(targets)
        self.matched += len(records)

    def _end(self) -> bool:
        """One side has no more: what the target has more is told, what the source has more is not copied yet."""
        while self.target.fill(1):
            for record in self.target.ahead(_AT_ONCE):
                self._judge_target(record, self.source.next_offset)
                self.target.take(1)
        while self._findings.waits_for_keys and self.source.fill(1):
            more = self.source.ahead(_AT_ONCE)
            self._findings.see_later(more)
            self.source.take(len(more))
        self.source.fill(1)
        self.source.take(0)  # what no consumer sees at its end is not waited for
        return False

    def _part(self) -> bool:
        """Both go on with something else here."""
        for window in WINDOWS:
            self.source.fill(window)
            self.target.fill(window)
            one, other = self.source.ahead(window), self.target.ahead(window)
            source_ends = self.source.has_ended and self.source.fill(window) <= window
            target_ends = self.target.has_ended and self.target.fill(window) <= window
            found = next_common(
                [content_of(each) for each in one],
                [content_of(each) for each in other],
                source_ends=source_ends,
                target_ends=target_ends,
            )
            if found is not None:
                self._between(one[: found[0]], other[: found[1]], [*one[found[0] : found[0] + 1]], other[found[1] :])
                return True
            if source_ends and target_ends:
                self._between(one[: self._unknown(other)], other, one[self._unknown(other) :], [])
                return True
        rest = self.target.ahead(WINDOWS[-1] + 1)
        if self.target.has_ended and len(rest) <= WINDOWS[-1]:
            self._between(self.source.ahead(self._unknown(rest)), rest, [], [])
            return True
        self.rewind_to = self._history.find(rest[0])
        self.is_apart = self.rewind_to is None
        return False

    def _unknown(self, records: Sequence[RawRecord]) -> int:
        """How many of these the source is not known to have had before."""
        return sum(self._history.find(record) is None for record in records)

    def _between(
        self,
        source: Sequence[RawRecord],
        target: Sequence[RawRecord],
        source_next: Sequence[RawRecord],
        target_next: Sequence[RawRecord],
    ) -> None:
        """Judges what lies before the place at which both go on together."""
        is_gone_here = any(each.offset in self.source.gaps for each in (*source, *source_next))
        is_gone_there = any(each.offset in self.target.gaps for each in (*target, *target_next[:1]))
        for stretch in set_side_by_side([content_of(each) for each in source], [content_of(each) for each in target]):
            mine = source[stretch.source_from : stretch.source_to]
            theirs = target[stretch.target_from : stretch.target_to]
            if stretch.is_same:
                self._agree(mine, len(theirs))
                continue
            if not (is_gone_here or is_gone_there):
                self._judge(mine, theirs)
            elif not is_gone_here:
                self._judge((), theirs)
            elif not is_gone_there:
                self._judge(mine, ())
            self.source.take(len(mine))
            self.target.take(len(theirs))

    def _judge(self, source: Sequence[RawRecord], target: Sequence[RawRecord]) -> None:
        """Records in the same place, of which none is the same."""
        at_source = source[0].offset if source else self.source.next_offset
        at_target = target[0].offset if target else self.target.next_offset
        left = []
        for record in target:
            again = self._history.find(record)
            if again is None:
                left.append(record)
            else:
                self._findings.repeats(again, record)
        for number in range(max(len(source), len(left))):
            mine = source[number] if number < len(source) else None
            theirs = left[number] if number < len(left) else None
            if mine is not None and theirs is not None and _are_alike(mine, theirs):
                self._findings.differs(mine, theirs)
                continue
            if mine is not None:
                self._findings.misses(mine, at_target)
            if theirs is not None:
                self._findings.adds(theirs, at_source)

    def _judge_target(self, record: RawRecord, at_source: int) -> None:
        again = self._history.find(record)
        if again is None:
            self._findings.adds(record, at_source)
        else:
            self._findings.repeats(again, record)

    def _count(self) -> None:
        records = self.matched - self.amounts.records
        self.amounts += Amounts(records, self.source.take_bytes(), self.target.take_bytes(), 2 * records)


def apart(source: Stream, target: Stream) -> Finding:
    """Where the logs have nothing in common any more."""
    mine, theirs = source.ahead(1)[0], target.ahead(1)[0]
    note = f"and nothing of the {WINDOWS[-1]:,} records that follow fits: nothing behind it was compared"
    return Finding(DifferenceKind.DIFFERS, mine.offset, theirs.offset, mine, theirs, note)


def _same(one: Sequence[RawRecord], other: Sequence[RawRecord]) -> int:
    """How many records both begin with."""
    most = min(len(one), len(other))
    for number in range(most):
        mine, theirs = one[number], other[number]
        if mine.body != theirs.body or mine.timestamp_ms != theirs.timestamp_ms:
            return number
    return most


def _are_alike(one: RawRecord, other: RawRecord) -> bool:
    """Whether the one may have been made of the other: something that tells records apart is the same."""
    try:
        mine, theirs = take_apart(one), take_apart(other)
    except ValueError:
        return True
    return (
        one.timestamp_ms == other.timestamp_ms
        or (mine.key is not None and mine.key == theirs.key)
        or (bool(mine.value) and mine.value == theirs.value)
    )
