"""The demo's records are as odd as promised, and each can be told from all others."""

from __future__ import annotations

import random

from kmigrate.demo.shapes import LARGE_EVERY, SHAPES, Record, find_number, make_record

COUNT = 3_000


def _records() -> list[tuple[str, Record]]:
    chance = random.Random(4)
    return [(shape.name, record) for shape, record in (make_record(chance, number) for number in range(COUNT))]


def test_every_record_carries_its_number() -> None:
    numbers = [find_number(record.value, record.headers) for _, record in _records()]
    assert numbers == list(range(COUNT))


def test_the_shapes_are_as_different_as_promised() -> None:
    assert {shape.codec for shape in SHAPES if shape.make} == {"none", "gzip", "snappy", "lz4", "zstd"}
    assert max(shape.partitions for shape in SHAPES) >= 24
    assert sum(shape.share for shape in SHAPES) == 1


def test_the_records_are_as_different_as_promised() -> None:
    records = _records()
    values = [record.value for _, record in records]
    keys = [record.key for _, record in records]
    headers = [record.headers for _, record in records]
    contents = [content for each in headers for _, content in each]
    assert {name for name, _ in records} == {shape.name for shape in SHAPES} - {"archive"}
    assert None in values
    assert b"" in values
    assert None in keys
    assert b"" in keys
    assert (None, None) in [(record.key, record.value) for _, record in records]
    assert None in contents
    assert b"" in contents
    assert any(b"\xff\xfe" in content for content in contents if content)
    assert any(len({name for name, _ in each}) < len(each) for each in headers)
    sizes = [len(value) for value in values if value]
    assert max(sizes) > 250_000
    assert max(sizes) <= 500_000
    assert sum(size > 1_000 for size in sizes) == COUNT // LARGE_EVERY
    assert min(sizes) == 10


def test_what_no_producer_sent_has_no_number() -> None:
    assert find_number(None, ()) is None
    assert find_number(b"123", ()) is None
    assert find_number("12345678½9".encode(), ()) is None
    assert find_number(b"0000000001", [("record", None)]) is None
    assert find_number(b"0000000001...", [("other", b"x")]) == 1
    assert find_number(b"0000000001", [("record", b"0000000002")]) == 2
