"""Compares what was appended with what the source shows, by the map of late records: batch by batch.  (pure)

Rule: a record looks the same if its timestamp and its opaque body do. What compaction or retention took since, on
either side, is no difference, and is counted. Where the target's topic has LogAppendTime, timestamps are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from kmigrate.late.values import Batch
from kmigrate.records.record import RawRecord


class Seen(NamedTuple):
    """A record as it is compared: the time that consumers see, and what else it holds. `is_own_time`: the broker's."""

    timestamp_ms: int
    digest: bytes
    is_own_time: bool = False

    @classmethod
    def of(cls, record: RawRecord, *, is_own_time: bool = False) -> Seen:
        return cls(record.timestamp_ms, blake2b(record.body, digest_size=16).digest(), is_own_time)


NOT_OURS = Seen(-1, b"")
"""Somebody else's record, where one of ours should be."""


class Compared(NamedTuple):
    """How many records are the same on both sides, how many are gone on one, and the first that differ, in words."""

    same: int
    gone: int
    difference: str = ""


def compare_batch(batch: Batch, source: Mapping[int, Seen], target: Mapping[int, Seen]) -> Compared:
    """`source` and `target`: by offset, all records of the batch that there still are on either side.

    While the source has all of them, each has its place on the target. Where compaction took some, the rest must be
    found there in order.
    """
    assert batch.target_base is not None, "only what has landed is compared"
    there = [(offset, target[offset]) for offset in sorted(target)]
    here = [(offset, source[offset]) for offset in sorted(source)]
    if len(here) > batch.records or len(there) > batch.records:
        return Compared(0, 0, f"{len(here)} and {len(there)} records where {batch.records} were appended")
    gone = 2 * batch.records - len(here) - len(there)
    if len(here) == batch.records:
        for number, (offset, seen) in enumerate(here):
            found = target.get(batch.target_base + number)
            if found is not None and not _alike(seen, found):
                return Compared(0, 0, _words(offset, batch.target_base + number))
        return Compared(len(there), gone)
    at = same = 0
    for offset, seen in here:
        place = next((place for place in range(at, len(there)) if _alike(seen, there[place][1])), None)
        if place is not None:
            at, same = place + 1, same + 1
        elif len(there) == batch.records:
            return Compared(0, 0, f"the record at source offset {offset:,} is not among those appended")
    return Compared(same, gone)


def _alike(one: Seen, other: Seen) -> bool:
    own = one.is_own_time or other.is_own_time
    return one.digest == other.digest and (own or one.timestamp_ms == other.timestamp_ms)


def _words(source: int, target: int) -> str:
    return f"the record at source offset {source:,} is another one than that at target offset {target:,}"
