"""The store keeps what it was told, and says what to do about a file it cannot use."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.state.schema import APPLICATION_ID, STEPS
from kmigrate.state.store import FILE_NAME, Store
from kmigrate.topics.intended import Intended, Origin

ORDERS_0 = TopicPartition(TopicName("orders"), Partition(0))
ORDERS_1 = TopicPartition(TopicName("orders"), Partition(1))
PAY_0 = TopicPartition(TopicName("pay"), Partition(0))


def memory(appended: int) -> Remembered:
    return Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(3), Offset(appended))


def test_a_database_is_new_once(tmp_path: Path) -> None:
    assert not Store.exists(tmp_path)
    store = Store.open(tmp_path)
    assert store.is_new
    store.close()
    assert Store.exists(tmp_path)
    assert not Store.open(tmp_path).is_new
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_facts_outlive_the_process(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert store.get("term") is None
    store.put("term", "4")
    store.put("term", "5")
    store.close()
    assert Store.open(tmp_path).get("term") == "5"


def test_what_is_remembered_is_replaced_partition_by_partition(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.remember({ORDERS_0: memory(1), ORDERS_1: memory(2), PAY_0: memory(2**40)})
    store.remember({ORDERS_1: memory(7)})
    store.remember({})
    assert store.remembered() == {ORDERS_0: memory(1), ORDERS_1: memory(7), PAY_0: memory(2**40)}
    store.forget("orders")
    assert store.remembered() == {PAY_0: memory(2**40)}


def test_where_partitions_begin_outlives_the_process_and_a_copy_that_is_given_up(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    pending = Beginning(TopicId("a" * 32), None)
    store.record_beginnings({ORDERS_0: pending, ORDERS_1: pending}, {"start": "latest"})
    decided = Beginning(TopicId("b" * 32), Offset(2**40), None, Offset(2**41))
    store.decide_classes({ORDERS_1: OffsetClass.IDENTICAL}, {}, {ORDERS_1: decided})
    store.forget("orders")
    store.close()
    store = Store.open(tmp_path)
    assert store.beginnings() == {ORDERS_0: pending, ORDERS_1: decided}
    assert (store.offset_classes(), store.get("start")) == ({}, "latest")


def test_the_time_as_of_which_nothing_was_missing_is_remembered(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    kept = {ORDERS_0: memory(1)._replace(even_ms=2**41, retention_ms=100), ORDERS_1: memory(2)._replace(even_ms=2**41)}
    store.remember(kept)
    assert store.remembered() == kept


def test_a_decision_is_journaled_with_the_facts_it_changes(tmp_path: Path) -> None:
    times = iter((10, 20))
    store = Store.open(tmp_path, wall_ms=lambda: next(times))
    first = store.decide("pause", {})
    second = store.decide("answer", {"topic": "zahlung-ü", "partitions": [1]}, facts={"paused": "no"})
    assert second > first
    newest, oldest = store.journal()
    assert (newest.number, newest.at_ms, newest.kind) == (second, 20, "answer")
    assert newest.detail == {"topic": "zahlung-ü", "partitions": [1]}
    assert (oldest.at_ms, oldest.kind) == (10, "pause")
    assert store.get("paused") == "no"
    assert [entry.kind for entry in store.journal(1)] == ["answer"]


def test_a_decision_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(KmigrateError):
        store.decide("pause", {}, facts={"paused": None})  # type: ignore[dict-item]
    assert store.journal() == []
    store.put("paused", "yes")  # and the store is not stuck in a transaction
    assert store.get("paused") == "yes"


ORDERS, PAY = TopicName("orders"), TopicName("zahlung-ü")
COMPACTED = Intended(origin=Origin.SOURCE, settings={"cleanup.policy": "compact"})
BY_HAND = Intended(origin=Origin.TARGET, settings={})
LOST = Intended(origin=Origin.LOST, settings=None)


def test_what_topics_are_to_become_outlives_the_process(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.record_intended({ORDERS: COMPACTED, PAY: LOST})
    store.record_intended({PAY: BY_HAND})
    store.record_intended({})
    store.close()
    store = Store.open(tmp_path)
    assert store.intended() == {ORDERS: COMPACTED, PAY: BY_HAND}
    assert store.held() == ("orders", "zahlung-ü")
    store.forget("orders")
    assert store.held() == ("orders", "zahlung-ü"), "a copy that begins anew is still under hold"


def test_an_effect_is_planned_then_done(tmp_path: Path) -> None:
    times = iter((5, 10, 20, 30, 40))
    store = Store.open(tmp_path, wall_ms=lambda: next(times))
    store.record_intended({ORDERS: COMPACTED, PAY: BY_HAND})
    first = store.plan_effect("raise-limit", ORDERS, {"bytes": 7})
    second = store.plan_effect("restore-hold", ORDERS, {"settings": {"cleanup.policy": "compact"}})
    assert store.effects() == [first, second]
    assert (first.planned_at_ms, second.planned_at_ms) == (10, 20)
    store.end_effect(first)
    assert store.held() == ("orders", "zahlung-ü")
    store.end_effect(second, ends_hold=True)
    assert store.held() == ("zahlung-ü",)
    assert [(each.is_done, each.done_at_ms) for each in store.effects()] == [(True, 30), (True, 40)]


def test_an_effect_that_is_done_stays_done_as_it_was(tmp_path: Path) -> None:
    times = iter((10, 20, 30))
    store = Store.open(tmp_path, wall_ms=lambda: next(times))
    effect = store.plan_effect("raise-limit", ORDERS, {"bytes": 7})
    store.end_effect(effect)
    store.end_effect(effect)
    assert [each.done_at_ms for each in store.effects()] == [20]


def test_the_end_of_an_effect_and_of_its_hold_are_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.record_intended({ORDERS: COMPACTED})
    effect = store.plan_effect("restore-hold", ORDERS, {})
    store._connection.execute("CREATE TRIGGER full BEFORE DELETE ON hold BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(KmigrateError):
        store.end_effect(effect, ends_hold=True)
    assert store.effects() == [effect]
    assert store.held() == ("orders",)


def test_a_database_of_the_first_version_keeps_what_it_holds(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.executescript(STEPS[0])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO fact VALUES ('term', '4')")
        connection.execute("INSERT INTO remembered VALUES ('orders', 0, ?, ?, 3, 7)", ("a" * 32, "b" * 32))
    connection.close()
    store = Store.open(tmp_path)
    assert store.get("term") == "4"
    assert (store.held(), store.effects()) == ((), [])
    assert store.remembered() == {ORDERS_0: memory(7)}
    store.record_intended({ORDERS: COMPACTED})
    store.close()
    assert Store.open(tmp_path).intended() == {ORDERS: COMPACTED}


def test_the_last_status_is_kept(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert store.load_status() is None
    store.save_status('{"a": 1}')
    store.save_status('{"a": 2}')
    assert store.load_status() == '{"a": 2}'


def test_threads_take_turns(tmp_path: Path) -> None:
    store = Store.open(tmp_path)

    def decide(number: int) -> None:
        for each in range(20):
            store.decide("note", {"thread": number, "each": each})

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.journal(1000)) == 80


def test_decisions_are_flushed_to_the_disk(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_newer_database_is_refused_with_a_hint(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    connection.close()
    with pytest.raises(KmigrateError, match="newer kmigrate") as caught:
        Store.open(tmp_path)
    assert "newer" in caught.value.hint


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(KmigrateError, match="another program") as caught:
        Store.open(tmp_path)
    assert "--state" in caught.value.hint


@pytest.mark.parametrize("content", [b"this is no database at all, whatever its name says" * 100])
def test_a_file_that_is_no_database_is_told_as_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(KmigrateError, match="damaged") as caught:
        Store.open(tmp_path)
    assert "STATE_LOST" in caught.value.hint


def test_a_damaged_page_is_told_as_damaged(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.remember({TopicPartition(TopicName("t"), Partition(n)): memory(n) for n in range(2_000)})
    store.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 12] = b"\xff" * (4096 * 8)
    path.write_bytes(content)
    with pytest.raises(KmigrateError, match="damaged"):
        Store.open(tmp_path)


def test_a_folder_that_is_missing_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(KmigrateError, match="nowhere") as caught:
        Store.open(tmp_path / "nowhere")
    assert "--state" in caught.value.hint


def test_closing_twice_is_harmless_and_use_after_it_is_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.close()
    store.close()
    with pytest.raises(KmigrateError):
        store.get("term")
