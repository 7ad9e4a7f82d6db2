"""How old batches were when they had arrived, counted by a pipeline.  (pure)

Rule: nothing for each record. A batch is one count in a histogram, which goes up with the next report, as what came
since the last one.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from kmigrate.kafka_types import TopicName

LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""The upper bounds of the histogram's buckets; one more bucket counts what is above the last."""
_BOUNDS_MS = tuple(bound * 1000 for bound in LATENCY_SECONDS)


class Latencies(NamedTuple):
    """How many batches fell into each bucket, and the sum of what was measured.

    Measured is a batch's newest timestamp, which the producer or the source's broker gave it, against the clock here
    when the target had acknowledged it; 0 where that clock is behind.
    """

    counts: tuple[int, ...] = (0,) * (len(LATENCY_SECONDS) + 1)
    sum_ms: int = 0

    def plus(self, more: Latencies) -> Latencies:
        counts = (mine + other for mine, other in zip(self.counts, more.counts, strict=True))
        return Latencies(tuple(counts), self.sum_ms + more.sum_ms)


TopicLatencies = tuple[tuple[TopicName, Latencies], ...]


def add_up(latencies: TopicLatencies) -> TopicLatencies:
    """The same, with each topic named once."""
    found: dict[TopicName, Latencies] = {}
    for topic, each in latencies:
        known = found.get(topic)
        found[topic] = each if known is None else known.plus(each)
    return tuple(found.items())


class Tally:
    """What one pipeline counted since it was last asked."""

    def __init__(self) -> None:
        self._counts: dict[TopicName, list[int]] = {}
        self._sums: dict[TopicName, int] = {}

    def arrived(self, topic: TopicName, age_ms: int) -> None:
        """A batch was acknowledged whose newest record is so old."""
        counts = self._counts.get(topic)
        if counts is None:
            counts = self._counts[topic] = [0] * (len(LATENCY_SECONDS) + 1)
            self._sums[topic] = 0
        if age_ms > 0:
            self._sums[topic] += age_ms
        counts[bisect_left(_BOUNDS_MS, age_ms)] += 1

    def take(self) -> TopicLatencies:
        """The latencies of each topic since the last time."""
        latencies = tuple((name, Latencies(tuple(each), self._sums[name])) for name, each in self._counts.items())
        self._counts.clear()
        self._sums.clear()
        return latencies
