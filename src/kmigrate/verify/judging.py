"""What is made of what both sides show of the same offsets: equal, different, or excused; counted and folded.  (pure)

A judge is given stretches in the order of their offsets. A stretch that differs leaves it as it was, so that it can be
read again and judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from kmigrate.records.record import RawRecord
from kmigrate.verify.buckets import Buckets
from kmigrate.verify.compacted import Excuses
from kmigrate.verify.differences import Difference, DifferenceKind, difference_at, first_unequal
from kmigrate.verify.digest import Fold

HIDDEN_NOTE = "the source has a control batch or aborted data there"


class Hidden(Protocol):
    """Where one side has something that no consumer sees."""

    def __contains__(self, offset: object, /) -> bool: ...


class Judge(Protocol):
    """What a walk asks of both sides' records."""

    @property
    def wants_records(self) -> bool:
        """Whether also batches that are the same bytes are to be taken apart."""

    def agree(self, records: Sequence[RawRecord]) -> None:
        """Both sides have these records."""

    def compare(self, source: Sequence[RawRecord], target: Sequence[RawRecord], hidden: Hidden) -> Difference | None:
        """What both sides have of a stretch; `hidden` is where the source has what no consumer sees."""


class Records:
    """Every record of the one side is on the other.

    `excuses` are for a topic that is compacted: then a record that the source's cleaner took is no difference, nor, if
    `target_cleans`, one that the target's took. `fold` makes a digest of what the source has.
    """

    def __init__(
        self, *, excuses: Excuses | None = None, target_cleans: bool = False, fold: Fold | None = None
    ) -> None:
        self.excuses = excuses
        self.fold = fold
        self._target_cleans = target_cleans

    @property
    def wants_records(self) -> bool:
        return self.fold is not None or bool(self.excuses)

    def agree(self, records: Sequence[RawRecord]) -> None:
        if self.fold is not None:
            self.fold.add(records)
        if self.excuses:
            self.excuses.see(records)

    def compare(self, source: Sequence[RawRecord], target: Sequence[RawRecord], hidden: Hidden) -> Difference | None:
        difference = self._compare(source, target, hidden)
        if difference is None and self.fold is not None:
            self.fold.add(source)
        return difference

    def _compare(self, source: Sequence[RawRecord], target: Sequence[RawRecord], hidden: Hidden) -> Difference | None:
        same = first_unequal(source, target)
        if same is None:
            if self.excuses:
                self.excuses.see(source)
            return None
        mine, theirs = islice(source, same, None), islice(target, same, None)
        if self.excuses:
            self.excuses.see(islice(source, same))
        one, other = next(mine, None), next(theirs, None)
        while one is not None or other is not None:
            if one is not None and one == other:
                if self.excuses:
                    self.excuses.see((one,))
                one, other = next(mine, None), next(theirs, None)
                continue
            found = difference_at(one, other)
            if found.kind is DifferenceKind.EXTRA and found.offset in hidden:
                return found._replace(note=HIDDEN_NOTE)
            if not self._is_excused(found):
                return found
            if found.kind is DifferenceKind.MISSING:
                one = next(mine, None)
            else:
                other = next(theirs, None)
        return None

    def _is_excused(self, found: Difference) -> bool:
        if self.excuses is None or found.kind is DifferenceKind.DIFFERS:
            return False
        if found.kind is DifferenceKind.EXTRA:
            assert found.target is not None, "an extra record is the target's"
            return self.excuses.excuse(found.target, on_source=False)
        assert found.source is not None, "a missing record is the source's"
        return self._target_cleans and self.excuses.excuse(found.source, on_source=True)


class Counts:
    """How many records of which time both sides have; what is in them is not compared."""

    def __init__(self) -> None:
        self.buckets = Buckets()

    @property
    def wants_records(self) -> bool:
        return True

    def agree(self, records: Sequence[RawRecord]) -> None:
        times = [record.timestamp_ms for record in records]
        self.buckets.add(times, times)

    def compare(self, source: Sequence[RawRecord], target: Sequence[RawRecord], hidden: Hidden) -> Difference | None:
        self.buckets.add([each.timestamp_ms for each in source], [each.timestamp_ms for each in target])
        return None
