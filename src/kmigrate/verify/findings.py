"""What differs between two logs that are compared in order, told apart as well as can be.  (pure)

A record that one side only has may come later on the other: then neither is missing nor additional, but out of order.
Of a compacted topic, one side only has what the other's cleaner took: that is excused if a later record of the same key
is on both sides, or if it is a tombstone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from kmigrate.records.record import RawRecord
from kmigrate.verify.differences import DifferenceKind, key_and_tombstone
from kmigrate.verify.streams import content_of

MOST_SHOWN = 20
"""Of one partition; all are counted."""
MOST_OPEN = 100_000
"""How many that one side only has are kept in mind, in case the other has them later, or a later one of their key."""


class Finding(NamedTuple):
    """One difference; `source_offset` and `target_offset` are where it is on both sides, or would be.

    REPEATED: the target has at `target_offset` once more what the source has at `source_offset`.
    """

    kind: DifferenceKind
    source_offset: int
    target_offset: int
    source: RawRecord | None = None
    target: RawRecord | None = None
    note: str = ""


class _Open(NamedTuple):
    """A record that one side only has so far."""

    number: int
    finding: Finding


class Findings:
    """All differences of one partition: the first ones as they are, and how many there are of each kind."""

    def __init__(self, *, is_compacted: bool) -> None:
        self.excused = 0
        """Records that a cleaner took on one side."""
        self._is_compacted = is_compacted
        self._shown: dict[int, Finding] = {}
        self._kinds: Counter[DifferenceKind] = Counter()
        self._number = 0
        self._missing: dict[int, _Open] = {}
        self._extra: dict[int, _Open] = {}
        self._waiting: dict[bytes, list[tuple[int, DifferenceKind]]] = {}

    @property
    def counts(self) -> dict[DifferenceKind, int]:
        """How many there are of each kind."""
        return {kind: count for kind in DifferenceKind if (count := self._kinds[kind])}

    @property
    def shown(self) -> list[Finding]:
        """The first ones, in the order in which they were found."""
        return [self._shown[number] for number in sorted(self._shown)][:MOST_SHOWN]

    @property
    def waits_for_keys(self) -> bool:
        """Whether a later record of some key would excuse something."""
        return bool(self._waiting)

    def differs(self, source: RawRecord, target: RawRecord) -> None:
        """Both have a record in this place, and not the same."""
        self._add(Finding(DifferenceKind.DIFFERS, source.offset, target.offset, source, target))

    def repeats(self, source_offset: int, target: RawRecord) -> None:
        """The target has a record again that it had before."""
        self._add(Finding(DifferenceKind.REPEATED, source_offset, target.offset, None, target))

    def misses(self, source: RawRecord, target_offset: int) -> None:
        """The target does not have this record in its place, which is `target_offset`."""
        finding = Finding(DifferenceKind.MISSING, source.offset, target_offset, source)
        early = self._extra.pop(hash(content_of(source)), None)
        if early is None:
            self._open(self._missing, source, finding)
        else:
            self._is_out_of_order(early, finding._replace(target_offset=early.finding.target_offset))

    def adds(self, target: RawRecord, source_offset: int) -> None:
        """Only the target has this record in this place, which is `source_offset` on the source."""
        finding = Finding(DifferenceKind.EXTRA, source_offset, target.offset, None, target)
        late = self._missing.pop(hash(content_of(target)), None)
        if late is None:
            self._open(self._extra, target, finding)
        else:
            self._is_out_of_order(late, finding._replace(source_offset=late.finding.source_offset))

    def tells(self, finding: Finding) -> None:
        """What is known otherwise."""
        self._add(finding)

    def see_later(self, records: Iterable[RawRecord]) -> None:
        """Records that are on both sides, or on the source and not copied yet: they may excuse earlier ones."""
        if not self._waiting:
            return
        for record in records:
            key, _ = key_and_tombstone(record)
            for number, kind in self._waiting.pop(key, ()) if key is not None else ():
                self._take_back(number, kind)
                self.excused += 1

    def _open(self, among: dict[int, _Open], record: RawRecord, finding: Finding) -> None:
        if self._is_compacted:
            key, is_tombstone = key_and_tombstone(record)
            if is_tombstone:
                self.excused += 1
                return
            number = self._add(finding)
            if key is not None and len(self._waiting) < MOST_OPEN:
                self._waiting.setdefault(key, []).append((number, finding.kind))
            return
        number = self._add(finding)
        if len(among) < MOST_OPEN:
            among[hash(content_of(record))] = _Open(number, finding)

    def _is_out_of_order(self, earlier: _Open, finding: Finding) -> None:
        """What was found earlier is the same record: both together are one difference, told in the first's place."""
        self._take_back(earlier.number, earlier.finding.kind)
        record = earlier.finding.source or finding.source
        target = earlier.finding.target or finding.target
        self._add(finding._replace(kind=DifferenceKind.OUT_OF_ORDER, source=record, target=target), earlier.number)

    def _add(self, finding: Finding, number: int | None = None) -> int:
        if number is None:
            self._number += 1
            number = self._number
        self._kinds[finding.kind] += 1
        if len(self._shown) < 2 * MOST_SHOWN:  # some may be taken back
            self._shown[number] = finding
        return number

    def _take_back(self, number: int, kind: DifferenceKind) -> None:
        self._kinds[kind] -= 1
        self._shown.pop(number, None)
