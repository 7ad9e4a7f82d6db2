"""What a copier has read and not sent yet: batches made ours, gaps between them, and where their bytes lie.  (pure)

A batch that goes as it is stays in the receive buffer, which is lent to the copier until the batch is sent. Behind a
gap nothing can be sent before the gap is filled, and the buffer must not wait for that: from there on bytes are *kept*
in memory of their own, as are those of re-encoded batches. A `Room` bounds them.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from kmigrate.copy.judge import Treatment
from kmigrate.kafka_types import LeaderEpoch, Offset


class Batch(NamedTuple):
    """A batch made ours; `size` and `records` outlive the bytes.

    `lent` says that these lie in the receive buffer, or were merged from there and live no longer, `treatment` how they
    came to be. `base` and `next` are offsets on the source, `target` where it goes; so many `entries` of the offset map
    must be saved before. In class *mapped* offsets may be missing between the records: then there are fewer of them
    than from `base` to `next`. `newest_ms` is the timestamp that a broker remembers of it; where the same records were
    sent before, in another batch, it may be as little as `oldest_ms`.
    """

    base: Offset
    next: Offset
    target: Offset
    sequence: int
    records: int
    size: int
    newest_ms: int
    oldest_ms: int
    epoch: LeaderEpoch
    view: memoryview
    lent: bool
    treatment: Treatment
    entries: int


class Gap(NamedTuple):
    """Offsets without a visible record; `sequence` is that of the next batch.

    `epoch` is the leader epoch of the source's batch that ends with the gap; with a hole there, it is unknown. `shown`
    says that the source still has something at `base` that never was visible: no copier ever sent data there.
    """

    base: Offset
    next: Offset
    target: Offset
    sequence: int
    epoch: LeaderEpoch
    shown: bool
    entries: int


_SHARES = 64
PIECE_BYTES = 700
"""What a kept piece takes beside its bytes, about: small batches are mostly that."""


class Room:
    """Memory for kept bytes, shared by the copiers of one pipeline."""

    def __init__(self, limit_bytes: int) -> None:
        self.left_bytes = limit_bytes
        self.share_bytes = limit_bytes // _SHARES
        """While one partition keeps no more than this, and so much is left, more of it is read."""


class Backlog:
    """The pieces of one partition in the order of their offsets.

    Lent ones come before kept ones, but for what is left of a gap that was put back before them.
    """

    def __init__(self, room: Room) -> None:
        self.pieces: deque[Batch | Gap] = deque()
        self.kept = 0
        """Gaps and kept batches among the pieces."""
        self._kept_bytes = 0
        self._lacks_bytes = 0
        self._room = room

    @property
    def borrows(self) -> bool:
        """Whether bytes in the receive buffer are still needed."""
        return len(self.pieces) > self.kept

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be kept; the first piece always may."""
        if not self.kept or self._room.left_bytes >= size + PIECE_BYTES:
            return True
        self._lacks_bytes = size + PIECE_BYTES
        return False

    @property
    def is_full(self) -> bool:
        """Whether what is kept should be written before more is read."""
        share = self._room.share_bytes
        return self.kept > 0 and (self._kept_bytes > share or self._room.left_bytes < max(share, self._lacks_bytes))

    @property
    def left_bytes(self) -> int:
        return self._room.left_bytes

    def keep(self, batch: Batch) -> None:
        self.pieces.append(batch)
        self._count(1, batch.size)

    def skip(self, gap: Gap) -> None:
        """Adds a gap; one that follows another makes it longer."""
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, Gap):
            self.pieces[-1] = last._replace(next=gap.next, epoch=gap.epoch, entries=gap.entries)
            return
        self.pieces.append(gap)
        self._count(1, 0)

    def take_batch(self) -> Batch:
        batch = self.pieces.popleft()
        if isinstance(batch, Gap):
            raise TypeError("a gap comes first")
        if not batch.lent:
            self._count(-1, -batch.size)
        return batch

    def take_gap(self, most: int) -> Gap:
        """The gap that comes first, or so many offsets of it."""
        gap = self.pieces[0]
        assert isinstance(gap, Gap), "a batch comes first"
        if gap.next - gap.base > most:
            part = gap._replace(next=Offset(gap.base + most), epoch=LeaderEpoch(-1))
            self.pieces[0] = gap._replace(base=part.next, target=Offset(gap.target + most))
            return part
        self.pieces.popleft()
        self._count(-1, 0)
        return gap

    def put_back(self, gap: Gap) -> None:
        """What is left of a gap comes first again."""
        self.pieces.appendleft(gap)
        self._count(1, 0)

    def _count(self, pieces: int, size: int) -> None:
        taken = pieces * PIECE_BYTES + size
        self.kept += pieces
        self._kept_bytes += taken
        self._room.left_bytes -= taken

    def clear(self) -> None:
        self._room.left_bytes += self._kept_bytes
        self.pieces.clear()
        self.kept = self._kept_bytes = 0
