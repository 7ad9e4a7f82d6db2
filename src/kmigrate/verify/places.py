"""Which offset of the target belongs to which of the source, in every offset class.  (pure)

Everything is compared in the source's offsets: on the target the runs of a map follow each other without a hole, so
each offset there has exactly one on the source. An offset of the source may have none.
"""

from __future__ import annotations

from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap


class Places:
    """Translates the offsets of one partition, up to `ends`: how far it is copied."""

    def __init__(self, offset_class: OffsetClass, runs: OffsetMap, ends: Ends) -> None:
        """`runs` is the whole map; a class without one needs none."""
        self.ends = ends
        self._runs = runs if offset_class.needs_map else None

    @property
    def are_equal(self) -> bool:
        """Whether offsets are the same on both sides."""
        return self._runs is None

    def source_of(self, target: int) -> int | None:
        """What lies at this offset of the target; None below the first run, and beyond what is copied."""
        if self._runs is None:
            return target
        return self._runs.to_source(Offset(target), self.ends)

    def target_of(self, source: int) -> int | None:
        """Where the first record at or after this offset of the source lies; None below what was copied, and beyond.

        Below the first run nothing was left out but a gap.
        """
        if self._runs is None:
            return source
        found = self._runs.to_target(Offset(source), self.ends)
        if found is not None:
            return found
        first = next(iter(self._runs), None)
        return first.target if first is not None and source < first.source else None

    def difference_over(self, first: int, after: int) -> int | None:
        """Source minus target, where it is the same for all offsets of the target from `first` up to `after`."""
        if self._runs is None:
            return 0
        one, last = self.source_of(first), self.source_of(after - 1)
        if one is None or last is None or last - one != after - 1 - first:
            return None
        return one - first
