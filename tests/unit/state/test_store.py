"""The store keeps what it was told, and says what to do about a file it cannot use."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from kmigrate.copy.orders import Remembered
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicId, TopicName, TopicPartition
from kmigrate.state.schema import STEPS
from kmigrate.state.store import FILE_NAME, Store

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
