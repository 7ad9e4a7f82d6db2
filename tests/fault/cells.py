"""A fault test is a row of cells: the same story at other moments, with other victims.

::

    @cells(long=30, sample=3)
    def test_a_killed_copier_repeats_nothing(cell: Cell, …) -> None:
        victim = cell.pick(["owner", "worker", "both"])      # by the cell's number: neighbours differ
        time.sleep(cell.chance.uniform(0, 5))                # by the seed and the cell
        cell.note("resumed_after_seconds", 1.2)              # kept by `python -m tests.long`

`pytest` runs `sample` neighbours that the seed chooses, `python -m tests.long` runs all of them. A cell does the same
in both as long as the seed is the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

CELLS_VARIABLE = "KMIGRATE_CELLS"
"""Set to `all`, every cell is run; otherwise a sample."""

ALONE = "alone"
"""The mark of tests whose cells `python -m tests.long` runs one at a time: load would change what they show."""

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., Any])


def cells(*, long: int, sample: int) -> Callable[[Test], Test]:
    """Marks a test that takes a `cell`: how many there are, and how many of them a quick run takes."""
    return pytest.mark.cells(long=long, sample=sample)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a test's row."""

    test: str
    number: int
    whole_row: bool
    """Whether all cells are run: then there is time to be strict about time."""
    chance: random.Random
    _note: Callable[[str, object], None] = field(repr=False)

    def pick(self, choices: Sequence[T]) -> T:
        """The choice whose turn it is: neighbouring cells get neighbouring choices."""
        return choices[self.number % len(choices)]

    def note(self, name: str, value: object) -> None:
        """Keeps a figure with the cell's result."""
        self._note(name, value)


def make_cell(seed: int, test: str, number: int, note: Callable[[str, object], None]) -> Cell:
    """The cell of a test; everything it does by chance follows from the seed and its place."""
    chance = random.Random(f"{seed}/{test}/{number}")
    return Cell(test=test, number=number, whole_row=_is_whole_row(), chance=chance, _note=note)


def choose_numbers(seed: int, test: str, *, long: int, sample: int) -> list[int]:
    """Which cells are run: all, or a sample of neighbours."""
    if _is_whole_row():
        return list(range(long))
    first = random.Random(f"{seed}/{test}").randrange(long)
    return sorted((first + step) % long for step in range(min(sample, long)))


def _is_whole_row() -> bool:
    return os.environ.get(CELLS_VARIABLE) == "all"
