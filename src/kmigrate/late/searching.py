"""Searches the target's log for a batch whose outcome is not known, by the headers behind the last one that is.  (pure)

A batch of ours is found by producer id and first sequence, whatever compaction took of its records: a broker keeps the
header. Where batches are missing altogether, that nothing was found means nothing.
"""

from __future__ import annotations

from kmigrate.kafka_types import Offset, ProducerId
from kmigrate.late.values import SEQUENCES, Batch
from kmigrate.records.batch import CONTROL, Header


class Search:
    """Over the offsets from `start` below `end`; `next` is where the next header is to be shown.

    Without a batch that is searched for nothing of ours should lie there at all.
    """

    def __init__(self, producer_id: ProducerId, wanted: Batch | None, start: Offset, end: Offset) -> None:
        self.next = start
        self.found: Offset | None = None
        self.is_whole = True
        """Whether every offset so far was covered by a batch."""
        self.contradiction = ""
        """What of ours lies there that should not; empty if nothing does."""
        self._producer_id = producer_id
        self._wanted = wanted
        self._end = end

    @property
    def is_done(self) -> bool:
        return self.found is not None or self.next >= self._end

    def show(self, header: Header | None, behind: int) -> None:
        """The next batch of the log; None for the header of an old format, which is never ours."""
        if header is not None and header.base_offset > self.next:
            self.is_whole = False
        if header is not None and header.producer_id == self._producer_id and not header.attributes & CONTROL:
            self._judge(header)
        self.next = Offset(max(self.next, behind))

    def miss_to_end(self) -> None:
        """Nothing comes up to the end: compaction took what was there."""
        self.is_whole, self.next = False, self._end

    def begins_at(self, start: Offset) -> None:
        """The log starts there now."""
        if start > self.next:
            self.is_whole, self.next = False, start

    def _judge(self, header: Header) -> None:
        if header.base_offset < self.next:
            return  # the batch before the one that is searched for
        count, wanted = header.last_offset_delta + 1, self._wanted
        if wanted is None:
            self.contradiction = (
                f"{count} records of sequence {header.base_sequence} lie at offset {header.base_offset} of the target,"
                " and nobody here has decided them"
            )
        elif header.base_sequence == wanted.sequence and count == wanted.records:
            self.found = Offset(header.base_offset)
        elif (header.base_sequence - wanted.sequence) % SEQUENCES < SEQUENCES // 2:
            self.contradiction = (
                f"{count} records of sequence {header.base_sequence} lie at offset {header.base_offset} of the target, "
                f"{wanted.records} of sequence {wanted.sequence} were decided"
            )
