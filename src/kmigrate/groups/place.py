"""Where a commit of the source lies on the target, exactly, or why it cannot be committed there (yet).  (pure)

| The source's commit | On the target |
|---|---|
| a record's offset, one in a gap, the end | its place, the next record's, the end |
| above what is copied | nothing yet; what is there stays |
| below where the source's log starts | an offset below the target's log start; none where that is 0 |

Whoever begins below the log start is told so, and goes where its own reset policy says, as it would on the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kmigrate.groups.values import Copied, Outcome, OutcomeKind
from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass

ToTarget = Callable[[Offset], Offset | None]
"""The place of the first record at or after an offset, by a partition's offset map; None if it does not tell."""

BELOW = "below the log start: the client's reset policy decides, as on the source"


NOWHERE = Offset(-1)
"""No commit at all: whoever finds none goes where its reset policy says, too."""


def no_map(_offset: Offset) -> None:
    """The map of a partition of class *identical*: it needs none."""


class Placed(NamedTuple):
    """The exact translation, perhaps NOWHERE; `note` says what is special about it."""

    offset: Offset
    note: str = ""


def decide_place(offset: Offset, copied: Copied, to_target: ToTarget) -> Placed | Outcome:
    """Where the source's offset lies on the target, or what becomes of it instead."""
    offset_class, ends, start, _source_end, hold = copied
    if hold:
        return Outcome(OutcomeKind.WAITING, hold)
    if offset > ends.source:
        return Outcome(OutcomeKind.WAITING, _too_early(offset, copied))
    if offset_class is OffsetClass.IDENTICAL:
        return Placed(offset, BELOW) if offset < start else Placed(offset)
    if offset < start:
        return _below(offset, copied, to_target)
    place = _lookup(offset, copied, to_target)
    if place is None:
        return Outcome(OutcomeKind.WAITING, "its offset map does not tell where it lies")
    return Placed(place)


def _too_early(offset: Offset, copied: Copied) -> str:
    if copied.source_end <= copied.ends.source:
        return f"beyond the source's end: {offset} is committed, {copied.source_end} can be read"
    return f"waiting for the copy: {offset} is committed, {copied.ends.source} is copied"


def _lookup(offset: Offset, copied: Copied, to_target: ToTarget) -> Offset | None:
    if offset == copied.ends.source:
        return copied.ends.target
    place = to_target(offset)
    if place is None and copied.ends.target == 0:
        return Offset(0)  # nothing but gaps were read so far: the next record will be the first
    return place


def _below(offset: Offset, copied: Copied, to_target: ToTarget) -> Placed | Outcome:
    start = _lookup(min(copied.source_start, copied.ends.source), copied, to_target)
    if start is None:
        return Outcome(OutcomeKind.WAITING, "its offset map does not tell where it lies")
    if start == 0:
        return Placed(NOWHERE, f"{offset} is {BELOW}")
    place = to_target(offset)
    return Placed(Offset(start - 1 if place is None else min(place, start - 1)), BELOW)
