"""What was appended is compared with the source by the map of late records."""

from __future__ import annotations

from kmigrate.kafka_types import Offset
from kmigrate.late.comparing import NOT_OURS, Compared, Seen, compare_batch
from kmigrate.late.values import Batch

BATCH = Batch(0, 0, Offset(10), Offset(20), 3, Offset(100))
A, B, C = (Seen(1000 + number, name) for number, name in enumerate((b"a", b"b", b"c")))
SOURCE = {10: A, 12: B, 19: C}
TARGET = {100: A, 101: B, 102: C}


def test_the_same_records_in_the_same_order_are_the_same() -> None:
    assert compare_batch(BATCH, SOURCE, TARGET) == Compared(3, 0)


def test_another_record_another_time_another_order_and_somebody_else_s_differ() -> None:
    for changed in (
        {101: C},
        {101: B._replace(timestamp_ms=1)},
        {100: B, 101: A},
        {101: NOT_OURS},
    ):
        assert "is another one" in compare_batch(BATCH, SOURCE, TARGET | changed).difference


def test_a_target_that_stamps_records_itself_has_times_of_its_own() -> None:
    stamped = {at: each._replace(timestamp_ms=5, is_own_time=True) for at, each in TARGET.items()}
    assert compare_batch(BATCH, SOURCE, stamped) == Compared(3, 0)


def test_what_compaction_took_since_is_no_difference() -> None:
    assert compare_batch(BATCH, SOURCE, {102: C}) == Compared(1, 2)
    assert compare_batch(BATCH, {12: B, 19: C}, TARGET) == Compared(2, 1)
    assert compare_batch(BATCH, {12: B}, {102: C}) == Compared(0, 4)
    other = Seen(1, b"never appended")
    assert "not among those appended" in compare_batch(BATCH, {12: other}, TARGET).difference
    assert "4 and 3 records" in compare_batch(BATCH, {**SOURCE, 11: other}, TARGET).difference
