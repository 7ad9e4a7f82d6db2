"""Whether the two logs of a partition begin and end where they should, told by their offsets alone.  (pure)

A copy that is behind is no difference, nor is a target that still holds what the source has deleted: its log start
follows. A target that begins later than the source, or goes on where the source has nothing, is one.
"""

from __future__ import annotations

from typing import NamedTuple

from kmigrate.verify.differences import Difference, DifferenceKind
from kmigrate.verify.places import Places


class LogEnds(NamedTuple):
    """Where one log starts, truly ends, and how far it may be read by consumers, of all and of decided data."""

    start: int
    end: int
    high_watermark: int
    last_stable: int


class EndsVerdict(NamedTuple):
    """`behind` counts the source's readable offsets that are not copied."""

    behind: int
    difference: Difference | None


def compare_ends(source: LogEnds, target: LogEnds, places: Places, wanted_start: int) -> EndsVerdict:
    """`wanted_start` is the first offset of the source that is wanted, not below its log start.

    The target must have been looked at before the source: so the source cannot have moved on in between.
    """
    behind = max(0, source.last_stable - places.ends.source)
    first = places.target_of(wanted_start)
    if wanted_start < places.ends.source and first is not None and target.start > first:
        note = f"the target's log starts at {target.start}, the source's part that is wanted at {wanted_start}"
        return EndsVerdict(behind, Difference(DifferenceKind.MISSING, wanted_start, note=note))
    if places.ends.source > source.last_stable:
        note = f"the target goes on to {places.ends.target}, the source ends at {source.last_stable}"
        return EndsVerdict(behind, Difference(DifferenceKind.EXTRA, source.last_stable, note=note))
    return EndsVerdict(behind, None)
