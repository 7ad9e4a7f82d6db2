"""How many records both sides have in each stretch of time.  (pure)

Buckets begin narrow and are made wider together when they become too many, so that memory is limited whatever the
timestamps are: at most MOST_BUCKETS, and a little more while records are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

WIDTHS_MS = (60_000, 3_600_000, 86_400_000, 30 * 86_400_000, 10_000 * 86_400_000, 1 << 64)
"""Each a multiple of the one before, but for the last two, which hold what is no time at all."""
MOST_BUCKETS = 4_096


class Bucket(NamedTuple):
    """Records with timestamps from `start_ms` on, up to the width of a bucket later, on both sides."""

    start_ms: int
    source: int
    target: int


class Buckets:
    """Counts of one partition."""

    def __init__(self) -> None:
        self.width_ms = WIDTHS_MS[0]
        self._source: dict[int, int] = {}
        self._target: dict[int, int] = {}

    def add(self, source: Iterable[int], target: Iterable[int]) -> None:
        """Counts records by their timestamps in milliseconds."""
        for counts, timestamps in ((self._source, source), (self._target, target)):
            width = self.width_ms
            for timestamp_ms in timestamps:
                number = timestamp_ms // width
                counts[number] = counts.get(number, 0) + 1
        if len(self._source) > MOST_BUCKETS or len(self._target) > MOST_BUCKETS:
            self._widen()

    def _widen(self) -> None:
        while len(self._source) > MOST_BUCKETS or len(self._target) > MOST_BUCKETS:
            before, self.width_ms = self.width_ms, next(each for each in WIDTHS_MS if each > self.width_ms)
            self._source = _wider(self._source, before, self.width_ms)
            self._target = _wider(self._target, before, self.width_ms)

    @property
    def all(self) -> list[Bucket]:
        """Every bucket that has a record on either side, in the order of time."""
        numbers = sorted(self._source.keys() | self._target.keys())
        width = self.width_ms
        return [Bucket(each * width, self._source.get(each, 0), self._target.get(each, 0)) for each in numbers]


def _wider(counts: Mapping[int, int], before_ms: int, width_ms: int) -> dict[int, int]:
    wider: dict[int, int] = {}
    for number, count in counts.items():
        place = number * before_ms // width_ms
        wider[place] = wider.get(place, 0) + count
    return wider
