"""What a load tells about a copy's end offsets, and a broker's checkpoint about compaction."""

from pathlib import Path

import pytest

from bench.compacted import cleaned_up_to
from bench.lab import Load


def _load(records: int, offsets: int) -> Load:
    return Load(topic="t", partitions=2, records=records, offsets=offsets, log_bytes=1, batch_bytes=1)


@pytest.mark.parametrize(("end_offsets", "seen"), [(0, 0), (101, 100), (505, 500), (1_010, 1_000), (1_011, 1_000)])
def test_offsets_without_a_record_do_not_count(end_offsets: int, seen: int) -> None:
    assert _load(records=1_000, offsets=1_010).seen_below(end_offsets) == seen


def test_where_every_offset_has_a_record_end_offsets_are_records() -> None:
    load = _load(records=1_000, offsets=1_000)
    assert load.unseen_share == 0
    assert [load.seen_below(end) for end in (0, 1, 999, 1_000)] == [0, 1, 999, 1_000]


def test_the_share_of_holes_is_one_of_all_offsets() -> None:
    assert _load(records=80, offsets=100).unseen_share == pytest.approx(0.2)


def test_a_checkpoint_tells_how_far_the_cleaner_has_come(tmp_path: Path) -> None:
    checkpoint = tmp_path / "cleaner-offset-checkpoint"
    assert cleaned_up_to(checkpoint, "orders") == {}
    checkpoint.write_text("0\n3\norders 0 120\norders-old 0 7\norders 11 99\n")
    assert cleaned_up_to(checkpoint, "orders") == {0: 120, 11: 99}
