"""What is kept of consumer groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.groups.values import GroupRecord, Latch, Value, Written
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.state.group_book import GroupBook
from kmigrate.state.store import Store

A0, A1, B0 = (TopicPartition(TopicName(t), Partition(p)) for t, p in (("a", 0), ("a", 1), ("b", 0)))
RECORD = GroupRecord(
    written={
        A0: Written(Value(Offset(5), "note"), Value(Offset(4), "", LeaderEpoch(3))),
        A1: Written(Value(Offset(0), "ü")),
        B0: Written(Value(Offset(2**62), "")),
    },
    refreshed_ms=77,
)
MOVED = GroupRecord(moved=Latch(reason="it has members", at_ms=9), refreshed_ms=-1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def test_records_come_back_as_they_were_kept(store: Store, tmp_path: Path) -> None:
    GroupBook(store).save({"g": RECORD, "m": MOVED})
    store.close()
    again = Store.open(tmp_path)
    assert GroupBook(again).load() == {"g": RECORD, "m": MOVED}
    again.close()


def test_other_records_stay_as_they_are(store: Store) -> None:
    book = GroupBook(store)
    book.save({"g": RECORD, "m": MOVED})
    book.save({"g": MOVED})
    assert book.load() == {"g": MOVED, "m": MOVED}


def test_a_release_ends_a_latch_and_is_journaled(store: Store) -> None:
    book = GroupBook(store)
    book.save({"g": RECORD, "m": MOVED})
    assert book.release(["m", "g", "unknown"]) == ("m",)
    assert book.load()["m"] == GroupRecord(released=True)
    assert book.load()["g"] == RECORD
    assert [(each.kind, each.detail) for each in store.journal()] == [("group-release", {"groups": ["m"]})]


def test_the_last_reset_that_was_not_undone_is_known(store: Store) -> None:
    book = GroupBook(store)
    assert book.last_reset("g") is None
    first = book.plan_reset("g", {"after": [1]}, MOVED, 5)
    second = book.plan_reset("g", {"after": [2]}, MOVED, 6)
    book.plan_reset("other", {}, MOVED, 7)
    assert book.load()["g"] == MOVED
    assert book.last_reset("g") == second
    book.end_reset(second, RECORD, 8)
    assert book.last_reset("g") == first
    assert book.load()["g"] == RECORD


def test_the_last_list_is_kept(store: Store) -> None:
    book = GroupBook(store)
    assert book.load_list() is None
    book.save_list("{}")
    book.save_list("[]")
    assert book.load_list() == "[]"
