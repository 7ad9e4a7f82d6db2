"""The judge's table: every case is reached, the first that holds decides, and what may go as it is has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.copy.judge import CASES, Treatment, Verdict, judge
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
ABORTED = ((44, 3),)

REFUSE, GAP, REENCODE = Treatment.REFUSE, Treatment.GAP, Treatment.REENCODE
SAMPLES: dict[str, tuple[bytes, Treatment, str]] = {
    "an impossible length": (
        with_bytes(8, (48).to_bytes(4, "big")),
        REFUSE,
        "a batch claims 48 bytes, less than its own header",
    ),
    "a message set of format v0 or v1": (OLD_FORMAT, Treatment.CONVERT, ""),
    "a format newer than v2": (batch(magic=3), REFUSE, "records in message format v3"),
    "a wrong CRC": (with_bytes(62, b"R"), REFUSE, "a batch whose CRC-32C does not match its bytes"),
    "an end below the wanted offset": (
        batch(base_offset=7),
        REFUSE,
        "a batch of the offsets 7 to 9 came instead",
    ),
    "more records than offsets": (batch(record_count=4), REFUSE, "a batch of 4 records over 3 offsets"),
    "a control batch": (batch(attributes=CONTROL | TRANSACTIONAL, producer_id=44), GAP, ""),
    "records of an aborted transaction": (batch(attributes=TRANSACTIONAL, producer_id=44), GAP, ""),
    "no record at all": (batch(record_count=0), GAP, ""),
    "an unknown codec": (batch(attributes=6), REFUSE, "records compressed with codec 6"),
    "a stamp of LogAppendTime": (batch(attributes=LOG_APPEND_TIME), REENCODE, ""),
    "a beginning below the wanted offset": (batch(base_offset=8), REENCODE, ""),
    "offsets missing inside": (batch(record_count=2), REENCODE, ""),
    "decided records": (batch(attributes=TRANSACTIONAL, producer_id=45), Treatment.AS_IS, ""),
}


def judged(sample: bytes, *, end: int | None = None) -> Verdict:
    aborted = AbortedTransactions(ABORTED)
    return judge(memoryview(b"??" + sample), 2, 2 + (len(sample) if end is None else end), WANTED, aborted)


def test_the_samples_reach_every_case_of_the_table() -> None:
    assert list(SAMPLES) == [case.name for case in CASES]


@pytest.mark.parametrize("name", SAMPLES)
def test_each_case_has_its_treatment_and_evidence(name: str) -> None:
    sample, treatment, evidence = SAMPLES[name]
    verdict = judged(sample)
    assert (verdict.case.name, verdict.treatment, verdict.evidence) == (name, treatment, evidence)
    assert (verdict.case.kind is not None) == (treatment is REFUSE), "a refusal has a name, and nothing else has"


def test_what_lies_behind_a_gap_is_what_it_is() -> None:
    assert judged(batch(base_offset=13)).treatment is Treatment.AS_IS
    assert judged(batch(base_offset=13, record_count=2)).treatment is REENCODE


def test_a_batch_without_offsets_is_refused() -> None:
    assert judged(batch(last_offset_delta=-1, record_count=0)).case.kind is StopKind.SOURCE_CORRUPT


def test_bytes_beyond_the_end_of_the_answer_do_not_make_a_batch_whole() -> None:
    verdict = judged(batch(), end=len(batch()) - 1)
    assert (verdict.case.name, verdict.case.kind) == ("a wrong CRC", StopKind.SOURCE_CORRUPT)


def test_a_damaged_batch_says_nothing_about_transactions() -> None:
    """The control batch of an aborted transaction ends it only if its bytes are true."""
    aborted = AbortedTransactions(ABORTED)
    marker = batch(attributes=CONTROL | TRANSACTIONAL, producer_id=44, record_count=1, last_offset_delta=0)
    judge(memoryview(with_bytes(62, b"R", marker)), 0, len(marker), WANTED, aborted)
    later = batch(base_offset=WANTED + 1, attributes=TRANSACTIONAL, producer_id=44)
    assert judge(memoryview(later), 0, len(later), WANTED + 1, aborted).treatment is GAP


@given(
    st.integers(0, 20),
    st.integers(0, 3),
    st.integers(0, 127),
    st.integers(-2, 5),
    st.integers(-2, 5),
    st.booleans(),
)
def test_the_table_is_complete(base: int, magic: int, attributes: int, delta: int, count: int, flipped: bool) -> None:
    """Whatever the copier's loop sends here has a case."""
    sample = bytearray(
        batch(base_offset=base, magic=magic, attributes=attributes, last_offset_delta=delta, record_count=count)
    )
    if flipped:
        sample[-1] ^= 1
    verdict = judged(bytes(sample))
    if flipped and magic == 2:
        assert verdict.treatment is REFUSE
    if verdict.treatment is REENCODE:
        assert not attributes & CONTROL, "a transaction marker is never copied"
    if verdict.treatment is Treatment.AS_IS:
        assert count == delta + 1
        assert not attributes & (LOG_APPEND_TIME | CONTROL)
