"""Where a record of one side lies on the other, asked for as seldom as possible.  (pure)

In class *identical* nothing is asked, in class *shifted* once. In class *mapped* the difference between source and
target offset never shrinks, as gaps are only ever left out: where two known records have the same one, so has all that
lies between.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import NamedTuple

from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends


class Pair(NamedTuple):
    """An offset on both sides; `is_record`: a record of the source lies at just this place on the target."""

    source: Offset
    target: Offset
    is_record: bool


class Bounds(NamedTuple):
    """Where a partition's log begins, and where what may be read of it ends."""

    start: Offset
    end: Offset


Ask = Callable[[Offset, Side], Pair | None]
"""Both offsets of one that is of this side; None if nothing that is copied lies there."""


class Places:
    """One partition's offsets on both sides."""

    def __init__(self, offset_class: OffsetClass, ask: Ask, ends: Ends | None = None) -> None:
        """`ends` is how far the copy has come, as far as it is recorded; None where that is not needed."""
        self.offset_class = offset_class
        self.ends = ends
        self._ask = ask
        self._shift: int | None = 0 if offset_class is OffsetClass.IDENTICAL else None
        if offset_class is OffsetClass.SHIFTED and ends is not None:
            self._shift = ends.source - ends.target
        self._known: dict[Side, list[tuple[int, int]]] = {side: [] for side in Side}
        """(offset, source − target) of records, by the offset on this side."""

    def other(self, offset: Offset, side: Side) -> Offset | None:
        """The place on the other side of a record of this side; None if nothing that is copied lies there."""
        difference = self._shift if self._shift is not None else self._between(offset, side)
        if difference is None:
            pair = self._ask(offset, side)
            if pair is None:
                return None
            if self.offset_class is OffsetClass.SHIFTED and pair.is_record:
                self._shift = pair.source - pair.target
            elif pair.is_record:
                insort(self._known[Side.SOURCE], (pair.source, pair.source - pair.target))
                insort(self._known[Side.TARGET], (pair.target, pair.source - pair.target))
            return pair.target if side is Side.SOURCE else pair.source
        other = offset - difference if side is Side.SOURCE else offset + difference
        return Offset(other) if other >= 0 else None

    def source_of(self, offset: Offset, side: Side) -> Offset | None:
        """The same as an offset of the source, whichever side it is of."""
        return offset if side is Side.SOURCE else self.other(offset, side)

    def on(self, side: Side, source: Offset) -> Offset | None:
        """Where a source offset is on this side."""
        return source if side is Side.SOURCE else self.other(source, Side.SOURCE)

    def copied(self, target_end: Offset) -> Ends | None:
        """Both ends of what can be compared of a log that ends so on the target; None if nothing is known of it.

        What was appended after the map was asked for is left to the next time.
        """
        if self._shift is None and self.ends is not None and target_end >= self.ends.target:
            return self.ends
        source = self.other(target_end, Side.TARGET)
        return None if source is None else Ends(source, target_end)

    def _between(self, offset: Offset, side: Side) -> int | None:
        """The difference that the known records on both sides of an offset have in common."""
        known = self._known[side]
        at = bisect_left(known, (offset,))
        if at < len(known) and known[at][0] == offset:
            return known[at][1]
        if 0 < at < len(known) and known[at - 1][1] == known[at][1]:
            return known[at][1]
        return None


def assumed_identical() -> Places:
    """The places of a partition of which nothing is recorded."""
    return Places(OffsetClass.IDENTICAL, lambda _offset, _side: None)
