"""Which batches of a fetch answer belong to aborted transactions.  (pure)

A source that is asked for decided data only (`isolation_level=1`) sends all batches up to its last stable offset, and
beside them the producer id and first offset of every aborted transaction that reaches into them. A producer's records
are aborted from there on until its next control batch. Each answer tells everything that its own bytes need.

Source: KIP-98; CompletedFetch.java.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmigrate.records.batch import CONTROL, TRANSACTIONAL, Header


class AbortedTransactions:
    """The aborted transactions of one partition's part of an answer; its batches are shown in order, each once."""

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        """`aborted`: (producer id, first offset), in any order."""
        self._to_come = sorted(((first, producer_id) for producer_id, first in aborted), reverse=True)
        self._aborting: set[int] = set()

    def __bool__(self) -> bool:
        """Whether anything was aborted, or may still be, in what was not shown yet."""
        return bool(self._to_come or self._aborting)

    def covers(self, header: Header) -> bool:
        """Whether the records of this batch were aborted; a control batch ends its producer's transaction."""
        last = header.base_offset + header.last_offset_delta
        while self._to_come and self._to_come[-1][0] <= last:
            self._aborting.add(self._to_come.pop()[1])
        if header.attributes & CONTROL:
            self._aborting.discard(header.producer_id)
            return False
        return bool(header.attributes & TRANSACTIONAL) and header.producer_id in self._aborting
