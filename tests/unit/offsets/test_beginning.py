"""Where a partition begins follows from what is wanted and what the source told, and is never above what is stable."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.kafka_types import Offset
from kmigrate.offsets.beginning import EARLIEST, LATEST, first_wanted, time_of

TIME = "2024-05-01T00:00:00Z"


@pytest.mark.parametrize(
    ("start", "at_ms"),
    [
        (EARLIEST, None),
        (LATEST, None),
        ("1970-01-01T00:00:01+00:00", 1000),
        ("1970-01-01T02:00:01+02:00", 1000),
        ("1970-01-01T00:00:00.000001+00:00", 1),
        ("1969-12-31T23:59:59.998+00:00", 0),
    ],
)
def test_a_start_names_a_time_in_milliseconds_that_is_never_negative(start: str, at_ms: int | None) -> None:
    assert time_of(start) == at_ms


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_is_told_to_the_millisecond(at_ms: int) -> None:
    text = datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000).isoformat()
    assert time_of(text) == at_ms


@pytest.mark.parametrize(
    ("start", "at_time", "wanted"),
    [
        (EARLIEST, None, 0),
        (LATEST, None, 50),
        (TIME, None, 50),
        (TIME, 20, 20),
        (TIME, 60, 50),
    ],
)
def test_the_first_wanted_offset(start: str, at_time: int | None, wanted: int) -> None:
    assert first_wanted(start, Offset(50), None if at_time is None else Offset(at_time)) == wanted
