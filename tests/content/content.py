"""What a maker of content leaves behind: a topic, and what a reader of committed data must see of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

Place: TypeAlias = tuple[int, int]
"""Partition and offset."""


class Content(NamedTuple):
    """A topic and the places of its visible records: all there are, on the source and on an exact copy."""

    topic: str
    visible: frozenset[Place]

    def plus(self, places: Iterable[Place]) -> Content:
        """The same topic when more of its records are visible."""
        return self._replace(visible=self.visible | frozenset(places))
