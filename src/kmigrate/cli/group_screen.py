"""Tables of consumer groups, each made of a groups document.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kmigrate.cli.amounts import show_count, show_duration, show_short
from kmigrate.cli.panels import WIDE, shorten
from kmigrate.groups.values import OutcomeKind
from kmigrate.runner.groups_document import GroupPartition, GroupsDocument, GroupSide, GroupsSummary, GroupStatus

_NUMBERS_WIDTH = 45
"""What the columns between a group's name and the reason take at most, with the gaps."""
PROGRESS_GROUPS = 20
PROGRESS_PARTITIONS = 5
COLUMNS = (
    "group",
    "topic",
    "partition",
    "sourceOffset",
    "targetOffset",
    "sourceLag",
    "targetLag",
    "outcome",
    "reason",
    "safeToMove",
)
"""What a row of the CSV tells: a group's commit for one partition."""

_STYLES = {OutcomeKind.FAILED: "red", OutcomeKind.WAITING: "yellow", OutcomeKind.MOVED: "cyan"}


def groups_screen(document: GroupsDocument, width: int) -> RenderableType:
    """A line for each group, what was left out, and how many differences there are."""
    wide = width >= WIDE
    table = _table("Group", "Source", "Target")
    for title in ("Lag", "Behind", "Lag there") if wide else ("Lag",):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Safe", no_wrap=True)
    name_width = min(width // 4, max((len(each.group) for each in document.groups), default=5))
    rest = width - name_width - (_NUMBERS_WIDTH + 20 if wide else _NUMBERS_WIDTH)
    table.add_column("Reason", no_wrap=True, overflow="ellipsis", max_width=rest)
    for each in document.groups:
        more = [show_duration(each.source.lag_seconds), show_short(each.target.lag_records)] if wide else []
        table.add_row(
            Text(shorten(each.group, name_width)),
            _side(each.source),
            _side(each.target),
            show_short(each.source.lag_records),
            *more,
            Text(each.outcome.value, _STYLES.get(each.outcome, "")),
            "yes" if each.safe_to_move else "no",
            Text(each.safe_reason or each.reason),
        )
    return Group(table, *_beside(document), Text(differences(document.summary)))


def wide_screen(document: GroupsDocument) -> RenderableType:
    """A block for each group: members of both sides, and a line for each partition."""
    blocks: list[RenderableType] = []
    for each in document.groups:
        blocks += [_heading(each), *_members(each), _partitions(each.partitions), Text()]
    return Group(*blocks, *_beside(document), Text(differences(document.summary)))


def progress_screen(groups: Sequence[GroupStatus]) -> RenderableType:
    """Who has not drained the source, the furthest behind first, with the partitions that hold it up."""
    behind = behind_first(groups)
    drained = len(groups) - len(behind)
    title = Text(f"{drained:,} of {len(groups):,} groups have read everything on the source")
    if not behind:
        return title
    table = _table("Group", "State")
    for name in ("Lag", "Records/s", "ETA"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Held up by", no_wrap=True, overflow="ellipsis")
    for each in behind[:PROGRESS_GROUPS]:
        table.add_row(
            Text(each.group),
            each.source.state,
            show_count(each.source.lag_records),
            show_short(each.records_per_second),
            show_duration(each.eta_seconds),
            Text(", ".join(blocking(each.partitions))),
        )
    more = len(behind) - PROGRESS_GROUPS
    return Group(title, table, *([Text(f"… and {more:,} more groups", "dim")] if more > 0 else []))


def behind_first(groups: Sequence[GroupStatus]) -> list[GroupStatus]:
    """The groups that have not drained the source: those of which nobody can tell first, then by lag."""
    behind = [each for each in groups if not each.is_drained]
    return sorted(behind, key=lambda each: (each.source.lag_records is not None, -(each.source.lag_records or 0)))


def blocking(partitions: Sequence[GroupPartition]) -> list[str]:
    """The partitions that are furthest behind, with what is left of them."""
    behind = sorted((each for each in partitions if each.source_lag), key=lambda each: -(each.source_lag or 0))
    told = [f"{each.name} ({each.source_lag:,})" for each in behind[:PROGRESS_PARTITIONS]]
    more = len(behind) - PROGRESS_PARTITIONS
    return [*told, f"and {more:,} more"] if more > 0 else told


def rows(document: GroupsDocument) -> Iterator[tuple[object, ...]]:
    """The rows of the CSV."""
    for group in document.groups:
        for each in group.partitions:
            yield (
                group.group,
                each.topic,
                each.partition,
                each.source_offset,
                each.target_offset,
                each.source_lag,
                each.target_lag,
                each.outcome.value,
                each.reason,
                str(group.safe_to_move).lower(),
            )


def differences(summary: GroupsSummary) -> str:
    """How many commits on the target are not what those of the source translate to."""
    told = f"differences: {summary.differences:,} of {summary.partitions:,} partitions of {summary.groups:,} groups"
    others = [f"{summary.moved:,} moved"] * bool(summary.moved) + [f"{summary.skipped:,} skipped"] * bool(
        summary.skipped
    )
    return told + (f" ({', '.join(others)})" if others else "")


def reset_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A reset, partition by partition."""
    table = _table("Partition")
    for title in ("Now", "Then"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Note", overflow="fold")
    for row in rows:
        numbers = (_number(row["before"]), _number(row["after"]))
        table.add_row(Text(f"{row['topic']}-{row['partition']}"), *numbers, Text(row["note"]))
    return table


def _beside(document: GroupsDocument) -> list[Text]:
    lines = [Text(f"unsupported: {each.group}: {each.reason}", "yellow") for each in document.summary.unsupported]
    if document.summary.trouble:
        lines.append(Text(f"trouble: {document.summary.trouble}", "yellow"))
    return lines


def _side(side: GroupSide) -> Text:
    number = "" if not side.members else f" ({len(side.members)})"
    return Text(f"{side.state}{number}")


def _heading(group: GroupStatus) -> Text:
    line = Text.assemble(
        (group.group, "bold"), f"  {group.group_type}  ", (group.outcome.value, "bold"), overflow="fold"
    )
    if group.reason:
        line.append(f"  {group.reason}")
    safe = "yes" if group.safe_to_move else f"no, {group.safe_reason}"
    line.append(f"\n  source {group.source.state}, target {group.target.state}, safe to move: {safe}")
    return line


def _members(group: GroupStatus) -> Iterator[Text]:
    for name, side in (("source", group.source), ("target", group.target)):
        for each in side.members or ():
            static = f", static {each.instance_id}" if each.instance_id else ""
            yield Text(f"  {name}  {each.client_id} on {each.host}{static}", "dim")


def _partitions(partitions: Sequence[GroupPartition]) -> Table:
    table = _table("  Partition")
    for title in ("Source", "Lag", "Target", "Lag there"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Reason", overflow="fold")
    for each in partitions:
        table.add_row(
            Text(f"  {each.name}"),
            _number(each.source_offset),
            _number(each.source_lag),
            _number(each.target_offset),
            _number(each.target_lag),
            Text(each.outcome.value, _STYLES.get(each.outcome, "")),
            Text(each.reason),
        )
    return table


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table
