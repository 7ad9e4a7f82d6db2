"""What log ends did while they were looked at: since when they stand still, whether they grow, how fast.  (pure)

Rule: a time is told only as far as it was seen: what nobody looked at counts as not known, and a log end that was not
told for a while stands still from the next look on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.schemes.facts import GROWS_SECONDS

RATE_SECONDS = 60.0
"""How far back rates look …"""
SHORTEST_SECONDS = 10.0
"""… and at least."""
ALIKE_SHARE = 0.05
ALIKE_RECORDS = 100
"""Rates are the same if they differ by no more than either."""
LAPSE_SECONDS = 15.0
"""A log end that was not told for longer than that may have moved, and come back."""


@dataclass(slots=True)
class _Seen:
    end: Offset
    since: float
    at: float


@dataclass(slots=True)
class History:
    """The log ends of one side."""

    _ends: dict[TopicPartition, _Seen] = field(default_factory=dict)
    _moved: dict[TopicPartition, float] = field(default_factory=dict)
    _began: float | None = None

    def look(self, ends: Mapping[TopicPartition, Offset], now: float) -> None:
        """Log ends as they are now; those that are missing are not known."""
        self._began = now if self._began is None else self._began
        for partition, end in ends.items():
            before = self._ends.get(partition)
            if before is None or now - before.at > LAPSE_SECONDS:
                self._ends[partition] = _Seen(end, now, now)
                continue
            before.at = now
            if end != before.end:
                if end > before.end:
                    self._moved[partition] = now
                before.end, before.since = end, now

    def still_since(self, partition: TopicPartition) -> float | None:
        """Since when its end is where it is; None if that was never seen."""
        seen = self._ends.get(partition)
        return None if seen is None else seen.since

    def growing(self, now: float) -> set[TopicPartition] | None:
        """The partitions that grew a moment ago; None before it was looked at for long enough."""
        if self._began is None or now - self._began < GROWS_SECONDS:
            return None
        return {partition for partition, at in self._moved.items() if now - at <= GROWS_SECONDS}


@dataclass(slots=True)
class Rates:
    """Sums of log ends of both sides, to compare how fast they grow."""

    _sums: deque[tuple[float, Mapping[Side, int]]] = field(default_factory=deque)

    def look(self, sums: Mapping[Side, int], now: float) -> None:
        """Both sums, as of one look; a sum that falls, or other partitions, begin anew."""
        if self._sums and any(sums[side] < self._sums[-1][1][side] for side in Side):
            self._sums.clear()
        self._sums.append((now, dict(sums)))
        while now - self._sums[0][0] > RATE_SECONDS:
            self._sums.popleft()

    def agree(self) -> bool | None:
        """Whether both sides grew by the same; None if that was not looked at for long enough."""
        if not self._sums or self._sums[-1][0] - self._sums[0][0] < SHORTEST_SECONDS:
            return None
        grown = {side: self._sums[-1][1][side] - self._sums[0][1][side] for side in Side}
        source, target = grown[Side.SOURCE], grown[Side.TARGET]
        return abs(source - target) <= max(ALIKE_RECORDS, ALIKE_SHARE * max(source, target))
