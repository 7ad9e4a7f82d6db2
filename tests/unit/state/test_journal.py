"""The chain over the journal shows what was changed, removed, moved, added or cut off, and from which entry on."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.state.journal import GENESIS
from kmigrate.state.schema import APPLICATION_ID, STEPS
from kmigrate.state.store import FILE_NAME, Store
from kmigrate.topics.intended import Intended, Origin

CHAINED_FROM = 8
"""The version of the database whose step chains the journal."""
ORDERS = TopicName("orders")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Seven entries: a run, two effects planned together, one done, a pause, a resume, the other one done, a run."""
    times = iter(range(10, 100))
    store = Store.open(tmp_path, wall_ms=lambda: next(times))
    store.decide("run", {"target": "T", "source": "zahlung-ü"})
    first, second = store.plan_effects("create-topic", {"orders": {"partitions": 3}, "pay": {"partitions": 1}})
    store.end_effect(first)
    store.decide("pause", {}, facts={"paused": "yes"})
    store.decide("resume", {})
    store.end_effect(second)
    store.decide("run", {})
    yield store
    store.close()


def alter(store: Store, *statements: str) -> None:
    """Somebody else's hand."""
    with sqlite3.connect(store.path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_journal_that_nobody_touched_holds(store: Store) -> None:
    found = store.verify_journal()
    assert (found.holds, found.count, found.number, found.reason) == (True, 7, 7, "")
    assert found.hash == store.journal(1)[0].hash
    assert [each.kind for each in reversed(store.journal())] == [
        "run",
        "effects-planned",
        "effect-done",
        "pause",
        "resume",
        "effect-done",
        "run",
    ]


def test_the_hashes_are_those_that_the_docs_tell_how_to_compute(store: Store) -> None:
    previous = GENESIS
    for entry in reversed(store.journal()):
        text = json.dumps(
            [previous, entry.number, entry.at_ms, entry.kind, entry.detail],
            ensure_ascii=False,
            sort_keys=True,
            separators=(",", ":"),
        )
        previous = hashlib.sha256(text.encode()).hexdigest()
        assert entry.hash == previous


@pytest.mark.parametrize(
    ("statement", "broken_at", "reason"),
    [
        ("UPDATE journal SET detail = replace(detail, 'ü', 'u') WHERE number = 1", 1, "not what was written"),
        ("UPDATE journal SET detail = detail || ' ' WHERE number = 4", 4, "not what was written"),
        ("UPDATE journal SET kind = 'resume' WHERE number = 4", 4, "not what was written"),
        ("UPDATE journal SET at_ms = at_ms + 1 WHERE number = 4", 4, "not what was written"),
        ("UPDATE journal SET at_ms = 13.5 WHERE number = 4", 4, "not what was written"),
        ("UPDATE journal SET detail = x'00ff' WHERE number = 4", 4, "not what was written"),
        (
            "UPDATE journal SET hash = (SELECT hash FROM journal WHERE number = 5) WHERE number = 4",
            4,
            "does not follow",
        ),
        ("DELETE FROM journal WHERE number = 4", 4, "entry 4 is missing, 5 comes next"),
        ("DELETE FROM journal WHERE number IN (1, 2)", 1, "entries 1 to 2 are missing"),
        ("DELETE FROM journal WHERE number >= 6", 6, "entries 6 to 7 are missing: the end was cut off"),
        ("DELETE FROM journal", 1, "entries 1 to 7 are missing: the end was cut off"),
        ("INSERT INTO journal VALUES (8, 99, 'run', '{}', 'x')", 8, "not what was written"),
        ("INSERT INTO journal VALUES (0, 99, 'run', '{}', 'x')", 0, "added"),
        ("DELETE FROM fact WHERE key = 'journal.head'", 8, "the head of the chain is gone"),
        ("UPDATE fact SET value = '7 beef' WHERE key = 'journal.head'", 7, "not the one that was written last"),
        ("UPDATE fact SET value = 'nonsense' WHERE key = 'journal.head'", 8, "the head of the chain is gone"),
        ("UPDATE fact SET value = CAST(x'ff' AS TEXT) WHERE key = 'journal.head'", 8, "the head of the chain is gone"),
        ("UPDATE effects SET payload = CAST(x'7bff7d' AS TEXT) WHERE id = 2", 2, "effects 1 to 2 are not"),
        ("UPDATE effects SET payload = '{}' WHERE id = 2", 2, "effects 1 to 2 are not what was planned"),
        ("UPDATE effects SET topic = 'other' WHERE id = 1", 2, "effects 1 to 2 are not what was planned"),
        ("DELETE FROM effects WHERE id = 1", 2, "effects 1 to 2 are not what was planned, or are gone"),
        ("UPDATE effects SET done_at_ms = 5 WHERE id = 1", 3, "effect 1 ended then, and does not say so"),
        ("UPDATE effects SET done_at_ms = NULL, state = 'planned' WHERE id = 2", 6, "effect 2 ended then"),
        ("INSERT INTO effects VALUES (9, 'x', 'y', '{}', 'planned', 1, NULL)", 8, "effect 9 was planned by nobody"),
    ],
)
def test_what_was_altered_is_named(store: Store, statement: str, broken_at: int, reason: str) -> None:
    alter(store, statement)
    found = store.verify_journal()
    assert (found.holds, found.broken_at) == (False, broken_at)
    assert reason in found.reason
    store.close()
    again = Store.open(store.path.parent)
    assert again.verify_journal() == found, "opened again it is as broken as before"
    rows, effects, _ = again.told()
    json.dumps([row.entry.detail for row in rows] + [row.entry.payload for row in effects], ensure_ascii=False).encode()
    again.close()


def test_entries_that_changed_places_are_named(store: Store) -> None:
    alter(
        store,
        "UPDATE journal SET number = 100 WHERE number = 4",
        "UPDATE journal SET number = 4 WHERE number = 5",
        "UPDATE journal SET number = 5 WHERE number = 100",
    )
    assert store.verify_journal().broken_at == 4


def test_an_entry_that_was_added_with_a_hash_that_fits_is_named_by_the_head(store: Store) -> None:
    last = store.verify_journal()
    text = f'["{last.hash}",8,99,"run",{{}}]'
    alter(store, f"INSERT INTO journal VALUES (8, 99, 'run', '{{}}', '{hashlib.sha256(text.encode()).hexdigest()}')")
    found = store.verify_journal()
    assert (found.broken_at, found.reason) == (8, "the journal ended with entry 7; what follows was added")


@pytest.mark.parametrize(
    "statement", ["DELETE FROM journal WHERE number >= 6", "DELETE FROM fact WHERE key = 'journal.head'"]
)
def test_what_is_written_afterwards_does_not_heal_the_chain(store: Store, statement: str) -> None:
    alter(store, statement)
    before = store.verify_journal().broken_at
    store.decide("run", {})
    store.end_effect(store.plan_effect("raise-limit", ORDERS, {"bytes": 5}))
    assert store.verify_journal().broken_at == before


def test_an_effect_that_is_done_twice_is_journaled_once(store: Store) -> None:
    effect = store.effects()[0]
    store.end_effect(effect)
    assert store.verify_journal().number == 7


def test_what_follows_from_a_change_of_the_source_is_journaled_with_it(store: Store) -> None:
    intended = Intended(origin=Origin.SOURCE, settings={})
    store.record_intended({ORDERS: intended})
    assert store.record_followed("follow", ORDERS, intended, None) is None
    assert store.verify_journal().number == 7
    followed = store.record_followed("follow", ORDERS, intended, {"changes": {}})
    assert followed is not None
    assert store.journal(1)[0].detail["effects"] == [followed.id, followed.id]
    assert store.verify_journal().holds


def test_an_entry_that_cannot_be_read_is_shown_as_it_stands(store: Store) -> None:
    alter(store, "UPDATE journal SET detail = 'oh no', at_ms = 'never' WHERE number = 7")
    rows, _, _ = store.told()
    assert (rows[6].entry.detail, rows[6].entry.at_ms) == ({"unreadable": "oh no"}, -1)


def old_database(folder: Path) -> None:
    """As the version before the chain left it: two entries, and three effects of which one is not done."""
    with sqlite3.connect(folder / FILE_NAME) as connection:
        for step in STEPS[: CHAINED_FROM - 1]:
            connection.executescript(step)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {CHAINED_FROM - 1}")
        for kind, detail in (("run", '{"target": "T", "source": "S"}'), ("pause", "{}")):
            connection.execute("INSERT INTO journal (at_ms, kind, detail) VALUES (1, ?, ?)", (kind, detail))
        for name, done in (("a", 5), ("b", None), ("c", 7)):
            state = "planned" if done is None else "done"
            connection.execute(
                "INSERT INTO effects (kind, topic, payload, state, planned_at_ms, done_at_ms)"
                " VALUES ('k', ?, '{}', ?, 2, ?)",
                (name, state, done),
            )
    connection.close()


def test_what_was_there_before_is_chained_once(tmp_path: Path) -> None:
    old_database(tmp_path)
    Store.open(tmp_path, wall_ms=lambda: 50).close()
    store = Store.open(tmp_path, wall_ms=lambda: 60)
    assert [(each.number, each.kind, each.at_ms) for each in store.journal()] == [
        (3, "chained", 50),
        (2, "pause", 1),
        (1, "run", 1),
    ]
    assert store.journal()[0].detail["open"] == [2]
    assert store.journal()[2].detail == {"target": "T", "source": "S"}
    assert store.verify_journal().holds
    store.end_effect(store.effects()[1])
    assert store.verify_journal().holds
    for statement in (
        "UPDATE effects SET done_at_ms = 6 WHERE id = 1",
        "UPDATE effects SET payload = '[]' WHERE id = 3",
        "DELETE FROM effects WHERE id = 2",
    ):
        alter(store, "CREATE TABLE kept AS SELECT * FROM effects", statement)
        assert store.verify_journal().broken_at == 3, statement
        alter(store, "DELETE FROM effects", "INSERT INTO effects SELECT * FROM kept", "DROP TABLE kept")
        assert store.verify_journal().holds
    store.close()


def test_an_empty_old_database_begins_like_a_new_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert (store.journal(), store.verify_journal().hash, store.verify_journal().holds) == ([], GENESIS, True)
    store.close()
