"""A walk that looks for many batches at once finds what one finds that looks at each: the same pieces."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path
from typing import Any

import fastcrc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.copy.course import Course
from kmigrate.copy.frontier import Frontier
from kmigrate.copy.judge import Treatment
from kmigrate.copy.merging import PLAINLY_RECORDS, SCANNED_BATCHES, SCANNED_BYTES, Row
from kmigrate.copy.pieces import Backlog, Batch, Room
from kmigrate.kafka_types import UNKNOWN_EPOCH, ProducerId
from kmigrate.offsets.classes import OffsetClass
from kmigrate.records.compiled import load_library
from kmigrate.records.scan import Scan, load_scan
from kmigrate.records.splice import PLAIN, Splicer
from tests.compiling import compiled_library
from tests.simulation.batches import (
    APPEND_TIME,
    LZ4,
    NONE,
    TRANSACTIONAL,
    Record,
    appended,
    crc_holds,
    make_batch,
    make_marker,
)

NOW = 1_760_000_000_000
ALWAYS = Splicer(PLAIN.join, is_compiled=True)
"""Merges batches of any number of records, on every machine."""
END = 1 << 40


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_library(tmp_path_factory.mktemp("scan"))


@pytest.fixture(scope="module")
def scan(library: Path) -> Scan:
    loaded = load_scan(library)
    assert loaded is not None
    return loaded


class Walk:
    """A frontier with what it has found."""

    def __init__(self, scan: Scan | None) -> None:
        self.backlog = Backlog(Room(1 << 20))
        self.row = Row(ALWAYS, scan)
        self.frontier = Frontier(Course(OffsetClass.IDENTICAL, ()), self.backlog, ProducerId(7), self.row)
        self.frontier.begin(0, 0, UNKNOWN_EPOCH, at_edge=True)
        self.refusals: list[Any] = []

    def take(self, data: bytes, aborted: tuple[tuple[int, int], ...] = ()) -> None:
        buffer = memoryview(bytearray(b"\xee" * 5 + data + b"\xee" * 3))
        self.refusals.append(self.frontier.walk(buffer, 5, 5 + len(data), AbortedTransactions(aborted), END))

    def seen(self) -> dict[str, Any]:
        """Everything that it came to, with the bytes."""
        frontier = self.frontier
        return {
            "pieces": [
                (*piece[:9], bytes(piece.view), *piece[10:]) if isinstance(piece, Batch) else piece
                for piece in self.backlog.pieces
            ],
            "refusals": self.refusals,
            "stands": (frontier.offset, frontier.sequence, frontier.epoch, frontier.at_edge, frontier.largest_bytes),
        }


def both(scan: Scan, answers: list[bytes], aborted: tuple[tuple[int, int], ...] = (), **kept: int) -> dict[str, Any]:
    """What both walks come to, which is the same."""
    found = []
    for each in (None, scan):
        walk = Walk(each)
        for name, value in kept.items():
            getattr(walk.frontier, name)(value)
        for answer in answers:
            walk.take(answer, aborted)
        found.append(walk.seen())
    assert found[0] == found[1]
    return found[1]


def single(base: int, *, size: int = 10, at_ms: int = NOW, count: int = 1, **how: int) -> bytes:
    records = [Record(at_ms + n, b"k", b"v" * size) for n in range(count)]
    return make_batch(records, base_offset=base, leader_epoch=base % 3, **how)


def test_a_thousand_records_alone_in_their_batches_become_few(scan: Scan) -> None:
    found = both(scan, [b"".join(single(base, size=900, at_ms=NOW - base % 7) for base in range(1_000))])
    assert found["stands"][:2] == (1_000, 1_000)
    assert 1 < len(found["pieces"]) < 8
    assert {piece[11] for piece in found["pieces"]} == {Treatment.MERGE}


def test_more_than_are_looked_for_at_once(scan: Scan) -> None:
    found = both(scan, [b"".join(single(base) for base in range(2 * SCANNED_BATCHES + 50))])
    assert found["stands"][0] == 2 * SCANNED_BATCHES + 50


def test_the_scan_is_asked_where_batches_are_small_and_only_there(scan: Scan) -> None:
    asked = []

    def watched(*arguments: Any) -> Any:
        found = scan(*arguments)
        asked.append(len(found[1]))
        return found

    Walk(watched).take(b"".join(single(base) for base in range(300)))
    assert asked == [299]
    asked.clear()
    Walk(watched).take(b"".join(single(base, size=SCANNED_BYTES) for base in range(20)))
    Walk(watched).take(b"".join(single(base, codec=LZ4) for base in range(20)))
    assert asked == []
    plain = Walk(None)
    plain.row = plain.frontier._row = Row(PLAIN, watched)
    plain.take(b"".join(single(base, count=PLAINLY_RECORDS + 1, size=1) for base in range(20)))
    assert asked == [], "without a compiled splicer no more is merged than pays"


def test_what_a_limit_splits_is_split_in_the_same_places(scan: Scan) -> None:
    for limit in (200, 5_000, 40_000):
        both(scan, [b"".join(single(base, size=base % 90) for base in range(600))], keep_within=limit)


@pytest.mark.parametrize("place", [0, 8, 12, 16, 17, 21, 22, 23, 27, 35, 43, 57, 61, 65])
def test_a_damaged_batch_ends_both_in_the_same_place(scan: Scan, place: int) -> None:
    for mask in (1, 0x10, 0x80):
        batches = [bytearray(single(number)) for number in range(20)]
        batches[11][place] ^= mask
        both(scan, [b"".join(map(bytes, batches))])


@settings(max_examples=300)
@given(chance=st.randoms(use_true_random=False))
def test_whatever_lies_there_both_find_the_same(scan: Scan, chance: random.Random) -> None:
    answers, base = [], 0
    aborted = ((3, chance.randrange(40)),) if chance.random() < 0.3 else ()
    for _ in range(chance.randrange(1, 3)):
        data = bytearray()
        for _ in range(chance.randrange(1, 60)):
            kind = chance.random()
            count = 1 if chance.random() < 0.6 else chance.randrange(1, 9)
            how: dict[str, int] = {"producer_id": chance.randrange(5), "base_sequence": chance.randrange(99)}
            if kind < 0.06:
                data += appended(make_marker(3, 0, committed=True, coordinator_epoch=0, timestamp_ms=NOW), base, 1)
                base += 1
                continue
            if kind < 0.12:
                how["attributes"] = chance.choice([APPEND_TIME, TRANSACTIONAL, TRANSACTIONAL])
            if kind > 0.95:
                base += chance.randrange(1, 4)
            size = chance.choice([0, 5, 300, 3_990, 4_100, 40_000]) if chance.random() < 0.2 else 20
            at_ms = -5 if chance.random() < 0.03 else NOW + chance.randrange(-99, 99)
            codec = LZ4 if chance.random() < 0.04 else NONE
            data += single(base, size=size, at_ms=at_ms, count=count, codec=codec, **how)
            base += count
        if chance.random() < 0.3:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        answers.append(bytes(data))
    both(scan, answers, aborted)


@given(data=st.binary(max_size=200), times=st.integers(1, 40))
def test_the_crc_is_that_of_batches_by_whatever_it_is_made(library: Path, data: bytes, times: int) -> None:
    loaded = load_library(library)
    assert loaded is not None
    loaded.compiled_crc32c.restype = ctypes.c_uint32
    wanted = fastcrc.crc32.iscsi(data * times)
    assert {loaded.compiled_crc32c(data * times, len(data) * times, by_table) for by_table in (0, 1)} == {wanted}


def test_what_is_sent_has_its_crc(scan: Scan) -> None:
    walk = Walk(scan)
    walk.take(b"".join(single(base) for base in range(50)))
    (piece,) = walk.backlog.pieces
    assert isinstance(piece, Batch)
    assert crc_holds(piece.view)
