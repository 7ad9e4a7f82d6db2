"""A digest tells every two records apart that a reader can, and the ledger gives back what was noted."""

from __future__ import annotations

import itertools
from pathlib import Path

from kmigrate.demo.ledger import DIGEST_BYTES, Entry, LedgerWriter, digest_of, read_ledger

DIGEST = bytes(DIGEST_BYTES)


def test_every_part_of_a_record_counts() -> None:
    digests = [
        digest_of(None, None, (), timestamp_ms=1),
        digest_of(b"", None, (), timestamp_ms=1),
        digest_of(None, b"", (), timestamp_ms=1),
        digest_of(None, None, (), timestamp_ms=2),
        digest_of(None, None, (), timestamp_ms=1, timestamp_type=2),
        digest_of(b"ab", b"c", (), timestamp_ms=1),
        digest_of(b"a", b"bc", (), timestamp_ms=1),
        digest_of(b"a", b"bc", [("h", None)], timestamp_ms=1),
        digest_of(b"a", b"bc", [("h", b"")], timestamp_ms=1),
        digest_of(b"a", b"bc", [("h", b"1"), ("h", b"2")], timestamp_ms=1),
        digest_of(b"a", b"bc", [("h", b"2"), ("h", b"1")], timestamp_ms=1),
        digest_of(b"a", b"bc", [("h", b"1")], timestamp_ms=1),
        digest_of(b"a", b"bc", [("h1", b"")], timestamp_ms=1),
    ]
    for left, right in itertools.combinations(range(len(digests)), 2):
        assert digests[left] != digests[right], (left, right)


def test_the_same_record_has_the_same_digest() -> None:
    arguments = (b"key", b"value", [("h", b"\xff"), ("h", None)])
    assert digest_of(*arguments, timestamp_ms=5) == digest_of(*arguments, timestamp_ms=5)


def test_entries_come_back_as_they_were_noted(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with path.open("wb") as file:
        writer = LedgerWriter(file)
        writer.write("orders", 3, Entry(2**40, 7, DIGEST))
        writer.write("orders", 3, Entry(None, 8, DIGEST))
        writer.write("clicks", 3, Entry(0, 9, DIGEST))
    ledger = read_ledger(path)
    assert ledger.of("orders", 3) == [Entry(2**40, 7, DIGEST), Entry(None, 8, DIGEST)]
    assert ledger.of("orders", 4) == ()
    assert set(ledger.places) == {("orders", 3), ("clicks", 3)}
    assert len(ledger) == 3


def test_an_entry_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with path.open("wb") as file:
        writer = LedgerWriter(file)
        writer.write("orders", 0, Entry(0, 0, DIGEST))
        writer.write("orders", 0, Entry(1, 1, DIGEST))
        file.truncate(file.tell() - 1)
    assert len(read_ledger(path)) == 1
