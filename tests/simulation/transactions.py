"""What a partition's leader knows of the transactions in its log.

Sources: ProducerStateManager (which are open, which are decided but not replicated), TransactionIndex (the aborted).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.simulation.batches import CONTROL, TRANSACTIONAL, StoredBatch, read_marker


class Aborted(NamedTuple):
    """An aborted transaction: from its first batch to its marker."""

    producer_id: int
    first: int
    last: int

    def holds(self, stored: StoredBatch) -> bool:
        """Whether the records of a transactional batch are among the aborted ones."""
        return stored.producer_id == self.producer_id and self.first <= stored.base < self.last


class Transactions:
    """Follows the transactional and control batches of one log.

    `open` are the first offsets by producer id, `decided` the (first offset, marker's offset) in the markers' order.
    """

    def __init__(self, batches: Iterable[StoredBatch] = ()) -> None:
        self.open: dict[int, int] = {}
        self.decided: list[tuple[int, int]] = []
        self.aborted: list[Aborted] = []
        for stored in batches:
            self.follow(stored)

    def follow(self, stored: StoredBatch) -> None:
        """The next batch of the log; what is not of a transaction changes nothing."""
        if stored.producer_id < 0 or not (attributes := stored.data[22]) & TRANSACTIONAL:
            return
        if not attributes & CONTROL:
            self.open.setdefault(stored.producer_id, stored.base)
            return
        marker = read_marker(stored.data)
        first = self.open.pop(stored.producer_id, None) if marker is not None else None
        if marker is None or first is None:
            return  # a marker without records moves nothing
        self.decided.append((first, stored.base))
        if not marker.committed:
            self.aborted.append(Aborted(stored.producer_id, first, stored.base))

    def first_unstable(self, high_watermark: int) -> int | None:
        """The first offset that is undecided, or whose decision is not replicated; None if there is none."""
        unstable = list(self.open.values())
        for first, marker in reversed(self.decided):
            if marker < high_watermark:
                break
            unstable.append(first)
        return min(unstable, default=None)

    def aborted_between(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """(producer id, first offset) of the aborted transactions that reach into a stretch of the log."""
        return tuple((each.producer_id, each.first) for each in self.aborted if each.last >= start and each.first < end)

    def is_aborted(self, stored: StoredBatch) -> bool:
        """Whether a batch's records were aborted."""
        transactional = stored.producer_id >= 0 and stored.data[22] & (TRANSACTIONAL | CONTROL) == TRANSACTIONAL
        return transactional and any(each.holds(stored) for each in self.aborted)
