"""What a fault test copies: topics, a load on them while they are copied, and how the copy is judged.

::

    traffic = make_traffic(cell.pick(KINDS), source, target, partitions=6)
    copy = migration(source, target, traffic.topics, name=traffic.name)
    with traffic.load(compression="zstd") as load:
        …
        load.stop()
    copy.wait_in_sync()
    copy.stop()
    cell.note("records", traffic.judge(copy.evidence))

*Plain* traffic is one topic of plain records: every record must be there, in order and once. *Mixed* traffic is that of
`mixed_load`. There readers of both sides must see the same, with these exceptions. The trimmed topic's log start may
lag behind the source's; what lies between must be what was written there. Of a cleaned topic one side may show a record
that the other does not, if the other shows a later one with its key: replicas clean for themselves, the target never.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.content import Place
from tests.content.judging import Seen, Sides, compare, read_sides
from tests.fault.harness import Evidence, Witness
from tests.fault.load import Load, parse_id
from tests.fault.mixed_load import MixedLoad, create_mixed_topics
from tests.kafka_tools import create_topic

PLAIN, MIXED = KINDS = ("plain", "mixed")
_SHOWN = 5


class Traffic(ABC):
    """One kind of it; `options` of a load are those of `Load`."""

    name: str
    """That of the first topic, which no other test has."""
    topics: Sequence[str]

    @abstractmethod
    def load(self, **options: Any) -> Load:
        """Begins to write; the last load is the one that is judged."""

    @abstractmethod
    def judge(self, evidence: Evidence) -> int:
        """Fails unless the target is what it must be after the load; returns how many records were compared."""


def make_traffic(
    kind: str,
    source: EmbeddedCluster,
    target: EmbeddedCluster,
    *,
    partitions: int,
    replication: int = 1,
    age_seconds: int = 0,
) -> Traffic:
    """Creates topics of so many partitions together."""
    make = _PlainTraffic if kind == PLAIN else _MixedTraffic
    return make(source, target, partitions, replication, age_seconds)


class _PlainTraffic(Traffic):
    def __init__(
        self, source: EmbeddedCluster, target: EmbeddedCluster, partitions: int, replication: int, age_seconds: int
    ) -> None:
        self.name = create_topic(
            source.direct_bootstrap, partitions=partitions, replication=replication, config={"retention.ms": "-1"}
        )
        self.topics = (self.name,)
        self._source = source
        self._partitions = partitions
        self._age_seconds = age_seconds
        self._witness = Witness(source, target)
        self._last: Load | None = None

    def load(self, **options: Any) -> Load:
        self._last = Load(
            self._source.direct_bootstrap,
            self.topics,
            partitions=self._partitions,
            age_seconds=self._age_seconds,
            **options,
        )
        return self._last

    def judge(self, evidence: Evidence) -> int:
        assert self._last is not None, "there was no load"
        return self._witness.compare(self._last.stop(), evidence)


class _MixedTraffic(Traffic):
    def __init__(
        self, source: EmbeddedCluster, target: EmbeddedCluster, partitions: int, replication: int, age_seconds: int
    ) -> None:
        self._source = source
        self._target = target
        self._partitions = max(1, partitions // 3)
        self._age_seconds = age_seconds
        self._mixed = create_mixed_topics(
            source, partitions=self._partitions, replication=replication, age_seconds=age_seconds
        )
        self.topics = self._mixed
        self.name = self._mixed.kept
        self._last: MixedLoad | None = None

    def load(self, **options: Any) -> Load:
        self._last = MixedLoad(
            self._source,
            self._target,
            self._mixed,
            partitions=self._partitions,
            age_seconds=self._age_seconds,
            **options,
        )
        return self._last

    def judge(self, evidence: Evidence) -> int:
        assert self._last is not None, "there was no load"
        acknowledged, aborted = self._last.stop(), self._last.aborted
        assert any(aborted.values()), "no transaction was aborted"
        compared = 0
        for topic in self.topics:
            sides = read_sides(self._source, self._target, topic)
            written, undone = _by_place(acknowledged, topic), _by_place(aborted, topic)
            verdict = compare(topic, self._forgive(topic, sides, written))
            assert not verdict.differences, f"{topic}:\n{verdict}\n{evidence()}"
            assert verdict.gaps, f"{topic}: no gap was there to be copied"
            missing = _find_missing(sides, written, may_miss=topic == self._mixed.cleaned)
            assert not missing, f"{topic}: acknowledged, but not there: {missing[:_SHOWN]}\n{evidence()}"
            shown = sorted(undone.keys() & sides.everything.keys())
            assert not shown, f"{topic}: aborted, but visible: {shown[:_SHOWN]}\n{evidence()}"
            compared += len(verdict.seen)
        return compared

    def _forgive(self, topic: str, sides: Sides, written: Mapping[Place, int]) -> Sides:
        if topic == self._mixed.cleaned:
            return sides.without(find_superseded(sides.source, sides.target))
        if topic == self._mixed.trimmed:
            return forgive_late_trim(sides, written)
        return sides


def find_superseded(source: Mapping[Place, Seen], target: Mapping[Place, Seen]) -> set[Place]:
    """Where only one side shows a record, and the other a later one with the same key."""
    found: set[Place] = set()
    for here, there in ((source, target), (target, source)):
        last = {(place[0], seen.key): place[1] for place, seen in sorted(there.items())}
        found.update(
            place
            for place, seen in here.items()
            if place not in there and last.get((place[0], seen.key), -1) > place[1]
        )
    return found


def forgive_late_trim(sides: Sides, written: Mapping[Place, int]) -> Sides:
    """Leaves out what the target still shows below the source's log start, if it is what was written there."""
    below = {
        place
        for place, seen in sides.everything.items()
        if place[1] < sides.source_ends[place[0]].start and place in written and _holds(seen, written[place])
    }
    starts = {
        partition: ends._replace(start=max(ends.start, sides.source_ends[partition].start))
        for partition, ends in sides.target_ends.items()
    }
    return sides.without(below)._replace(target_ends=starts)


def _by_place(records: Mapping[tuple[str, int], Mapping[int, int]], topic: str) -> dict[Place, int]:
    """The ids of one topic by their places."""
    return {
        (partition, offset): record_id
        for (its_topic, partition), ids in records.items()
        if its_topic == topic
        for record_id, offset in ids.items()
    }


def _find_missing(sides: Sides, written: Mapping[Place, int], *, may_miss: bool) -> list[tuple[Place, int]]:
    """Records that were acknowledged, and that the target does not show at their places."""
    missing = []
    for place, record_id in written.items():
        seen = sides.target.get(place)
        if seen is None:
            lost = not may_miss and place[1] >= sides.target_ends[place[0]].start
        else:
            lost = not _holds(seen, record_id)
        if lost:
            missing.append((place, record_id))
    return missing


def _holds(seen: Seen, record_id: int) -> bool:
    return seen.value is not None and parse_id(seen.value) == record_id
