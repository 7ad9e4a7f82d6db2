"""`group` shows groups, waits for them, and hands decisions on."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from kmigrate.cli.group_screen import behind_first, blocking
from kmigrate.groups.values import GroupRecord, Latch, OutcomeKind
from kmigrate.runner.group_desk import GroupDesk
from kmigrate.runner.group_reset import ResetMode, ResetReply, ResetRow, ResetWish
from kmigrate.runner.groups_document import (
    GroupPartition,
    GroupsDocument,
    GroupSide,
    GroupsSummary,
    GroupStatus,
    LeftOutGroup,
    MemberStatus,
)
from kmigrate.state.group_book import GroupBook
from kmigrate.state.store import Store

from .conftest import World


def partition(
    number: int, lag: int | None, outcome: OutcomeKind = OutcomeKind.SYNCED, reason: str = ""
) -> GroupPartition:
    return GroupPartition(
        topic="pay",
        partition=number,
        outcome=outcome,
        reason=reason,
        source_offset=7,
        target_offset=5,
        source_lag=lag,
        target_lag=lag,
    )


def group(name: str, lag: int | None, *, outcome: OutcomeKind = OutcomeKind.SYNCED, **change: Any) -> GroupStatus:
    made = GroupStatus(
        group=name,
        group_type="classic",
        source=GroupSide(state="Stable", lag_records=lag, members=(MemberStatus(client_id="app", host="10.0.0.7"),)),
        target=GroupSide(state="Empty", lag_records=lag, members=()),
        outcome=outcome,
        safe_reason="stop its members on the source first",
        partitions=(partition(0, lag), partition(1, 0)),
    )
    return replace(made, **change)


BEHIND, DRAINED = group("billing", 1200, records_per_second=10.0, eta_seconds=120.0), group("audit", 0)
DOCUMENT = GroupsDocument(
    name="orders",
    groups=(DRAINED, BEHIND),
    summary=GroupsSummary(
        groups=2,
        synced=2,
        partitions=4,
        unsupported=(LeftOutGroup(group="shared", reason="a share group: its progress cannot be moved"),),
    ),
    left_out=(LeftOutGroup(group="console-consumer-1", reason="excluded by the manifest"),),
)


@pytest.fixture
def left(world: World) -> World:
    """An owner ran, and left this list."""
    world.left_behind()
    store = Store.open(world.folder)
    GroupBook(store).save_list(DOCUMENT.to_json())
    GroupBook(store).save({"moved": GroupRecord(moved=Latch(reason="it has members", at_ms=1))})
    store.close()
    return world


def test_the_list_names_both_sides_and_the_differences(left: World) -> None:
    result = left.call("group list")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("billing") and "Stable (1)" in line and "1200" in line for line in lines), lines
    assert "unsupported: shared: a share group: its progress cannot be moved" in lines
    assert lines[-1] == "differences: 0 of 4 partitions of 2 groups"
    assert all(len(line) <= 80 for line in lines)


def test_the_wide_list_names_members_and_partitions(left: World) -> None:
    told = left.call("group list", "-g", "billing", "-o", "wide").stdout
    assert "app on 10.0.0.7" in told
    assert "pay-0" in told
    assert "audit" not in told


def test_json_and_yaml_are_the_document(left: World) -> None:
    assert GroupsDocument.from_json(left.call("group list", "-o", "json").stdout) == DOCUMENT
    assert yaml.safe_load(left.call("group list", "-o", "yaml").stdout) == DOCUMENT.to_value()


def test_csv_has_a_row_for_every_partition(left: World) -> None:
    rows = list(csv.DictReader(io.StringIO(left.call("group list", "-o", "csv").stdout)))
    assert [(row["group"], row["partition"], row["sourceLag"]) for row in rows] == [
        ("audit", "0", "0"),
        ("audit", "1", "0"),
        ("billing", "0", "1200"),
        ("billing", "1", "0"),
    ]


def test_a_group_that_takes_no_part_is_refused_with_the_reason(left: World) -> None:
    result = left.call("group list", "-g", "console-consumer-1")
    assert result.exit_code == 2
    assert "excluded by the manifest" in result.stderr


def test_progress_names_who_is_behind_and_what_holds_them_up(left: World) -> None:
    told = left.call("group progress").stdout
    assert "1 of 2 groups have read everything on the source" in told
    assert "pay-0 (1,200)" in told
    only = json.loads(left.call("group progress", "-g", "billing", "-o", "json").stdout)
    assert [(each["group"], each["drained"], each["etaSeconds"]) for each in only] == [("billing", False, 120.0)]
    assert only[0]["blocking"] == [{"topic": "pay", "partition": 0, "lagRecords": 1200}]


def test_nobody_waits_where_nobody_looks(left: World) -> None:
    result = left.call("group progress", "--until", "drained", "--timeout", "0")
    assert result.exit_code == 1
    assert "no owner runs" in result.stderr
    assert left.call("group progress", "--timeout", "3").exit_code == 2


def test_a_release_without_an_owner_is_for_the_next_run(left: World) -> None:
    result = left.call("group sync", "--release", "moved")
    assert result.exit_code == 0, result.output
    assert "moved follows the source again, from the next run on" in result.stdout
    store = Store.open(left.folder)
    assert GroupBook(store).load()["moved"].released
    store.close()


def test_what_is_not_latched_cannot_be_released(left: World) -> None:
    result = left.call("group sync", "--release", "billing")
    assert result.exit_code == 2
    assert "'billing' is not latched" in result.stderr


def test_those_of_whom_nobody_can_tell_come_first() -> None:
    unknown, more = group("unknown", None), group("more", 5000)
    assert behind_first([BEHIND, DRAINED, more, unknown]) == [unknown, more, BEHIND]


def test_what_holds_up_is_told_worst_first_and_not_endlessly() -> None:
    told = blocking([partition(number, number) for number in range(8)])
    assert told == ["pay-7 (7)", "pay-6 (6)", "pay-5 (5)", "pay-4 (4)", "pay-3 (3)", "and 2 more"]


def test_a_reset_needs_an_owner(left: World) -> None:
    result = left.call("group reset", "-g", "billing", "--to-earliest")
    assert result.exit_code == 2
    assert "no owner runs" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "reset to where?"),
        (["--to-earliest", "--to-latest"], "more than one place"),
        (["--to-offset", "0", "--undo"], "more than one place"),
        (["--to-earliest", "--dry-run", "--execute"], "exclude each other"),
        (["--to-datetime", "yesterday"], "no time with its zone"),
        (["--to-datetime", "2024-05-01T00:00:00"], "no time with its zone"),
        (["--to-earliest", "-t", "pay:a"], "names no partitions"),
    ],
)
def test_a_reset_that_says_too_much_or_too_little_is_refused(left: World, arguments: list[str], told: str) -> None:
    result = left.call("group reset", "-g", "billing", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_reset_reaches_the_desk_as_it_was_typed(left: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[ResetWish, bool]] = []

    def reset(desk: GroupDesk, wish: ResetWish, *, execute: bool) -> ResetReply:
        seen.append((wish, execute))
        rows = (ResetRow(topic="pay", partition=0, before=None, after=5, note="9 is outside of the log"),)
        return ResetReply(group=wish.group, executed=execute, rows=rows)

    monkeypatch.setattr(GroupDesk, "reset", reset)
    result = left.call("group reset", "-g", "billing", "-t", "pay:3,0", "-t", "orders", "--shift-by", "-4")
    assert result.exit_code == 0, result.output
    assert "9 is outside of the log" in result.stdout
    assert "add --execute" in result.stderr
    wish, execute = seen[0]
    assert wish == ResetWish(group="billing", mode=ResetMode.SHIFT, number=-4, scope={"pay": (0, 3), "orders": ()})
    assert not execute
    done = left.call("group reset", "-g", "billing", "--to-datetime", "2024-05-01T00:00:00Z", "--execute")
    assert done.stderr.strip() == "done"
    assert seen[1][0].number == 1714521600000
    assert seen[1][1]
