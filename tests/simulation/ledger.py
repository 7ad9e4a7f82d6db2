"""What was ever written to a source partition, and whether what lands on the target follows from it.

Every source batch has content of its own, and a parent: the batch before it in the log, when it was written. A target
log is right if each of its batches is a source batch at the same offset, behind the same parent. That forbids loss,
repetition and shift at once, and records past a divergence too.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.log import StoredBatch


class BrokenLawError(AssertionError):
    """A run showed something that the design forbids."""


class _Origin(NamedTuple):
    base: int
    header: bytes
    parent: bytes | None


def content(stored: StoredBatch) -> bytes:
    """The records of a batch as bytes."""
    return stored.data[61:]


def _header(stored: StoredBatch) -> bytes:
    """What must not change on the way, of a header: codec, last offset delta, timestamps, record count."""
    return bytes([stored.data[22] & 0x0F]) + stored.data[23:43] + stored.data[57:61]


class Ledger:
    """The history of one source partition."""

    def __init__(self) -> None:
        self._origins: dict[bytes, _Origin] = {}
        self._last: bytes | None = None

    def wrote(self, stored: StoredBatch) -> None:
        """An application wrote this at the end of the source's log."""
        self._origins[content(stored)] = _Origin(stored.base, _header(stored), self._last)
        self._last = content(stored)

    def cut(self, batches: list[StoredBatch]) -> None:
        """The source's log was cut; this is what is left of it."""
        self._last = content(batches[-1]) if batches else None

    def misplaced(self, batches: list[StoredBatch]) -> str | None:
        """Why the newest batch of a target log does not follow from the source; None if it does.

        Raises BrokenLawError for what the source never held.
        """
        stored = batches[-1]
        origin = self._origins.get(content(stored))
        if origin is None or _header(stored) != origin.header:
            raise BrokenLawError(f"offset {stored.base} holds what the source never held")
        parent = content(batches[-2]) if len(batches) > 1 else None
        if stored.base == origin.base and parent == origin.parent:
            return None
        return f"the source's batch of offset {origin.base} landed at {stored.base}"


def agree(source: list[StoredBatch], target: list[StoredBatch], source_start: int) -> bool:
    """Whether the target holds what the source holds, as far as the source still does."""
    here = {batch.base: (_header(batch), content(batch)) for batch in source}
    comparable = [batch for batch in target if batch.base >= source_start]
    return all(here.get(batch.base) == (_header(batch), content(batch)) for batch in comparable)
