"""What was raised on the source is remembered with what was there before, whatever dies in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.runner.effects import Effects
from kmigrate.runner.retention import RAISE, RESTORE, Raised, RetentionJournal
from kmigrate.state.store import Store
from tests.unit.topics.settings_cluster import SettingsCluster

ORDERS = TopicName("orders")
FIRST, HIGHER, FOR_EVER = ({"retention.ms": value} for value in ("5", "50", "-1"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


def test_what_is_planned_counts_as_raised_until_a_restoration_has_ended(store: Store) -> None:
    journal = RetentionJournal(store)
    assert journal.raised() == {}
    journal.plan(RAISE, ORDERS, Raised(FIRST, HIGHER))
    assert RetentionJournal(store).raised() == {ORDERS: Raised(FIRST, HIGHER)}
    number = journal.plan(RESTORE, ORDERS, Raised(HIGHER, FIRST))
    assert journal.raised() == {ORDERS: Raised(FIRST, HIGHER)}, "it may not have happened"
    journal.end(number)
    assert journal.raised() == {}


def test_a_second_raise_keeps_what_was_before_the_first(store: Store) -> None:
    journal = RetentionJournal(store)
    journal.end(journal.plan(RAISE, ORDERS, Raised(FIRST, HIGHER)))
    journal.end(journal.plan(RAISE, ORDERS, Raised(HIGHER, FOR_EVER)))
    assert journal.raised() == {ORDERS: Raised(FIRST, FOR_EVER)}


def test_what_is_planned_on_the_source_is_no_effect_on_the_target(store: Store) -> None:
    RetentionJournal(store).plan(RAISE, ORDERS, Raised(FIRST, FOR_EVER))
    target = SettingsCluster({"orders": {}})
    assert Effects(store, target.client, target.client, lambda: True).resume() == {}
    assert target.alterations == []
