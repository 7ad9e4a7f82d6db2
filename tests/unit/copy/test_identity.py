"""A migration's producer id depends on all of its parts and lies where brokers allocate none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.identity import producer_id


@given(st.text(), st.text(), st.text())
def test_the_id_lies_where_brokers_allocate_none(source: str, target: str, name: str) -> None:
    assert 2**62 <= producer_id(source, target, name) < 2**63 - 1


def test_the_id_is_the_same_in_every_release() -> None:
    assert producer_id("s", "t", "orders") == 5601967682625399118


def test_no_two_parts_can_be_exchanged() -> None:
    ids = {producer_id("ab", "c", "d"), producer_id("a", "bc", "d"), producer_id("c", "ab", "d")}
    assert len(ids) == 3
