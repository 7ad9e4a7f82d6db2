"""A migration's producer ids depend on all of its parts and lie where brokers allocate none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.identity import marker_producer_id, producer_id
from kmigrate.kafka_types import ProducerId


@given(st.text(), st.text(), st.text())
def test_the_id_lies_where_brokers_allocate_none(source: str, target: str, name: str) -> None:
    assert 2**62 <= producer_id(source, target, name) < 2**63 - 1


def test_the_id_is_the_same_in_every_release() -> None:
    assert producer_id("s", "t", "orders") == 5601967682625399118


def test_no_two_parts_can_be_exchanged() -> None:
    ids = {producer_id("ab", "c", "d"), producer_id("a", "bc", "d"), producer_id("c", "ab", "d")}
    assert len(ids) == 3


@given(st.text(), st.text(), st.text())
def test_the_markers_id_lies_there_too_and_is_another_one(source: str, target: str, name: str) -> None:
    data = producer_id(source, target, name)
    assert 2**62 <= marker_producer_id(data) < 2**63 - 1
    assert marker_producer_id(data) != data


@pytest.mark.parametrize("data", [2**62, 2**63 - 2])
def test_the_markers_id_stays_in_the_range_at_its_ends(data: int) -> None:
    assert 2**62 <= marker_producer_id(ProducerId(data)) < 2**63 - 1


def test_the_markers_id_is_the_same_in_every_release() -> None:
    assert marker_producer_id(ProducerId(5601967682625399118)) == 4744220938887422415


def test_two_migrations_have_two_marker_ids() -> None:
    ids = {marker_producer_id(producer_id("s", "t", name)) for name in ("a", "b", "c")}
    assert len(ids) == 3
