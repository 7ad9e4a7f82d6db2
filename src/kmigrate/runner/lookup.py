"""The lookup tells where offsets lie on the other side: it reads what the store has of classes and offset maps.

Rule: the ends of what is copied are asked first, then the map. A map is saved before anything is sent that needs it, so
what is saved then tells of everything that is copied; runs beyond the ends were written ahead and do not count.

The JSON of both documents is a contract, as the status document's. Reference: docs/offsets.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.copy.orders import Remembered
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.kafka_types import Offset, Partition, Side, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends
from kmigrate.offsets.translation import Place, Stretch, list_stretches, translate
from kmigrate.runner.status import PartitionStatus, StatusDocument
from kmigrate.state.store import RUNS_A_PIECE, Store

RUNS_A_PAGE = 128 * RUNS_A_PIECE
"""How many runs one answer holds at most: about 3 MB of JSON."""

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """One offset on both sides. `from_side` is the side of the offset that was asked about; the other's is null
    if there is none, and `reason` says why.

    `position` is how far the source is copied, `target_end` where that lies on the target, `source_start` the source's
    log start; null is not known. `place` is null where markers fill gaps, so that it cannot be told.
    """

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Translation"] = "Translation"
    topic: str
    partition: int
    offset_class: OffsetClass | None
    from_side: Side
    source_offset: int | None = None
    target_offset: int | None = None
    place: Place | None = None
    reason: str = ""
    source_start: int | None = None
    position: int | None = None
    target_end: int | None = None

    @property
    def name(self) -> str:
        return f"{self.topic}-{self.partition}"

    def to_value(self) -> dict[str, Any]:
        """The document as what JSON and YAML are made of."""
        value: dict[str, Any] = _translation().dump_python(self, mode="json", by_alias=True)
        return value

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _translation().dump_json(self, by_alias=True, indent=indent).decode()

    @classmethod
    def from_json(cls, text: str) -> Translation:
        """What `to_json` wrote."""
        return _translation().validate_json(text)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where to go on: at this run of this partition."""

    topic: str
    partition: int
    run: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRuns:
    """Runs of one partition, in order: beginning on the source, beginning on the target, number of offsets there."""

    topic: str
    partition: int
    offset_class: OffsetClass
    runs: tuple[tuple[int, int, int], ...]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """Some of all runs, in the order of topic and partition, and where to go on; null if that was all."""

    partitions: tuple[PartitionRuns, ...]
    next: Mark | None

    def to_json(self) -> str:
        """The page as JSON."""
        return _page().dump_json(self, by_alias=True).decode()

    @classmethod
    def from_json(cls, text: str) -> RunsPage:
        """What `to_json` wrote."""
        return _page().validate_json(text)


class _Copied(NamedTuple):
    """What is copied of a partition; `ends` is None if nothing is, or if nobody can tell."""

    offset_class: OffsetClass | None
    ends: Ends | None
    source_start: Offset | None


class Lookup:
    """Translates offsets, and lists the runs of offset maps. Many threads may use it."""

    def __init__(self, store: Store, status: Callable[[], StatusDocument | None]) -> None:
        self.store = store
        self._status = status

    def translate(self, topic: str, partition: int, offset: Offset, from_side: Side) -> Translation:
        """Where this offset of one side is on the other; raises UsageError if there is no such partition."""
        tp = TopicPartition(TopicName(topic), Partition(partition))
        copied = self._all_copied({topic}).get(tp)
        if copied is None:
            raise UsageError(
                f"the migration has no partition {tp}", hint="`kmigrate status -f FILE` shows what it copies"
            )
        found = self._find(tp, copied, offset, from_side)
        source, target = (offset, None) if from_side is Side.SOURCE else (None, offset)
        place, reason = None, ""
        if isinstance(found, str):
            reason = found
        else:
            source, target, place = found
        return Translation(
            topic=topic,
            partition=partition,
            offset_class=copied.offset_class,
            from_side=from_side,
            source_offset=source,
            target_offset=target,
            place=place,
            reason=reason,
            source_start=copied.source_start,
            position=None if copied.ends is None else copied.ends.source,
            target_end=None if copied.ends is None else copied.ends.target,
        )

    def runs(self, topic: str | None, start: Mark | None) -> RunsPage:
        """A page of the runs of all partitions, or of one topic's, from `start` on.

        Raises UsageError if there is no such topic, KmigrateError if what `start` names is gone: copied anew.
        """
        everything = self._all_copied(None if topic is None else {topic})
        if topic is not None and not everything:
            raise UsageError(
                f"the migration has no topic {topic!r}", hint="`kmigrate status -f FILE` shows what it copies"
            )
        room = RUNS_A_PAGE
        page: list[PartitionRuns] = []
        for tp, (offset_class, ends, source_start) in sorted(everything.items()):
            if (start is not None and tp < (start.topic, start.partition)) or offset_class is None or ends is None:
                continue
            if room <= 0:
                return RunsPage(partitions=tuple(page), next=_mark(tp, 0))
            first = start.run if start is not None and tp == (start.topic, start.partition) else 0
            if not offset_class.needs_map:
                runs, goes_on = _one_run(ends, source_start), False
            else:
                runs, goes_on = self._read_runs(tp, ends, first, max(1, room // RUNS_A_PIECE))
            if runs:
                page.append(
                    PartitionRuns(topic=tp.topic, partition=tp.partition, offset_class=offset_class, runs=tuple(runs))
                )
            if goes_on:
                return RunsPage(partitions=tuple(page), next=_mark(tp, first + len(runs)))
            room -= len(runs)
        return RunsPage(partitions=tuple(page), next=None)

    def all_runs(self, topic: str | None) -> Iterator[PartitionRuns]:
        """The runs of all partitions, or of one topic's, page by page."""
        start: Mark | None = None
        while True:
            page = self.runs(topic, start)
            yield from page.partitions
            if page.next is None:
                return
            start = page.next

    def _read_runs(self, tp: TopicPartition, ends: Ends, first: int, pieces: int) -> tuple[list[Stretch], bool]:
        """Runs from number `first` on, and whether there are more."""
        kept = self.store.offset_runs_from(tp, first, pieces)
        if first and not len(kept):
            raise KmigrateError(f"{tp} was copied anew while its runs were read", hint="begin again")
        runs = list(islice(list_stretches(kept, ends), pieces * RUNS_A_PIECE))
        return runs, len(kept) > len(runs) > 0 and runs[-1].target + runs[-1].length < ends.target

    def _find(
        self, tp: TopicPartition, copied: _Copied, offset: Offset, from_side: Side
    ) -> tuple[Offset, Offset, Place | None] | str:
        """Both offsets and what they stand for, or why there are none."""
        offset_class, ends, log_start = copied
        if offset_class is None or ends is None:
            return f"nothing of {tp} is known to be copied yet"
        told = f"{tp}@{offset} on the {from_side}"
        end = ends.source if from_side is Side.SOURCE else ends.target
        if offset > end:
            return f"{told} is beyond what is copied: {_how_far(ends)}"
        if from_side is Side.SOURCE and log_start is not None and offset < log_start:
            return f"{told} is below {log_start}, where its copied part begins; {_how_far(ends)}"
        runs = self.store.offset_runs_near(tp, offset, from_side)
        if offset_class.needs_map and not len(runs):
            return f"no offset map of {tp} is kept here: it is {offset_class.value}, and only its map could tell"
        found = translate(runs, offset_class, ends, offset, from_side, log_start)
        if found is None:
            return f"{told} is below the first record that was copied; {_how_far(ends)}"
        if log_start is not None and found.source < log_start:
            return f"{told} is {found.source} on the source, whose copied part begins at {log_start}; {_how_far(ends)}"
        return found

    def _all_copied(self, topics: set[str] | None) -> dict[TopicPartition, _Copied]:
        """What is copied of every partition, or of those of some topics."""
        document = self._status()
        told = {
            TopicPartition(TopicName(each.topic), Partition(each.partition)): each
            for each in (document.partitions if document is not None else ())
        }
        classes, memories = self.store.offset_classes(), self.store.remembered()
        return {
            tp: self._copied(tp, told.get(tp), classes.get(tp), memories.get(tp))
            for tp in told.keys() | classes.keys() | memories.keys()
            if topics is None or tp.topic in topics
        }

    def _copied(
        self,
        tp: TopicPartition,
        told: PartitionStatus | None,
        offset_class: OffsetClass | None,
        memory: Remembered | None,
    ) -> _Copied:
        """The last status tells, or the memory where it knows of more: the owner may have been killed in between.

        A partition that was begun before classes were decided is *identical*.
        """
        source_start = None if told is None or told.source_start is None else Offset(told.source_start)
        if offset_class is None:
            if memory is None:
                return _Copied(None, None, source_start)
            offset_class = OffsetClass.IDENTICAL
        ends = None
        if told is not None and told.position is not None and told.target_end is not None:
            ends = Ends(Offset(told.position), Offset(told.target_end))
        if memory is not None and (ends is None or memory.appended > ends.target):
            ends = self._ends_at(tp, offset_class, memory.appended) or ends
        return _Copied(offset_class, ends, source_start)

    def _ends_at(self, tp: TopicPartition, offset_class: OffsetClass, target_end: Offset) -> Ends | None:
        """The ends, by the one on the target; None if the map does not tell."""
        if not offset_class.needs_map:
            return Ends(target_end, target_end)
        runs = self.store.offset_runs_near(tp, target_end, Side.TARGET).from_target(target_end, 1)
        if not runs or runs[0].target > target_end:
            return None
        return Ends(Offset(runs[0].source + target_end - runs[0].target), target_end)


def _how_far(ends: Ends) -> str:
    return f"the copy has come to {ends.source} on the source, which is {ends.target} on the target"


def _one_run(ends: Ends, source_start: Offset | None) -> list[Stretch]:
    begins = Offset(source_start or 0)
    return [Stretch(begins, begins, ends.source - begins)] if ends.source > begins else []


def _mark(tp: TopicPartition, run: int) -> Mark:
    return Mark(topic=tp.topic, partition=tp.partition, run=run)


@cache
def _translation() -> TypeAdapter[Translation]:
    return TypeAdapter(Translation)


@cache
def _page() -> TypeAdapter[RunsPage]:
    return TypeAdapter(RunsPage)
