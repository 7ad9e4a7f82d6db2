"""Where an offset of one side lies on the other, in whatever class its partition is.  (pure)"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import NamedTuple

from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run


class Place(enum.Enum):
    """What an offset stands for, where that can be told."""

    RECORD = "record"
    """A record has it, as far as the offset map tells."""
    GAP = "gap"
    """No record was copied there; it stands for the next one."""
    END = "end"
    """The end of what is copied: the next record will lie there."""


class Translated(NamedTuple):
    """An offset on both sides. `place` is None where markers fill gaps: then nobody can tell."""

    source: Offset
    target: Offset
    place: Place | None


class Stretch(NamedTuple):
    """A run and how many offsets it has: up to the next run on the target, or to the end of what is copied."""

    source: Offset
    target: Offset
    length: int


def list_stretches(runs: OffsetMap, ends: Ends) -> Iterator[Stretch]:
    """The runs that something was copied of; those written ahead are left out."""
    for run, after in pairwise(chain(runs, (Run(*ends),))):
        length = min(after.target, ends.target) - run.target
        if length > 0:
            yield Stretch(run.source, run.target, length)


def translate(
    runs: OffsetMap, offset_class: OffsetClass, ends: Ends, offset: Offset, start: Side, log_start: Offset | None
) -> Translated | None:
    """`offset` of the side `start` on both sides; None below what was copied, and beyond it.

    `runs` are the whole map, or what of it is near the offset; class *identical* needs none. `log_start` is the
    source's: from there to the first run nothing was left out but a gap.
    """
    if not offset_class.needs_map:
        return Translated(offset, offset, _end(offset, ends.source)) if offset <= ends.source else None
    if start is Side.TARGET:
        source = runs.to_source(offset, ends)
        return None if source is None else Translated(source, offset, _place(offset_class, offset, ends.target))
    first = next(iter(runs), None)
    if first is not None and log_start is not None and log_start <= offset < first.source:
        target = runs.to_target(min(first.source, ends.source), ends)
    else:
        target = runs.to_target(offset, ends)
    if target is None:
        return None
    in_gap = offset_class is OffsetClass.MAPPED and runs.to_source(target, ends) != offset
    return Translated(offset, target, Place.GAP if in_gap else _place(offset_class, offset, ends.source))


def _place(offset_class: OffsetClass, offset: Offset, end: Offset) -> Place | None:
    if offset_class is OffsetClass.MAPPED:
        return Place.END if offset == end else Place.RECORD
    return _end(offset, end)


def _end(offset: Offset, end: Offset) -> Place | None:
    return Place.END if offset == end else None
