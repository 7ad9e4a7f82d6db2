"""Buckets of time stay few, and a digest is what its description says."""

from __future__ import annotations

import struct
from hashlib import blake2b

from kmigrate.records.record import RawRecord
from kmigrate.verify.buckets import MOST_BUCKETS, Buckets
from kmigrate.verify.digest import CHUNK, NOTHING, Fold

EXTREMES = (-(1 << 63), -1, 0, (1 << 63) - 1)


def test_buckets_are_made_wider_together_when_they_become_too_many() -> None:
    buckets = Buckets()
    times = [number * 60_000 for number in range(MOST_BUCKETS + 10)]
    buckets.add(times, times[:-1])
    assert buckets.width_ms == 3_600_000
    assert sum(each.source for each in buckets.all) == len(times)
    assert [each for each in buckets.all if each.source != each.target] == [buckets.all[-1]]
    assert buckets.all[0] == (0, 60, 60)


def test_times_that_are_none_do_no_harm() -> None:
    buckets = Buckets()
    for first in range(0, 40_000_000, 10_000):
        buckets.add([first * 86_400_000], [first * 86_400_000])
    buckets.add(EXTREMES, EXTREMES)
    for step in range(MOST_BUCKETS * 2):
        buckets.add([step * (1 << 50)], [])
    assert len(buckets.all) <= MOST_BUCKETS
    assert sum(each.source - each.target for each in buckets.all) == MOST_BUCKETS * 2


def test_a_digest_is_made_as_the_docs_describe() -> None:
    records = [RawRecord(offset, 1_000 + offset, b"body %d" % offset) for offset in (5, CHUNK - 1, 3 * CHUNK)]
    fold = Fold()
    fold.add(records[:1])
    fold.add(records[1:])
    told = NOTHING
    for first, some in ((0, records[:2]), (3 * CHUNK, records[2:])):
        laid_out = b"".join(struct.pack(">qqi", *each[:2], len(each.body)) + each.body for each in some)
        stretch = blake2b(laid_out, digest_size=16).digest()
        told = blake2b(told + struct.pack(">q", first) + stretch, digest_size=16).digest()
    assert fold.digest == told
