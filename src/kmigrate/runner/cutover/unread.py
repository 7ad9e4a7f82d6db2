"""Whether a group has left anything to read where its commit lies a little before the end.

Transaction markers and aborted records take up offsets that no consumer sees. Many clients commit the offset behind
the last record that they got, so that a log which ends with a marker is never committed to its end.

Rule: only what was read says that nothing is left: what cannot be read, or moves, counts as left. Below the last stable
offset nothing changes, so that each stretch is read once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from kmigrate.errors import ClusterError, UsageError
from kmigrate.kafka_types import Offset, TopicPartition
from kmigrate.preflight.bounds import Bounds, Unseen
from kmigrate.query import places
from kmigrate.query.conditions import Filter
from kmigrate.query.sides import ClusterSide
from kmigrate.query.walking import Notes, Walk

log = logging.getLogger(__name__)

MOST_OFFSETS = 1_000
"""What lies further before the end is not looked at: there are most likely records."""
MOST_LOOKS = 50
"""How many stretches are read at once at most; the rest has its turn at the next look."""

HasRecords = Callable[[TopicPartition, Offset, Offset], bool | None]
"""Whether a consumer sees a record in start ≤ offset < end; None if that is not known."""


class Unread:
    """What groups of one cluster have read; used by one thread."""

    def __init__(self, has_records: HasRecords) -> None:
        self._has_records = has_records
        self._known: dict[TopicPartition, dict[tuple[Offset, Offset], bool]] = {}
        self._left = MOST_LOOKS

    def begin(self) -> None:
        """A new look begins."""
        self._left = MOST_LOOKS

    def read_up_to(
        self,
        commits: Mapping[TopicPartition, Offset],
        ends: Mapping[TopicPartition, Bounds | Unseen],
        still: Collection[TopicPartition],
    ) -> dict[TopicPartition, Offset]:
        """The commits, moved on to the end where nothing is left before it; only in partitions that stand still."""
        found = dict(commits)
        for partition, commit in commits.items():
            bounds = ends.get(partition)
            if partition not in still or not isinstance(bounds, Bounds):
                continue
            start = max(commit, bounds.start)
            if 0 < bounds.last_stable - start <= MOST_OFFSETS and self._is_empty(partition, start, bounds.last_stable):
                found[partition] = bounds.last_stable
        return found

    def _is_empty(self, partition: TopicPartition, start: Offset, end: Offset) -> bool:
        known = self._known.setdefault(partition, {})
        if (start, end) in known:
            return known[start, end]
        if not self._left:
            return False
        self._left -= 1
        has_records = self._has_records(partition, start, end)
        if has_records is None:
            return False
        self._known[partition] = {each: told for each, told in known.items() if each[1] == end}
        self._known[partition][start, end] = not has_records
        return not has_records


def records_of(side: ClusterSide) -> HasRecords:
    """Looks for records that consumers see, with a side that reads what is committed."""

    def has_records(partition: TopicPartition, start: Offset, end: Offset) -> bool | None:
        notes = Notes()
        try:
            side.partitions([partition.topic])
            spans = {partition: places.Bounds(start, end)}
            walk = Walk(side, spans, Filter(), newest_first=False, limit=1, notes=notes)
            walk.run()
        except (ClusterError, UsageError, KeyError) as error:
            log.info("%s from %d on, on the %s: %s", partition, start, side.side, error)
            return None
        if walk.records:
            return True
        return None if list(notes) else False

    return has_records
