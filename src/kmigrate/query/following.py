"""The shell of `message tail`: the newest records of both sides, and then whatever arrives, as it arrives.

Rule: a side that cannot be reached for a while is waited for, and told of once; the other goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.reader import whole_batches
from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.errors import ClusterError, ConnectionLost, Unreachable
from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.query.batches import BatchReader
from kmigrate.query.conditions import Filter
from kmigrate.query.contents import FoundRecord
from kmigrate.query.sides import ClusterSide
from kmigrate.query.walking import LOOKED_UP_BYTES, Notes, Walk
from kmigrate.wire.error_codes import ErrorCode

_AGAIN_SECONDS = 1.0


class Arrived(NamedTuple):
    """A record and the side that it is on."""

    side: Side
    record: FoundRecord


class Following:
    """Follows partitions of one or both sides."""

    def __init__(
        self,
        sides: Sequence[ClusterSide],
        partitions: Mapping[Side, Sequence[TopicPartition]],
        wanted: Filter,
        tell: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.notes = Notes()
        self._sides = sides
        self._partitions = partitions
        self._wanted = wanted
        self._tell = tell
        self._sleep = sleep
        self._at: dict[Side, dict[TopicPartition, Offset]] = {}
        self._lost: set[Side] = set()

    def newest(self, count: int) -> list[Arrived]:
        """The newest records of each side so far, in the order of their timestamps."""
        found: list[Arrived] = []
        for side in self._sides:
            bounds = side.bounds(self._partitions[side.side])
            self._at[side.side] = {each: end for each, (_, end) in bounds.items()}
            if count:
                walk = Walk(side, bounds, self._wanted, newest_first=True, limit=count, notes=self.notes)
                walk.run()
                found += (Arrived(side.side, record) for record in walk.records)
        return sorted(found, key=lambda each: (each.record.timestamp_ms, each.record.partition, each.record.offset))

    def follow(self) -> Iterator[Arrived]:
        """Everything behind `newest`, for ever."""
        while True:
            for side in self._sides:
                yield from self._read(side)
            if len(self._lost) == len(self._sides):
                self._sleep(_AGAIN_SECONDS)

    def _read(self, side: ClusterSide) -> Iterator[Arrived]:
        at = self._at[side.side]
        try:
            answers = side.fetch_some(at, LOOKED_UP_BYTES)
        except (Unreachable, ConnectionLost) as error:
            if side.side not in self._lost:
                self._lost.add(side.side)
                self._tell(f"{error}: waiting for it")
            side.look_again(list(at))
            return
        if side.side in self._lost:
            self._lost.discard(side.side)
            self._tell(f"the {side.side} cluster answers again")
        for answer in answers:
            if not answer.error:
                yield from self._show(side.side, answer.partition, answer.records, answer.aborted)
            elif answer.error == ErrorCode.OFFSET_OUT_OF_RANGE:
                self._begin_anew(side, answer.partition)
            elif not side.has_moved(answer.partition, answer.error):
                raise side.refusal(answer.partition, answer.error, at[answer.partition])
        self._at[side.side] = {each: at[each] for each in [*list(at)[1:], *list(at)[:1]]}  # another one comes first

    def _show(
        self, side: Side, partition: TopicPartition, records: memoryview, aborted: Sequence[tuple[int, int]]
    ) -> Iterator[Arrived]:
        at = self._at[side]
        offset = at[partition]
        batches, is_damaged = whole_batches(records)
        reader = BatchReader(partition, self._wanted, offset, 1 << 62, at=offset)
        reader.show(batches, AbortedTransactions(aborted).covers)
        for each in reader.unreadable:
            self._tell(f"{partition}@{each.offset} on the {side} cannot be read: {each.reason}")
        if is_damaged and not batches:
            raise ClusterError(f"{partition}@{offset} begins something that is no record batch", side=side)
        at[partition] = Offset(reader.next_offset)
        yield from (Arrived(side, record) for record in reader.found)

    def _begin_anew(self, side: ClusterSide, partition: TopicPartition) -> None:
        """The log was trimmed past us, or is another one."""
        before = self._at[side.side][partition]
        start, end = side.bounds([partition])[partition]
        now = start if before < start else end
        self._tell(f"{partition}@{before} on the {side.side} is not there any more: goes on at {now}")
        self._at[side.side][partition] = now
