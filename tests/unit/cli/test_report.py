"""`report` prints what happened in three forms, and ends with 6 where the journal is not as it was written."""

from __future__ import annotations

import json
import sqlite3

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.state.store import FILE_NAME, Store

from .conftest import World


@pytest.fixture
def left(world: World) -> World:
    """An owner ran, paused and raised a limit, and left."""
    world.left_behind()
    world.desk().pause()
    store = Store.open(world.folder)
    store.end_effect(store.plan_effect("raise-limit", TopicName("pay"), {"bytes": 5}))
    store.close()
    return world


def test_the_three_forms_tell_the_same(left: World) -> None:
    told = left.call("report", "-o", "json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert (document["kind"], document["chain"]["entries"], document["state"]) == ("Report", 3, "ENDED")
    for form in ("md", "html"):
        result = left.call("report", "-o", form)
        assert (result.exit_code, result.stderr) == (0, "")
        assert document["chain"]["headHash"] in result.stdout
        assert "TARGET_REJECTED" in result.stdout
    assert left.call("report").stdout.startswith("# Report of the migration orders\n")


def test_it_is_written_to_a_file_in_place_of_what_that_held(left: World) -> None:
    path = left.root / "orders.html"
    path.write_text("an earlier report")
    result = left.call("report", "-o", "html", "--output", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [each.name for each in left.root.glob("orders.html*")] == ["orders.html"]
    result = left.call("report", "--output", str(left.root / "nowhere" / "x.md"))
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


def test_a_journal_that_was_changed_is_named_and_ends_with_6(left: World) -> None:
    with sqlite3.connect(left.folder / FILE_NAME) as connection:
        connection.execute("UPDATE journal SET detail = '{\"by\":\"nobody\"}' WHERE kind = 'pause'")
    connection.close()
    result = left.call("report")
    assert result.exit_code == 6
    assert "from entry 1 on: entry 1 is not what was written" in result.stderr
    assert "**The chain is broken from entry 1 on" in result.stdout, "the report is written all the same"


def test_a_migration_that_never_ran_has_no_report(world: World) -> None:
    result = world.call("report")
    assert result.exit_code == 2
    assert "has not been started" in result.stderr
