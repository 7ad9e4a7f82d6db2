"""A record's body is taken apart without a loss, and a damaged one is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.query.contents import Contents, parse_contents
from tests.simulation.batches import Record, record_bytes, zigzag

FIELDS = st.none() | st.binary(max_size=200)
CONTENTS = st.builds(
    Contents, FIELDS, FIELDS, st.lists(st.tuples(st.binary(max_size=5), FIELDS), max_size=3).map(tuple)
)


def body_of(contents: Contents) -> bytes:
    whole = record_bytes(Record(0, *contents), 0, 0)
    size = len(whole)
    while len(zigzag(size)) + size > len(whole):
        size -= 1
    return whole[-(size - 3) :]  # behind attributes and two deltas of 0


@given(CONTENTS)
def test_null_and_empty_repeated_names_and_any_bytes_are_kept(contents: Contents) -> None:
    assert parse_contents(body_of(contents)) == contents


@given(CONTENTS, st.data())
def test_a_body_that_is_cut_or_goes_on_is_refused(contents: Contents, data: st.DataObject) -> None:
    body = body_of(contents)
    with pytest.raises(ValueError, match=r"follow the headers|ends early|claims"):
        parse_contents(body + b"\0")
    with pytest.raises(ValueError, match=r"ends early|claims|follow"):
        parse_contents(body[: data.draw(st.integers(0, len(body) - 1))])


def test_a_header_needs_a_name() -> None:
    with pytest.raises(ValueError, match="without a name"):
        parse_contents(b"\1\1\2\1\1")
