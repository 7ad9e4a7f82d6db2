"""The offset map of one partition: sorted runs of constant difference, read in both directions.

On the target the runs follow each other without a hole; on the source there is a gap before each. So a run is known by
its two beginnings, and ends where the next one begins on the target. Sixteen bytes a run: ten million fit into 160 MB.

An offset in a gap stands for the next record, and so translates to that record's place; the end translates to the end.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import NamedTuple

from kmigrate.kafka_types import Offset

RUN_BYTES = 16


class Run(NamedTuple):
    """A stretch of records: target = source − constant."""

    source: Offset
    target: Offset


class Cut(NamedTuple):
    """Runs beyond this source offset are void: nothing was copied of them."""

    source: Offset


Entry = Run | Cut
"""What makes a map, in order."""


class Ends(NamedTuple):
    """How far the copy has come on both sides: the first offset that is not copied, and its place."""

    source: Offset
    target: Offset


class OffsetMap:
    """The runs of one partition. Runs are added at the end; those that nothing was copied of are replaced or cut."""

    def __init__(self) -> None:
        self._sources = array("q")
        self._targets = array("q")

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Run]:
        return (Run(Offset(s), Offset(t)) for s, t in zip(self._sources, self._targets, strict=True))

    def add(self, run: Run) -> None:
        """Notes that records from `run.source` on lie from `run.target` on; raises ValueError if that cannot be.

        A run that begins where the last one does on the target takes its place: nothing was appended in between.
        A run with the last one's difference adds nothing.
        """
        if self._targets:
            source, target = self._sources[-1], self._targets[-1]
            if run.source < source or run.target < target or run.source - source < run.target - target:
                raise ValueError(f"{run} cannot follow {Run(Offset(source), Offset(target))}")
            if run.target == target:
                self._sources[-1] = run.source
                self._join_last()
                return
            if run.source - run.target == source - target:
                return
        elif run.source < 0 or run.target < 0:
            raise ValueError(f"{run} has a negative offset")
        self._sources.append(run.source)
        self._targets.append(run.target)

    def cut(self, source: Offset) -> None:
        """Drops the runs that begin beyond this source offset."""
        while self._sources and self._sources[-1] > source:
            self._sources.pop()
            self._targets.pop()

    def note(self, entry: Entry) -> None:
        """Adds a run, or cuts."""
        if isinstance(entry, Run):
            self.add(entry)
        else:
            self.cut(entry.source)

    def from_target(self, target: Offset, least: int) -> tuple[Run, ...]:
        """The runs from the one that holds this target offset on, and at least so many of the last ones."""
        first = max(0, min(bisect_right(self._targets, target) - 1, len(self) - least))
        pairs = zip(self._sources[first:], self._targets[first:], strict=True)
        return tuple(Run(Offset(source), Offset(at)) for source, at in pairs)

    def _join_last(self) -> None:
        """A replaced run may continue the one before it."""
        if len(self) > 1 and self._sources[-1] - self._sources[-2] == self._targets[-1] - self._targets[-2]:
            self._sources.pop()
            self._targets.pop()

    def to_target(self, offset: Offset, ends: Ends) -> Offset | None:
        """The place of the first record at or after `offset`; None below the first run, and beyond what is copied."""
        if offset > ends.source or not self._sources:
            return None
        if offset == ends.source:
            return ends.target
        at = bisect_right(self._sources, offset) - 1
        if at < 0:
            return None
        beyond = self._targets[at + 1] if at + 1 < len(self) else ends.target
        return Offset(min(self._targets[at] + offset - self._sources[at], beyond, ends.target))

    def to_source(self, offset: Offset, ends: Ends) -> Offset | None:
        """What lies at `offset` on the target; None below the first run, and beyond what is copied."""
        if offset > ends.target or not self._targets or offset < self._targets[0]:
            return None
        if offset == ends.target:
            return ends.source
        at = bisect_right(self._targets, offset) - 1
        return Offset(self._sources[at] + offset - self._targets[at])

    def to_bytes(self, first: int = 0) -> bytes:
        """The runs from number `first` on, for keeping: big-endian pairs of source and target beginnings."""
        pairs = array("q", bytes(RUN_BYTES * (len(self) - first)))
        pairs[::2], pairs[1::2] = self._sources[first:], self._targets[first:]
        return _big_endian(pairs).tobytes()

    def extend(self, kept: bytes) -> None:
        """Adds what `to_bytes` gave; raises ValueError if these bytes are no runs that can follow."""
        if len(kept) % RUN_BYTES:
            raise ValueError(f"{len(kept)} bytes are no runs of an offset map")
        pairs = _big_endian(array("q", kept))
        for mine, more in ((self._sources, pairs[::2]), (self._targets, pairs[1::2])):
            if any(after <= before for before, after in pairwise(chain(mine[-1:], more))):
                raise ValueError("the runs of an offset map do not rise")
        self._sources.extend(pairs[::2])
        self._targets.extend(pairs[1::2])


def _big_endian(numbers: array[int]) -> array[int]:
    swapped = array("q", numbers)
    if sys.byteorder == "little":
        swapped.byteswap()
    return swapped
