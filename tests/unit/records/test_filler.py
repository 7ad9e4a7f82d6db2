"""Filler takes up offsets, and is small."""

from __future__ import annotations

import pytest
from kafka.record.memory_records import MemoryRecords

from kmigrate.records.batch import parse_header, stamp
from kmigrate.records.filler import LARGEST_SIZE, build_filler, filler_bytes
from tests.simulation.log import validate


@pytest.mark.parametrize("size", [0, 3, 6, 7, 14])
def test_filler_is_as_many_records_without_key_and_value(size: int) -> None:
    filler = build_filler(size, 1_700_000_000_000)
    stamp(memoryview(filler), 0, len(filler), 9, 0, 5, parse_header(filler, 0).attributes)
    assert validate(bytes(filler)) == 0
    batch = MemoryRecords(bytes(filler)).next_batch()
    assert [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch] == [
        (at, 1_700_000_000_000, None, None, []) for at in range(1 << size)
    ]


def test_the_largest_filler_is_under_a_megabyte() -> None:
    filler = build_filler(LARGEST_SIZE, 5)
    assert len(filler) == filler_bytes(LARGEST_SIZE) < 1_000_000
    assert parse_header(filler, 0).next_offset == 1 << LARGEST_SIZE
