"""A figure is a median with its spread; two figures are compared round by round.  (pure)

The machine is noisy and shared with the brokers. So nothing is compared but what ran in turns in one run, and no
figure stands without the lowest and the highest round beside it.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some rounds, the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError if there are no values."""
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(statistics.median(values), min(values), max(values))


class Compare(enum.Enum):
    """How ours and theirs are compared: a ratio where both do the same work, a difference where ours comes on top."""

    NOT = "not"
    RATIO = "ratio"
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure should be: at most, or at least, a limit; `words` are shown where the number says too little."""

    limit: float
    at_most: bool = True
    words: str = ""

    def reached(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.words or show_number(self.limit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a case's table: a value per round for us and, where there is one, for the other.

    The goal is about the comparison if there is one, else about our own figure.
    """

    label: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    compare: Compare = Compare.NOT
    goal: Goal | None = None

    def compared(self) -> tuple[float, ...]:
        """Ours against theirs, round by round; empty if they are not compared."""
        pairs = list(zip(self.ours, self.theirs, strict=False))
        match self.compare:
            case Compare.NOT:
                return ()
            case Compare.RATIO:
                return tuple(ratio(ours, theirs) for ours, theirs in pairs)
            case Compare.DIFFERENCE:
                return tuple(ours - theirs for ours, theirs in pairs)

    def judged(self) -> tuple[float, ...]:
        """The values that the goal is about."""
        return self.ours if self.compare is Compare.NOT else self.compared()

    def verdict(self) -> str:
        """`reached`, `not reached`, or nothing where there is no goal; the median decides."""
        if self.goal is None:
            return ""
        values = self.judged()
        if not values:
            return "not measured"
        return "reached" if self.goal.reached(Spread.of(values).median) else "not reached"


def ratio(ours: float, theirs: float) -> float:
    """Ours as a multiple of theirs; infinite where theirs is 0."""
    return ours / theirs if theirs else float("inf")


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    if not sorted_values:
        raise ValueError("a percentile needs at least one value")
    rank = -int(-share * len(sorted_values) // 1)  # rounded up
    return sorted_values[min(max(rank, 1), len(sorted_values)) - 1]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the straight line that fits (x, y) best; 0 where there are not two different x."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def stands_still(rates: Sequence[float], within: float = 0.10) -> bool:
    """Whether the last two rates differ by less than the given share of the larger one."""
    if len(rates) < 2:
        return False
    low, high = sorted(rates[-2:])
    return high - low < within * high


def show_number(value: float) -> str:
    """Three digits that matter, thousands separated: 0.123, 4.57, 66.6, 138,512."""
    if value == float("inf"):
        return "∞"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
