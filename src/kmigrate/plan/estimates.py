"""What a backlog costs, as far as samples and sizes tell.  (pure)

Rates are assumptions, measured on one machine and rounded down; a plan names them. Sources: what one broker core
appended (2 to 2.5 million filler offsets a second, 100,000 markers in 4 s), bench/results for copying.
"""

from __future__ import annotations

from dataclasses import dataclass

from kmigrate.plan.facts import PartitionFacts

FILLER_PER_SECOND = 2_000_000
"""Offsets a second that one target broker appends."""
MARKERS_PER_SECOND = 25_000
"""The same for markers."""
COPY_BYTES_PER_SECOND = 100_000_000
"""What one worker is assumed to copy a second."""


def estimate_markers(facts: PartitionFacts) -> int | None:
    """Offsets of the backlog without a visible record; None if nothing of it was sampled.

    Exact where the samples cover the backlog. Else each place stands for its stretch, and what was not looked at is
    taken to be like the rest.
    """
    if facts.backlog == 0:
        return 0
    stretches = facts.census.stretches if facts.census is not None else ()
    represented = sum(stretch.stands_for for stretch in stretches)
    if represented == 0:
        return None
    if is_exact(facts):
        return sum(stretch.offsets - stretch.records for stretch in stretches)
    gaps = sum((1 - stretch.records / stretch.offsets) * stretch.stands_for for stretch in stretches)
    return min(facts.backlog, round(gaps * max(1.0, facts.backlog / represented)))


def is_exact(facts: PartitionFacts) -> bool:
    """Whether the samples cover the whole backlog."""
    return facts.backlog == 0 or (facts.census is not None and facts.census.offsets >= facts.backlog)


def estimate_bytes(facts: PartitionFacts) -> int | None:
    """Bytes of the backlog: from the size on disk, else from samples; None if neither is known."""
    if facts.backlog == 0:
        return 0
    kept = facts.end - facts.start
    if facts.size_bytes is not None and kept > 0:
        return min(facts.size_bytes, facts.size_bytes * facts.backlog // kept)
    stretches = facts.census.stretches if facts.census is not None else ()
    represented = sum(stretch.stands_for for stretch in stretches)
    if represented == 0:
        return None
    sampled = sum(stretch.size_bytes / stretch.offsets * stretch.stands_for for stretch in stretches)
    return round(sampled * max(1.0, facts.backlog / represented))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is assumed to go through in a second, all brokers and workers together."""

    filler: int
    markers: int
    copied_bytes: int

    @classmethod
    def of(cls, *, target_brokers: int, workers: int, limit: int | None) -> Rates:
        """`limit` is the manifest's limits.bytesPerSecond."""
        brokers = max(1, target_brokers)
        copied = workers * COPY_BYTES_PER_SECOND
        return cls(
            filler=brokers * FILLER_PER_SECOND,
            markers=brokers * MARKERS_PER_SECOND,
            copied_bytes=copied if limit is None else min(copied, limit),
        )
