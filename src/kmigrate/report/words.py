"""Times, ranges and lists of names as a report has them.  (pure)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TypeVar

UNKNOWN = "not known"
MOST_NAMES = 8
"""How many names are listed before only the first and the last are."""
MOST_STRETCHES = 12
FOLDED_FROM = 3
"""How many in a row must be the same to be one row."""

T = TypeVar("T")


def show_time(at_ms: int | None) -> str:
    """A moment, in UTC; one that no calendar has as its number."""
    if at_ms is None:
        return UNKNOWN
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"


def show_times(times: Iterable[int | None]) -> str:
    """The first and the last of moments."""
    known = [each for each in times if each is not None]
    if not known:
        return UNKNOWN
    first, last = show_time(min(known)), show_time(max(known))
    return first if first == last else f"{first} to {last}"


def show_number(number: int | None) -> str:
    """1,234."""
    return UNKNOWN if number is None else f"{number:,}"


def show_offset(offset: int | None) -> str:
    """An offset, so that it can be pasted."""
    return UNKNOWN if offset is None else str(offset)


def show_span(offsets: Iterable[int | None]) -> str:
    """The lowest and the highest of offsets, and whether some are not known."""
    found = list(offsets)
    known = [each for each in found if each is not None]
    if not known:
        return UNKNOWN
    low, high = min(known), max(known)
    told = str(low) if low == high else f"{low} to {high}"
    return told if len(known) == len(found) else f"{told}; {UNKNOWN} of {len(found) - len(known):,}"


def show_range(start: int | None, end: int | None) -> str:
    """From an offset to another one, which does not belong to it."""
    return "no offset" if start is None or end is None else f"{start} to {end}"


def show_ranges(numbers: Iterable[int]) -> str:
    """0-2, 5 of 0, 1, 2, 5; of many stretches the first and the last."""
    shown: list[str] = []
    for _, group in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        stretch = [number for _, number in group]
        shown.append(str(stretch[0]) if len(stretch) == 1 else f"{stretch[0]}-{stretch[-1]}")
    if len(shown) > MOST_STRETCHES:
        return f"{', '.join(shown[: MOST_STRETCHES - 1])} … {shown[-1]}"
    return ", ".join(shown)


def show_names(names: Sequence[str]) -> str:
    """Names, or of many of them the first, the last, and how many there are."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_NAMES - 2])} … {names[-1]} ({len(names):,} in all)"


def fold_alike(rows: Iterable[T], key: Callable[[T], object]) -> Iterator[list[T]]:
    """Neighbours that are alike, together where there are at least FOLDED_FROM of them, else one by one."""
    for _, group in groupby(rows, key=key):
        found = list(group)
        if len(found) >= FOLDED_FROM:
            yield found
        else:
            yield from ([each] for each in found)
