"""The part of a report's page about consumer groups.  (pure)"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kmigrate.groups.values import OutcomeKind
from kmigrate.report.account import ReportDocument
from kmigrate.report.blocks import Block, Everything, Heading, Sentence, table
from kmigrate.report.words import UNKNOWN, show_names, show_number, show_offset, show_time, show_times
from kmigrate.runner.groups_document import GroupPartition, GroupStatus
from kmigrate.state.journal import canonical

MOST_DETAIL = 300


def group_blocks(account: ReportDocument) -> Iterator[Block]:
    """Groups with their commits on both sides, what was latched, and what an operator reset."""
    yield Heading("Consumer groups")
    if account.groups_updated_at is None and not account.groups:
        yield Sentence(f"{UNKNOWN.capitalize()}: no owner has looked at them yet.")
    else:
        yield Sentence(f"As of {show_time(account.groups_updated_at)}. Groups that are alike are one row.")
        yield _folded(account)
        yield Everything(
            f"Every commit of every group ({sum(len(each.partitions) for each in account.groups):,})",
            table(
                (
                    "Group",
                    "Partition",
                    "Outcome",
                    "Source commit",
                    "Target commit",
                    "Source lag",
                    "Target lag",
                    "Reason",
                ),
                [_row(group, each) for group in account.groups for each in group.partitions],
            ),
        )
    if account.left_out_groups:
        yield Heading("Groups left out", 3)
        by_reason: dict[str, list[str]] = defaultdict(list)
        for left in account.left_out_groups:
            by_reason[left.reason].append(left.group)
        yield table(("Groups", "Reason"), [(show_names(names), reason) for reason, names in by_reason.items()])
    if account.group_resets:
        yield Heading("Resets by an operator", 3)
        yield table(
            ("Number", "Group", "When", "Undone", "Before and after"),
            [
                (
                    str(each.number),
                    each.group,
                    show_time(each.at),
                    "no" if each.undone_at is None else show_time(each.undone_at),
                    canonical(dict(each.detail))[:MOST_DETAIL],
                )
                for each in account.group_resets
            ],
        )


def _folded(account: ReportDocument) -> Block:
    alike: dict[tuple[str, ...], list[GroupStatus]] = defaultdict(list)
    for group in account.groups:
        alike[group.outcome.value, group.reason, group.source.state, group.target.state].append(group)
    return table(
        (
            "Groups",
            "Outcome",
            "Reason",
            "On the source",
            "On the target",
            "Commits",
            "Differ",
            "Lag source",
            "Lag target",
            "Moved",
        ),
        [
            (
                show_names([each.group for each in some]),
                *key,
                show_number(sum(len(each.partitions) for each in some)),
                show_number(sum(each.differences for each in some)),
                _sum([each.source.lag_records for each in some]),
                _sum([each.target.lag_records for each in some]),
                show_times(each.moved_at for each in some) if key[0] == OutcomeKind.MOVED.value else "",
            )
            for key, some in alike.items()
        ],
    )


def _row(group: GroupStatus, each: GroupPartition) -> tuple[str, ...]:
    return (
        group.group,
        each.name,
        each.outcome.value,
        "none" if each.source_offset is None else show_offset(each.source_offset),
        "none" if each.target_offset is None else show_offset(each.target_offset),
        show_number(each.source_lag),
        show_number(each.target_lag),
        each.reason,
    )


def _sum(lags: list[int | None]) -> str:
    known = [each for each in lags if each is not None]
    return show_number(sum(known)) if known else UNKNOWN
