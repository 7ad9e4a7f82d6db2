"""The ledger of a partition whose offsets differ between source and target: the law under the saved map.

Whatever lands on the target is held against the source at the offset that the *saved* map names, at that very moment:
what a crash leaves is explained by nothing else. Where records truly came from is kept too, and every later state of
the saved map must still say the same of all of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from kmigrate.kafka_types import Offset, Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Ends, OffsetMap, Run
from kmigrate.offsets.translation import Place as Standing
from kmigrate.offsets.translation import translate
from tests.simulation.batches import StoredBatch, StoredRecord, decode
from tests.simulation.ledger import BrokenLawError, Ledger, Origin, is_control
from tests.simulation.log import PartitionLog

RECENT = 200
"""How many of the last records are looked up again whenever the map is saved."""


class MapLedger(Ledger):
    """The history of one source partition, and what the saved map says of its copy."""

    def __init__(self) -> None:
        super().__init__()
        self.offset_class = OffsetClass.IDENTICAL
        self.runs: list[Run] = []
        self._landed: dict[int, int] = {}
        """Records and markers on the target, and the source offsets that they stood for when they landed."""
        self._filled_to = 0
        """Below this offset of the target an earlier class filled gaps with markers."""

    # ── the saved map ─────────────────────────────────────────────────────────────────────────────────────────

    def on_source(self, offset: int) -> int:
        """Read from the runs by itself, without the map's own code."""
        if not self.offset_class.needs_map:
            return offset
        at = bisect_right(self.runs, offset, key=lambda run: run.target) - 1
        if at < 0:
            raise BrokenLawError(f"the saved map does not tell what offset {offset} of the target stands for")
        return self.runs[at].source + offset - self.runs[at].target

    def saved(self, runs: Sequence[Run], target: PartitionLog) -> None:
        """The map was saved so; of everything that lies on the target it must say what it said before."""
        self.runs = list(runs)
        for offset, source in self._landed_in(target, max(target.log_start, target.end - RECENT)):
            if self.on_source(offset) != source:
                raise BrokenLawError(
                    f"the saved map says that offset {offset} of the target is {self.on_source(offset)} of the source,"
                    f" but that is {source}"
                )
        self.check_end(target)

    def check_end(self, target: PartitionLog) -> None:
        """The saved map tells where copying goes on: behind the last record, with nothing left out between."""
        if not (self.offset_class.needs_map and target.end):
            return
        after = self._landed[target.end - 1] + 1 if target.end - 1 in self._landed else None
        goes_on = self.on_source(target.end)
        if after is not None and (goes_on < after or self.holds_between(after, goes_on)):
            raise BrokenLawError(
                f"by the saved map copying goes on at {goes_on}, but the target ends behind {after - 1} of the source"
            )

    def _landed_in(self, target: PartitionLog, start: int) -> list[tuple[int, int]]:
        return [(at, self._landed[at]) for at in range(start, target.end) if at in self._landed]

    # ── what lands on the target ──────────────────────────────────────────────────────────────────────────────

    def misplaced(self, batches: Sequence[StoredBatch]) -> str | None:
        stored = batches[-1]
        if is_control(stored) and not self.offset_class.fills_gaps:
            return f"a marker landed at {stored.base}, where gaps are left out"
        why = super().misplaced(batches)
        for offset in range(stored.base, stored.next):
            self._landed.pop(offset, None)
            if why is None and self.offset_class.needs_map:
                self._landed[offset] = self.on_source(offset)
        return why

    def is_next(self, origin: Origin, batches: Sequence[StoredBatch]) -> bool:
        """Only at the same offsets can bytes tell by themselves."""
        return not self.offset_class.needs_map and super().is_next(origin, batches)

    def becomes(self, offset_class: OffsetClass, runs: Sequence[Run], target: PartitionLog) -> None:
        """An operator chose another class: what was copied before stays where it lies."""
        if not self.offset_class.needs_map:
            self._landed = {offset: offset for offset in range(target.log_start, target.end)}
        self.offset_class = offset_class
        self._filled_to = target.end
        self.saved(runs, target)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def agree(self, source: PartitionLog, target: PartitionLog, start: int = 0) -> bool:
        if not self.offset_class.needs_map:
            return super().agree(source, target, start)
        if not self.agree_by_record(source, target, start):
            return False
        self.saved(self.runs, target)
        self._check_translations(source, target, start)
        return True

    def _check_translations(self, source: PartitionLog, target: PartitionLog, start: int) -> None:
        """What the product's own translation says of every offset of both sides, the map being what is saved."""
        kept = OffsetMap()
        for run in self.runs:
            kept.add(run)
        ends = Ends(source.last_stable_offset, Offset(target.end))
        if list(kept) != self.runs:
            raise BrokenLawError(f"the saved map is not what adding its runs gives: {self.runs}")
        places = self._places_on_source(target)
        first = Offset(max(source.log_start, start))
        for at, offset in places:
            back = translate(kept, self.offset_class, ends, Offset(at), Side.TARGET, first)
            if back is None or (back.source, back.target) != (offset, at):
                raise BrokenLawError(f"offset {at} of the target is {offset} of the source, not {back}")
        held = [offset for _, offset in places]
        for offset in range(held[0] if held else ends.source, ends.source + 1):
            self._check_forth(kept, ends, offset, places[bisect_left(held, offset) :], first)

    def _check_forth(
        self, kept: OffsetMap, ends: Ends, offset: int, following: Sequence[tuple[int, int]], first: Offset
    ) -> None:
        """A record's offset translates to its place, a gap's to that of the next record, the end to the end."""
        found = translate(kept, self.offset_class, ends, Offset(offset), Side.SOURCE, first)
        at, of = following[0] if following else (ends.target, ends.source)
        filled = self._place_among_markers(offset)
        if filled is not None:
            at, of = filled, offset
        wanted = Standing.END if offset == ends.source else Standing.RECORD if of == offset else Standing.GAP
        if found is None or found.target != at:
            raise BrokenLawError(f"offset {offset} of the source translates to {found}, not to {at}")
        if self.offset_class is OffsetClass.MAPPED and found.place is not wanted:
            raise BrokenLawError(f"offset {offset} of the source is told to be {found.place}, not {wanted}")

    def _place_among_markers(self, offset: int) -> int | None:
        """Where an offset lies if its gaps were filled; there it tells nothing of records."""
        run = next((run for run in reversed(self.runs) if run.source <= offset), None)
        at = -1 if run is None else offset - run.source + run.target
        return at if at >= 0 and (self.offset_class.fills_gaps or at < self._filled_to) else None

    def _places_on_source(self, target: PartitionLog) -> list[tuple[int, int]]:
        """(target, source) of every record on the target, found by what is in it."""
        found: list[tuple[int, int]] = []
        for stored in target.batches:
            for record in [] if is_control(stored) else decode(stored.data):
                if record.offset >= target.log_start:
                    found.append((record.offset, self._offset_of(record)))
        return found

    def _offset_of(self, record: StoredRecord) -> int:
        """Of several equal records that which the map names, if it is one of them."""
        offsets = {place.offset for place in self.find(record)}
        named = self.on_source(record.offset)
        if not offsets:
            raise BrokenLawError(f"offset {record.offset} of the target holds what the source never held")
        return named if named in offsets else min(offsets)
