"""The shell of `message query`: both sides are gone through, what is found is paired, and missing twins are looked up.

Rule: what was found so far can be shown at any moment; what could not be read is told.

Times: a record's own timestamp decides. Where to begin is asked of each side's time index, which may only answer too
early. Where to end is asked of the source alone: on the target, markers carry the time of copying.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kmigrate.kafka_types import Offset, Side, TopicPartition
from kmigrate.query.conditions import Filter
from kmigrate.query.pairing import Outcome, PlacesOf, Row, compare, in_order, pair_up
from kmigrate.query.places import Bounds
from kmigrate.query.side_by_side import side_by_side
from kmigrate.query.sides import ClusterSide
from kmigrate.query.walking import Notes, Progress, Walk, read_places

UNTIL_NOTE = "--until ends a partition at its first record as new; where times do not rise, older ones lie behind it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for, and in which order; `offset` is where to begin, on the side `offset_of`."""

    wanted: Filter
    newest_first: bool
    limit: int
    offset: Offset | None = None
    offset_of: Side = Side.SOURCE


class Search:
    """One query; `run` goes through it, `rows` is what is known at any moment."""

    def __init__(
        self,
        question: Question,
        sides: Sequence[ClusterSide],
        partitions: Mapping[Side, Sequence[TopicPartition]],
        places_of: PlacesOf,
        tell: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self.notes = Notes()
        self._question = question
        self._readers = sides
        self._sides = {side.side: side for side in sides}
        self._partitions = partitions
        self._places_of = places_of
        self._tell = tell
        self._bounds: dict[Side, dict[TopicPartition, Bounds]] = {}
        self._walks: dict[Side, Walk] = {}
        self._rows: list[Row] | None = None

    def run(self) -> None:
        """Goes through both sides; raises ClusterError where a partition cannot be read at all."""
        self._bounds |= side_by_side(self._readers, lambda reader: reader.bounds(self._partitions[reader.side]))
        spans = self._spans()
        for side, reader in self._sides.items():
            walk = self._walks[side] = Walk(
                reader,
                spans[side],
                self._question.wanted,
                newest_first=self._question.newest_first,
                limit=self._question.limit,
                notes=self.notes,
            )
            walk.run(self._tell)
        rows = self.rows
        self._rows = rows
        if len(self._sides) > 1:
            self._look_up(rows)

    @property
    def scanned_bytes(self) -> int:
        """Unpacked bytes that were searched so far, on both sides."""
        return sum(walk.scanned_bytes for walk in self._walks.values())

    @property
    def rows(self) -> list[Row]:
        """What was found so far, in order."""
        if self._rows is not None:
            return self._rows
        found = {side: self._walks[side].records if side in self._walks else [] for side in Side}
        question = self._question
        paired = pair_up(found[Side.SOURCE], found[Side.TARGET], self._places_of)
        return in_order(paired, newest_first=question.newest_first, limit=question.limit)

    def _spans(self) -> dict[Side, dict[TopicPartition, Bounds]]:
        """Which offsets of each side are gone through."""
        spans = {side: dict(bounds) for side, bounds in self._bounds.items()}
        question = self._question
        if question.offset is not None:
            for side, mine in spans.items():
                for each, (start, end) in mine.items():
                    spans[side][each] = Bounds(self._offset_on(side, each, question.offset, start, end), end)
        if (since := question.wanted.since_ms) is not None:
            answers = side_by_side(self._readers, lambda reader: reader.offsets_at(spans[reader.side], since))
            for side, mine in spans.items():
                for each, answer in answers[side].items():
                    start, end = mine[each]
                    mine[each] = Bounds(max(start, answer.offset) if answer.offset >= 0 else end, end)
        if (until := question.wanted.until_ms) is not None and Side.SOURCE in spans:
            for each, answer in self._sides[Side.SOURCE].offsets_at(spans[Side.SOURCE], until).items():
                if answer.offset < 0:
                    continue
                for side, mine in spans.items():
                    place = self._places_of(each).on(side, answer.offset) if each in mine else None
                    if place is not None and place < mine[each].end:
                        mine[each] = Bounds(mine[each].start, place)
                        self.notes.add(UNTIL_NOTE)
        return spans

    def _offset_on(self, side: Side, partition: TopicPartition, offset: Offset, start: Offset, end: Offset) -> Offset:
        """Where to begin on this side; what is not there is told, once, for the side that was meant."""
        if side is self._question.offset_of:
            if offset < start:
                self.notes.add(f"{partition}@{offset} on the {side} is below its log start {start}: begins there")
            elif offset >= end:
                self.notes.add(f"{partition}@{offset} on the {side} is not below its end {end}: nothing is there yet")
            return max(start, offset)
        place = self._places_of(partition).other(offset, self._question.offset_of)
        return end if place is None else max(start, place)

    def _look_up(self, rows: list[Row]) -> None:
        """Looks at the places whose record was found on one side only."""
        for side in self._sides:
            asked: dict[TopicPartition, dict[Offset, int]] = {}
            for number, row in enumerate(rows):
                if row.outcome is not Outcome.UNKNOWN or row.side is side:
                    continue
                place = row.target_offset if side is Side.TARGET else row.source_offset
                bounds = self._bounds[side].get(row.partition)
                absent = Outcome.SOURCE_ONLY if side is Side.TARGET else Outcome.TARGET_ONLY
                if side is Side.TARGET and (place is None or bounds is None or place >= bounds.end):
                    absent = Outcome.NOT_COPIED
                elif place is not None and bounds is not None and bounds.start <= place < bounds.end:
                    asked.setdefault(row.partition, {})[place] = number
                rows[number] = replace(row, outcome=absent)
            for partition, numbers in asked.items():
                for record in read_places(self._sides[side], partition, sorted(numbers)):
                    number = numbers[record.offset]
                    mine = rows[number].record
                    pair = (record, mine) if side is Side.SOURCE else (mine, record)
                    rows[number] = compare(*pair, rows[number])
