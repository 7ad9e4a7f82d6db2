"""The judge's table: every case is reached, the first that holds decides, and what may go as it is has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.judge import CASES, SPECIAL_BITS, judge
from kmigrate.copy.states import StopKind
from kmigrate.records.batch import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL
from tests.simulation.batches import seal

WANTED = 10


def batch(**header: int) -> bytes:
    return seal(b"records", **({"base_offset": WANTED, "last_offset_delta": 2, "record_count": 3} | header))


def with_bytes(at: int, value: bytes, whole: bytes | None = None) -> bytes:
    changed = bytearray(whole or batch())
    changed[at : at + len(value)] = value
    return bytes(changed)


OLD_FORMAT = (WANTED).to_bytes(8, "big") + (30).to_bytes(4, "big") + b"crc!" + b"\x01"

SAMPLES: dict[str, tuple[bytes, StopKind, str]] = {
    "an impossible length": (
        with_bytes(8, (48).to_bytes(4, "big")),
        StopKind.SOURCE_CORRUPT,
        "a batch claims 48 bytes, less than its own header",
    ),
    "a message set of format v0 or v1": (OLD_FORMAT, StopKind.UNSUPPORTED, "records in message format v1"),
    "a format newer than v2": (batch(magic=3), StopKind.UNSUPPORTED, "records in message format v3"),
    "a wrong CRC": (
        with_bytes(62, b"R"),
        StopKind.SOURCE_CORRUPT,
        "a batch whose CRC-32C does not match its bytes",
    ),
    "a control batch": (
        batch(attributes=CONTROL | TRANSACTIONAL, producer_id=44),
        StopKind.UNSUPPORTED,
        "a transaction marker of producer id 44",
    ),
    "a transactional batch": (
        batch(attributes=TRANSACTIONAL, producer_id=44),
        StopKind.UNSUPPORTED,
        "transactional records of producer id 44",
    ),
    "a batch stamped with LogAppendTime": (
        batch(attributes=LOG_APPEND_TIME),
        StopKind.UNSUPPORTED,
        "records stamped with LogAppendTime",
    ),
    "offsets missing before it": (
        batch(base_offset=13),
        StopKind.UNSUPPORTED,
        "a gap: no record from offset 10 to 12",
    ),
    "a beginning below the wanted offset": (
        batch(base_offset=8),
        StopKind.UNSUPPORTED,
        "a batch that begins at offset 8, before the wanted one",
    ),
    "offsets missing inside, or no record at all": (
        batch(record_count=2),
        StopKind.UNSUPPORTED,
        "a batch of 2 records over 3 offsets",
    ),
}


def test_the_samples_reach_every_case_of_the_table() -> None:
    assert list(SAMPLES) == [case.name for case in CASES]


@pytest.mark.parametrize("name", SAMPLES)
def test_each_case_stops_with_its_kind_and_evidence(name: str) -> None:
    sample, kind, evidence = SAMPLES[name]
    stop = judge(memoryview(b"??" + sample), 2, 2 + len(sample), WANTED)
    assert (stop.kind, stop.offset, stop.evidence) == (kind, WANTED, evidence)
    assert {case.name: case.kind for case in CASES}[name] is kind


def test_an_empty_batch_is_refused() -> None:
    stop = judge(memoryview(batch(last_offset_delta=-1, record_count=0)), 0, 68, WANTED)
    assert stop.evidence == "a batch of 0 records over 0 offsets"


def test_a_batch_longer_than_what_was_fetched_is_corrupt() -> None:
    cut = batch()[:-1]
    assert judge(memoryview(cut), 0, len(cut), WANTED).kind is StopKind.SOURCE_CORRUPT


def test_bytes_beyond_the_end_of_the_answer_do_not_make_a_batch_whole() -> None:
    whole = batch()
    assert judge(memoryview(whole), 0, len(whole) - 1, WANTED).kind is StopKind.SOURCE_CORRUPT


def test_a_batch_that_may_go_as_it_is_is_not_a_case() -> None:
    whole = batch()
    with pytest.raises(AssertionError, match="can go as it is"):
        judge(memoryview(whole), 0, len(whole), WANTED)


@given(
    st.integers(0, 20),
    st.integers(0, 3),
    st.integers(0, 127),
    st.integers(-2, 5),
    st.integers(-2, 5),
    st.booleans(),
)
def test_the_table_is_complete(base: int, magic: int, attributes: int, delta: int, count: int, flipped: bool) -> None:
    """Whatever the copier's loop sends here (anything but whole, true, plain, at its place, dense) has a case."""
    sample = bytearray(
        batch(base_offset=base, magic=magic, attributes=attributes, last_offset_delta=delta, record_count=count)
    )
    if flipped:
        sample[-1] ^= 1
    plain = (
        magic == 2
        and base == WANTED
        and not attributes & SPECIAL_BITS
        and count == delta + 1
        and count > 0
        and not flipped
    )
    if plain:
        with pytest.raises(AssertionError):
            judge(memoryview(sample), 0, len(sample), WANTED)
    else:
        assert judge(memoryview(sample), 0, len(sample), WANTED).offset == WANTED
