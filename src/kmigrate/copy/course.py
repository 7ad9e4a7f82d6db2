"""Where on the target the records of one partition go, and what must be saved before they are sent.  (pure)

target = source + shift. Class *identical* has shift 0 for ever and nothing to save. In the others the offset map tells,
and it is written ahead: an entry is made when the records behind it are read, goes up to the owner with every report
until the owner says that it is saved, and only then may these records be sent. So after a crash at any point the map
tells which source offset the target's end stands for. Runs that were written ahead for nothing are cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Cut, Entry, Run

KEPT_OFFSETS = 64
"""Runs are kept so far back from what the target acknowledged: the last records are compared after a doubt."""
IDENTITY = (Run(Offset(0), Offset(0)),)


class Place(NamedTuple):
    """The source offset that an end of the target's log stands for, and the run of the last records before it.

    `shift` is that run's target − source, `begins` where it begins on the target.
    """

    source: Offset
    shift: int
    begins: Offset


def locate(runs: Sequence[Run], target_end: Offset) -> Place | None:
    """What an end of the target's log stands for; None if the map does not tell."""
    run = next((run for run in reversed(runs) if run.target <= target_end), None)
    if run is None:
        return None
    source = Offset(run.source + target_end - run.target)
    last = next((run for run in reversed(runs) if run.target < target_end), run)
    return Place(source, last.target - last.source, last.target)


class Course:
    """The frontier's shift, and the map's entries that are not saved yet."""

    def __init__(self, offset_class: OffsetClass, runs: Sequence[Run]) -> None:
        self.offset_class = offset_class
        self.shift = 0
        self.made = 0
        """Entries made so far."""
        self.saved = 0
        """Of these, how many the owner has saved."""
        self.unsaved: deque[Entry] = deque()
        self._runs = deque(runs if offset_class.needs_map else IDENTITY)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The map's end: from a little before what the target acknowledged."""
        return tuple(self._runs)

    def begin(self, source: Offset, target: Offset) -> None:
        """Copying goes on here."""
        if not self._runs:
            self._make(Run(source, target))
        self.return_to(source, target)
        while len(self._runs) > 1 and self._runs[1].target <= target - KEPT_OFFSETS:
            self._runs.popleft()

    def return_to(self, source: int, target: int) -> None:
        """What was read beyond this is dropped, and will be read again.

        A run that was replaced meanwhile counts again: what was sent under it may still arrive.
        """
        self.shift = target - source
        if self._runs and self._runs[-1].source > source:
            self._make(Cut(Offset(source)))
            last = self._runs[-1] if self._runs else None
            if last is None or last.target - last.source != target - source:
                self._make(Run(Offset(source), Offset(target)))

    def is_ahead_of(self, source: int) -> bool:
        """Whether runs beyond this source offset were written ahead: records may have been sent under them."""
        return bool(self._runs) and self._runs[-1].source > source

    def skip(self, source: int, to: int) -> None:
        """The offsets from `source` up to `to` are left out."""
        self.shift -= to - source
        self._make(Run(Offset(to), Offset(to + self.shift)))

    def on_saved(self, number: int, floor: Offset) -> None:
        """So many entries are saved; the target acknowledged everything below `floor`."""
        while self.saved < number and self.unsaved:
            self.unsaved.popleft()
            self.saved += 1
        while len(self._runs) > 1 and self._runs[1].target <= floor - KEPT_OFFSETS:
            self._runs.popleft()

    def _make(self, entry: Entry) -> None:
        self.unsaved.append(entry)
        self.made += 1
        while self._runs and self._is_void(self._runs[-1], entry):
            self._runs.pop()
        if isinstance(entry, Run):
            self._runs.append(entry)

    @staticmethod
    def _is_void(run: Run, entry: Entry) -> bool:
        return run.target == entry.target if isinstance(entry, Run) else run.source > entry.source
