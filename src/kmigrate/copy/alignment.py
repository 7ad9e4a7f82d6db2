"""Brings an empty target partition to the source's log start: filler up to there, which is deleted afterwards.  (pure)

Filler has a producer id and a sequence of its own, so the target refuses what would be a second append, and a header
tells it from data. A batch takes no more than the room that is left; where there is none, the next turn asks again.
"""

from __future__ import annotations

from kmigrate.copy.judge import Treatment
from kmigrate.copy.pieces import Backlog, Batch
from kmigrate.kafka_types import UNKNOWN_EPOCH, Offset, ProducerId
from kmigrate.records.batch import SEQUENCES, stamp
from kmigrate.records.compression import Codec
from kmigrate.records.filler import LARGEST_SIZE, build_filler, filler_bytes

PRODUCER_EPOCH = 0
"""Whatever we append carries epoch 0: a higher one would restart its sequence."""


class Alignment:
    """What one partition still needs."""

    def __init__(self, to: Offset, sequence: int, producer_id: ProducerId) -> None:
        self.to = to
        self._sequence = sequence
        self._producer_id = producer_id
        self._largest_size = LARGEST_SIZE

    def feed(self, backlog: Backlog, position: Offset, now_ms: int) -> None:
        """Adds the next batch of filler, if something is left to fill and there is room for it."""
        left = self.to - position
        size = min(self._largest_size, left.bit_length() - 1)
        while size >= 0 and filler_bytes(size) > backlog.left_bytes:
            size -= 1
        if left <= 0 or size < 0:
            return
        view = memoryview(build_filler(size, now_ms))
        stamp(view, 0, len(view), self._producer_id, PRODUCER_EPOCH, self._sequence, Codec.GZIP)
        count = 1 << size
        backlog.keep(
            Batch(
                base=position,
                next=Offset(position + count),
                target=position,
                sequence=self._sequence,
                records=count,
                size=len(view),
                newest_ms=now_ms,
                oldest_ms=now_ms,
                epoch=UNKNOWN_EPOCH,
                view=view,
                lent=False,
                treatment=Treatment.FILLER,
                entries=0,
            )
        )
        self._sequence = (self._sequence + count) % SEQUENCES

    def use_smaller_than(self, records: int) -> None:
        """The target refuses batches of so many records."""
        self._largest_size = max(0, records.bit_length() - 2)
