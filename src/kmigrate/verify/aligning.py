"""Where two rows of records that went apart go on together again, and what lies in between.  (pure)"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from kmigrate.verify.streams import Content

RUN = 4
"""So many records in a row must be the same, before they count as going on together; fewer at the end of a log."""
_PLACES = 8
"""How many places of the same content are tried."""
_MOST_CELLS = 4_000_000
"""Up to how many pairs of records in between are set side by side."""


class Stretch(NamedTuple):
    """Records of both sides, from …, up to …: the same on both if `is_same`, else one without the other."""

    is_same: bool
    source_from: int
    source_to: int
    target_from: int
    target_to: int


def next_common(
    source: Sequence[Content], target: Sequence[Content], *, source_ends: bool, target_ends: bool
) -> tuple[int, int] | None:
    """The nearest places (source, target) at which both go on together; None if there are none in these rows."""
    places: dict[Content, list[int]] = {}
    for number, content in enumerate(target):
        known = places.setdefault(content, [])
        if len(known) < _PLACES:
            known.append(number)
    best: tuple[int, int] | None = None
    for one, content in enumerate(source):
        if best is not None and one >= sum(best):
            break
        for other in places.get(content, ()):
            if best is not None and one + other >= sum(best):
                break
            length = min(RUN, len(source) - one, len(target) - other)
            if length < RUN and not (
                (source_ends and length == len(source) - one) or (target_ends and length == len(target) - other)
            ):
                continue
            if source[one : one + length] == target[other : other + length]:
                best = one, other
                break
    return best


def set_side_by_side(source: Sequence[Content], target: Sequence[Content]) -> list[Stretch]:
    """What of two rows is the same, in order, and what is not."""
    if not source or not target or len(source) * len(target) > _MOST_CELLS:
        return [Stretch(False, 0, len(source), 0, len(target))] if source or target else []
    matcher = SequenceMatcher(None, source, target, autojunk=False)
    return [Stretch(tag == "equal", *places) for tag, *places in matcher.get_opcodes()]
