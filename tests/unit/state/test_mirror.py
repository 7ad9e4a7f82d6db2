"""A mirrored state is the state: every row that cannot be read back, as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.errors import KmigrateError
from kmigrate.groups.values import GroupRecord, Latch, Value, Written
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, ProducerId, TopicId, TopicName, TopicPartition
from kmigrate.late.values import Batch, Handover
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.mirroring import MIRROR_TERM
from kmigrate.runner.owner import MEMBER
from kmigrate.state.export import read_export, write_export
from kmigrate.state.group_book import GroupBook
from kmigrate.state.late_book import LateBook
from kmigrate.state.mirror import (
    DERIVED_TABLES,
    HEAD_KEY,
    LOCAL_FACTS,
    Head,
    is_stale,
    next_writer,
    parse_key,
    parse_row,
    producer_of,
    serialize_key,
    serialize_row,
)
from kmigrate.state.outbox import Outbox, digest, mirrored_tables
from kmigrate.state.store import RunsFrom, Store
from kmigrate.state.verification_book import VerificationBook, VerificationRow
from kmigrate.topics.intended import Intended, Origin

HEAD = Head(schema=7, name="orders", source="s", target="t", state="f00")
PLACE = TopicPartition(TopicName("zahlung-ü\u2028"), Partition(3))


def fill(store: Store) -> None:
    """Something in every table."""
    store.put("name", "orders")
    store.put(MEMBER, "only here")
    store.decide("pause", {"why": "lunch\nbreak"}, facts={"decisions": '{"paused": true}'})
    store.record_intended({TopicName("orders"): Intended(origin=Origin.SOURCE, settings={"retention.ms": "5"})})
    store.record_intended({TopicName("pay"): Intended(origin=Origin.LOST, settings=None)})
    store.end_effect(store.plan_effect("raise-limit", TopicName("orders"), {"bytes": 7}))
    store.plan_effect("raise-limit", TopicName("pay"), {})
    kept = OffsetMap()
    for number in range(2000):
        kept.add(Run(Offset(3 * number), Offset(2 * number)))
    store.decide_classes(
        {PLACE: OffsetClass.MAPPED},
        {PLACE: RunsFrom(0, kept.to_bytes())},
        {PLACE: Beginning(TopicId("a" * 32), Offset(4), None)},
    )
    groups = GroupBook(store)
    written = {PLACE: Written(Value(Offset(1), "x", LeaderEpoch(-1)))}
    groups.save(
        {"g": GroupRecord(moved=Latch(reason="used", at_ms=1), released=False, written=written, refreshed_ms=2)}
    )
    groups.plan_reset("g", {"to": 1}, GroupRecord(moved=None, released=True, written={}, refreshed_ms=0), 5)
    VerificationBook(store).save([VerificationRow("orders", 0, "records", "{}")])
    late = LateBook(store)
    late.open({PLACE: Handover(TopicId("a" * 32), TopicId("b" * 32), Offset(5), Offset(6))})
    late.save([(PLACE, Batch(0, 0, Offset(5), Offset(9), 4, Offset(6)))])
    store.save_status("{}")
    groups.save_list("{}")


def rows(store: Store) -> dict[bytes, bytes]:
    with store.reading() as db:
        found = {}
        for table in mirrored_tables(db):
            for values in db.execute(f"SELECT {', '.join(table.columns)} FROM {table.name}"):
                row = dict(zip(table.columns, values, strict=True))
                found[serialize_key(table.name, tuple(row[each] for each in table.key))] = serialize_row(row)
    return {key: value for key, value in found.items() if parse_key(key)[1][0] not in LOCAL_FACTS}


def test_every_table_has_something_to_mirror_or_is_derived(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    fill(store)
    with store.reading() as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    mirrored = {parse_key(key)[0] for key in rows(store)}
    assert {name for name in names if not name.startswith("sqlite_")} == mirrored | DERIVED_TABLES


def test_a_loaded_state_is_the_mirrored_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    store, other = Store.open(tmp_path / "one"), Store.open(tmp_path / "other")
    fill(store)
    other.put("left over", "yes")
    other.put(MEMBER, "of this machine")
    mirrored = dict(Outbox(store).rows())
    count = Outbox(other).load(mirrored)
    assert count == len(mirrored)
    assert rows(other) == rows(store) == mirrored
    assert other.get(MEMBER) == "of this machine"
    assert other.offset_map(PLACE).to_bytes() == store.offset_map(PLACE).to_bytes()
    assert other.plan_effect("x", TopicName("y"), {}).id == 3, "numbers go on where they were"


def test_facts_of_one_folder_are_named_alike_everywhere() -> None:
    assert {MEMBER, MIRROR_TERM} == LOCAL_FACTS


def test_the_outbox_notes_what_changes_with_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    outbox = Outbox(store)
    assert outbox.take(1 << 20) == []
    before = outbox.mark()
    fill(store)
    assert outbox.mark() > before
    assert {each.key: each.value for each in outbox.take(1 << 30)} == rows(store)
    outbox.forget(outbox.take(1 << 30))
    store.forget(PLACE.topic)
    gone = outbox.take(1 << 30)
    assert {parse_key(each.key)[0] for each in gone} == {"offset_class", "offset_runs"}
    assert all(each.value is None for each in gone)


def test_a_step_that_is_not_taken_notes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    outbox = Outbox(store)
    with pytest.raises(KmigrateError):
        store.decide("pause", {}, facts={"a": "b", "paused": None})  # type: ignore[dict-item]
    assert outbox.take(1 << 20) == []


def test_a_row_that_changes_while_it_is_sent_is_sent_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    outbox = Outbox(store)
    store.put("a", "1")
    taken = outbox.take(1 << 20)
    store.put("a", "2")
    outbox.forget(taken)
    (again,) = outbox.take(1 << 20)
    assert again.value is not None
    assert parse_row(again.value) == {"key": "a", "value": "2"}


def test_what_is_taken_has_a_limit_and_is_at_least_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    outbox = Outbox(store)
    for name in "abc":
        store.put(name, "x" * 1000)
    assert [len(outbox.take(limit)) for limit in (1, 2100, 1 << 20)] == [1, 2, 3]


def test_a_store_is_compared_with_its_mirror(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for name in "abc":
        store.put(name, "1")
    outbox = Outbox(store)
    mirrored = {key: digest(value) for key, value in outbox.rows()} | {HEAD_KEY: b""}
    store.put("b", "2")
    store.put("d", "1")
    mirrored[serialize_key("fact", ("gone",))] = b""
    assert outbox.note_differences(mirrored) == 3
    found = {parse_key(each.key)[1][0]: each.value is None for each in outbox.take(1 << 20)}
    assert found == {"b": False, "d": False, "gone": True}


def test_a_small_change_of_a_large_map_is_one_piece(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    fill(store)
    outbox = Outbox(store)
    kept = store.offset_map(PLACE)
    kept.add(Run(Offset(9000), Offset(5000)))
    store.save_runs({PLACE: RunsFrom(1536, kept.to_bytes(1536))})
    (change,) = outbox.take(1 << 20)
    assert parse_key(change.key) == ("offset_runs", (*PLACE, 1536))


def test_records_of_a_table_that_there_is_not_change_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put("a", "1")
    outbox = Outbox(store)
    for bad in ({b'["cutover","x"]': b"{}"}, {serialize_key("fact", ("k",)): b'{"key":"k","worth":"v"}'}):
        with pytest.raises(ValueError, match=r"there is no table|has no column"):
            outbox.load(bad)
    assert store.get("a") == "1"


def test_a_head_survives_and_a_newer_one_is_known_as_such() -> None:
    head = HEAD.as_of(term=4, writer=9, at_ms=5)
    assert Head.from_bytes(head.to_bytes()) == head
    assert head.objection(HEAD) == ""
    newer = Head.from_bytes(b'{"version":2,"what":"ever"}')
    assert newer is not None
    assert "newer" in newer.objection(HEAD)
    assert Head.from_bytes(b"[]") is None
    assert Head.from_bytes(b'{"version":1}') is None


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"name": "pay"}, "the migration pay"),
        ({"source": "x"}, "another source cluster, x"),
        ({"target": "y"}, "another target cluster, y"),
        ({"schema": 8}, "newer kmigrate"),
    ],
)
def test_a_head_of_another_state_is_named(other: dict[str, str], word: str) -> None:
    there = Head(**{"schema": 7, "name": "orders", "source": "s", "target": "t", "state": "f00"} | other)  # type: ignore[arg-type]
    assert word in there.objection(HEAD)


def test_a_mirror_is_stale_if_somebody_copied_later_or_it_was_never_whole() -> None:
    head = HEAD.as_of(term=4, writer=4, at_ms=0)
    assert not is_stale(head, {})
    assert not is_stale(head, {PLACE: 4})
    assert is_stale(head, {PLACE: 5})
    assert is_stale(HEAD, {})


def test_writers_fence_each_other_in_their_order() -> None:
    data = ProducerId(1 << 62)
    first, second = producer_of(data, 32_767), producer_of(data, 32_768)
    assert (first.epoch, second.epoch) == (32_767, 0)
    assert first.producer_id != second.producer_id
    assert next_writer(7, 3) == 7
    assert next_writer(1, 3) == 4


def test_an_export_is_the_state_without_maps(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    store = Store.open(tmp_path / "one")
    fill(store)
    path = tmp_path / "export.jsonl"
    write_export(path, HEAD, Outbox(store).rows())
    head, found = read_export(path)
    assert head == HEAD
    assert found == {key: value for key, value in rows(store).items() if parse_key(key)[0] != "offset_runs"}
