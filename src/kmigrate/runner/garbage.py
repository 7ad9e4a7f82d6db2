"""Keeps the search for cyclic garbage out of rounds over very many values.

A round over a hundred thousand commits makes as many values, almost all of which live on. The collector would walk
through all of them again and again, and find nothing. So it runs rarely meanwhile, leaves what is there afterwards
alone, and looks through everything now and then: what is garbage by then is kept no longer than that.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ALLOCATIONS = 200_000
"""How many values more may be made during a round before the youngest are looked through."""
EVERYTHING_SECONDS = 60.0


class RareCollection:
    """For one thread of a process; others share what it sets, and are none the worse for it."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._next = seconds() + EVERYTHING_SECONDS

    @contextmanager
    def during(self) -> Iterator[None]:
        """Around one round."""
        youngest, *older = gc.get_threshold()
        gc.set_threshold(ALLOCATIONS, *older)
        try:
            yield
        finally:
            gc.set_threshold(youngest, *older)
            if self._seconds() >= self._next:
                self._next = self._seconds() + EVERYTHING_SECONDS
                gc.unfreeze()
                gc.collect()
            gc.freeze()
