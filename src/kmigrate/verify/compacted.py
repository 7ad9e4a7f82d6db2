"""Which records of a compacted topic may be on one side only: those that a later one of the same key replaced.  (pure)

The cleaner of either side may have taken a record that the other still has. It is excused where a later record of its
key is on both sides, or where it is a tombstone, which cleaners take too: so the latest value of each key is the same.

Memory: at most MOST_PENDING keys are waited for, by a digest of 16 bytes. Where there are more, keys are dealt into
classes by their digest; only the chosen class is judged in this pass, and `left_to_do` says which further passes judge
the others. Everything but these excuses is judged in the first pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from kmigrate.records.record import RawRecord
from kmigrate.verify.differences import Difference, DifferenceKind, key_and_tombstone

MOST_PENDING = 200_000
"""About 50 MB."""


class KeyClass(NamedTuple):
    """The keys whose digest is `number` modulo `of`."""

    number: int = 0
    of: int = 1

    def holds(self, digest: bytes) -> bool:
        return self.of == 1 or int.from_bytes(digest[:8], "big") % self.of == self.number


ALL_KEYS = KeyClass()


class _Waiting(NamedTuple):
    """The record that only one side has, and no later one of its key yet."""

    offset: int
    on_source: bool
    excused: bool


class Excuses:
    """The records of one pass that wait for a later one of their key."""

    def __init__(self, keys: KeyClass = ALL_KEYS) -> None:
        self.keys = keys
        self.excused = 0
        """Records that only one side has, up to here, whatever class they are of."""
        self._waiting: dict[bytes, _Waiting] = {}
        self._highest_lone = -1

    def __bool__(self) -> bool:
        """Whether any record still waits for a later one of its key."""
        return bool(self._waiting)

    def see(self, records: Iterable[RawRecord]) -> None:
        """Both sides have these records."""
        waiting = self._waiting
        if not waiting:
            return
        for record in records:
            key, _ = key_and_tombstone(record)
            if key is not None:
                waiting.pop(_digest(key), None)

    def excuse(self, record: RawRecord, *, on_source: bool) -> bool:
        """Only one side has this record; whether it may turn out to be replaced. One without a key never is.

        A tombstone that meets an older value which only the other side has is no excuse: there the key still lives.
        What is shown again, because it was read again, changes nothing.
        """
        key, tombstone = key_and_tombstone(record)
        if key is None:
            return False
        if record.offset > self._highest_lone:
            self._highest_lone = record.offset
            self.excused += 1
        digest = _digest(key)
        if not self.keys.holds(digest):
            return True
        before = self._waiting.get(digest)
        if before is None or before.offset <= record.offset:
            alone = before is None or before.on_source == on_source or before.offset == record.offset
            self._waiting[digest] = _Waiting(record.offset, on_source, tombstone and alone)
        if len(self._waiting) > MOST_PENDING:
            self._deal()
        return True

    def see_beyond(self, records: Iterable[RawRecord], *, on_source: bool) -> None:
        """What one side holds beyond what is compared may be what replaced a record there."""
        waiting = self._waiting
        for record in records:
            key, _ = key_and_tombstone(record)
            if key is not None and (found := waiting.get(digest := _digest(key))) and found.on_source != on_source:
                del waiting[digest]

    def unexcused(self) -> Difference | None:
        """The first record that only one side has although it is the latest of its key; tombstones aside."""
        left = [each for each in self._waiting.values() if not each.excused]
        if not left:
            return None
        first = min(left)
        kind = DifferenceKind.MISSING if first.on_source else DifferenceKind.EXTRA
        return Difference(kind, first.offset, note="it is the latest record of its key there")

    def _deal(self) -> None:
        """Twice as many classes: half of the keys are left for another pass."""
        while len(self._waiting) > MOST_PENDING:
            self.keys = KeyClass(self.keys.number, self.keys.of * 2)
            self._waiting = {digest: each for digest, each in self._waiting.items() if self.keys.holds(digest)}


def left_to_do(asked: KeyClass, judged: KeyClass) -> list[KeyClass]:
    """The classes that still need a pass when of `asked` only `judged` was."""
    classes = []
    while judged.of > asked.of:
        half = judged.of // 2
        classes.append(KeyClass(judged.number + half, judged.of))
        judged = KeyClass(judged.number, half)
    return classes


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=16).digest()
