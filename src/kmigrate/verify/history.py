"""What was the same on both sides lately: by its content, to know a record again that comes a second time.  (pure)"""

from __future__ import annotations

from collections.abc import Iterable

from kmigrate.records.record import RawRecord
from kmigrate.verify.streams import content_of

MOST_RECORDS = 400_000
"""Known again, at least half as many; about 100 bytes of memory each."""


class History:
    """The last records that were the same, each as a number made of its content, and its last offset on the source."""

    def __init__(self, most: int = MOST_RECORDS) -> None:
        self._most = most
        self._lately: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def add(self, records: Iterable[RawRecord]) -> None:
        """Records of the source, in order."""
        for record in records:
            self._lately[hash(content_of(record))] = record.offset
        if len(self._lately) >= self._most // 2:
            self._before, self._lately = self._lately, {}

    def find(self, record: RawRecord) -> int | None:
        """The source's offset of the last of these records with the same content."""
        wanted = hash(content_of(record))
        found = self._lately.get(wanted)
        return self._before.get(wanted) if found is None else found
