"""Whether tombstones of a compacted source partition may be gone before they were read.  (pure)

The cleaner keeps a tombstone for `delete.retention.ms` after it may first be cleaned, and nothing below that can be
cleaned above the last stable offset. A reader that holds the record before it and comes later than that never learns
that the key was deleted. So a partition keeps the time *as of which* everything was read and appended, `even_ms`:
nothing that was written before it is missing. What was written later is certainly still there until
`even_ms + retention_ms`.

Which moment counts is always the one on the safe side. A source end counts as of the time when the request was *sent*
whose answer told it: the broker looked later. Records count as read when their answer was *taken up*: the broker read
them earlier. Bytes that were taken up in time stay so, however late they are sent. An answer of a fetch session that
leaves a partition out says that nothing was written until its request was sent; not where an open transaction holds
records back, whose end need not be told at once.

`retention_ms` is the shortest retention that was in force since `even_ms`: what was removed under a short one does not
come back with a longer one. Times are those of this machine's wall clock.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

from kmigrate.copy.orders import UNKNOWN_TIME_MS, PartitionOrder

TOLD_SHARE = 10
"""While nothing is written the time is told anew when it is older than this part of the retention."""


CLOCKS_DIFFER_MS = 10_000
"""A time that lies further ahead than clocks of two machines should was told by a wrong one: it counts as unknown."""
MARKS = 50
"""So many source ends are remembered over one retention: a copy that falls behind is judged by how far it is behind."""


class _Mark(NamedTuple):
    """The source's end when a request was sent, and the retention in force since."""

    end: int
    at_ms: int
    retention_ms: int | None


class Tombstones:
    """The time as of which everything of one partition was read and appended, and the retention since."""

    def __init__(self, order: PartitionOrder) -> None:
        memory = order.remembered
        self.even_ms = UNKNOWN_TIME_MS if memory is None else memory.even_ms
        self.retention_ms = None if memory is None else memory.retention_ms
        self._in_force: int | None = None
        self._copies_nothing_yet = False
        self._marks: deque[_Mark] = deque()
        self._told_ms = UNKNOWN_TIME_MS
        self.on_order(order)

    def on_order(self, order: PartitionOrder) -> None:
        """Adopts the retention that is in force now, and from when on the time counts at the earliest."""
        self._in_force = order.delete_retention_ms
        self._marks = deque(
            mark._replace(retention_ms=_shorter(mark.retention_ms, self._in_force)) for mark in self._marks
        )
        was_free = self.retention_ms is None  # since the time as of which all is there, nothing was removed
        if order.even_from_ms > self.even_ms:
            self.even_ms, self.retention_ms = order.even_from_ms, self._in_force
        elif was_free and order.free_from_ms > self.even_ms:
            self.even_ms, self.retention_ms = order.free_from_ms, self._in_force
        else:
            self.retention_ms = _shorter(self.retention_ms, self._in_force)

    def begin(self, *, target_is_empty: bool) -> None:
        """Copying goes on. Where the target holds nothing, no key can rise from the dead: the next request counts."""
        self._marks.clear()
        self._copies_nothing_yet = target_is_empty

    def on_fetched(self, *, position: int, fetch_offset: int, end: int, asked_ms: int, taken_up_ms: int) -> str:
        """An answer told the source's end; returns the evidence if what lies before it may lack tombstones, else "".

        Everything below `position` is appended, everything below `fetch_offset` was read before.
        """
        if self._copies_nothing_yet:
            self._copies_nothing_yet = False
            self.even_ms, self.retention_ms = asked_ms, self._in_force
        while self._marks and self._marks[0].end <= position:
            mark = self._marks.popleft()
            self._advance(mark.at_ms, mark.retention_ms)
        if end <= position:
            self._set(asked_ms)
        elif end > fetch_offset and self._is_too_late(taken_up_ms):
            return self._evidence(fetch_offset, end, taken_up_ms)
        elif not self._marks or self._is_time_for_another(asked_ms):
            self._marks.append(_Mark(end, asked_ms, self._in_force))
        return ""

    def _is_time_for_another(self, asked_ms: int) -> bool:
        retention_ms = self._in_force
        return retention_ms is not None and asked_ms - self._marks[-1].at_ms >= max(1, retention_ms // MARKS)

    def on_silence(self, asked_ms: int) -> bool:
        """Nothing was written until the time of this request; returns whether that should be remembered soon."""
        if asked_ms != UNKNOWN_TIME_MS:
            self._set(asked_ms)
        if self._in_force is None or self.even_ms - self._told_ms <= self._in_force // TOLD_SHARE:
            return False
        self._told_ms = self.even_ms
        return True

    def _set(self, level_ms: int) -> None:
        """Nothing is missing as of now: that is true whatever a clock that was ahead said before."""
        self.even_ms, self.retention_ms = level_ms, self._in_force

    def _advance(self, to_ms: int, retention_ms: int | None) -> None:
        if to_ms > self.even_ms:
            self.even_ms, self.retention_ms = to_ms, retention_ms

    def _is_too_late(self, taken_up_ms: int) -> bool:
        if self.retention_ms is None:
            return False
        age_ms = taken_up_ms - self.even_ms
        is_from_the_future = age_ms < -max(CLOCKS_DIFFER_MS, self.retention_ms // TOLD_SHARE)
        return self.even_ms == UNKNOWN_TIME_MS or is_from_the_future or age_ms > self.retention_ms

    def _evidence(self, fetch_offset: int, end: int, taken_up_ms: int) -> str:
        retention = f"delete.retention.ms is {self.retention_ms}"
        if self._in_force != self.retention_ms:
            retention = f"delete.retention.ms was {self.retention_ms} meanwhile"
        removed = f"tombstones at offsets {fetch_offset} to {end - 1} may have been removed before they were read"
        if self.even_ms == UNKNOWN_TIME_MS or self.even_ms > taken_up_ms:
            return f"it is not known as of when everything was read, and {retention}: {removed}"
        late = f"{(taken_up_ms - self.even_ms) / 1000:,.1f} s ago"
        return f"everything was read as of {_show(self.even_ms)}, {late}, and {retention}: {removed}"


def _shorter(one: int | None, other: int | None) -> int | None:
    """The shorter of two retentions; None: nothing is removed."""
    return other if one is None else one if other is None else min(one, other)


def _show(wall_ms: int) -> str:
    return f"{datetime.fromtimestamp(wall_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
