"""The plan as people and spreadsheets read it.  (pure)

Rule: nothing is told by color alone; a number that is not known shows as `?`. The folded table fits 80 columns: what
has no room beside a row stands below it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from kmigrate.cli.action_lines import action_lines
from kmigrate.cli.amounts import UNKNOWN, show_bytes, show_count, show_duration, show_rate, show_short
from kmigrate.cli.panels import WIDE, shorten
from kmigrate.cli.wave_lines import wave_lines
from kmigrate.plan.document import PartitionPlan, PlanDocument, Sums, TopicPlan
from kmigrate.words import count_of

LEFT_OUT_SHOWN = 8
REASONS_SHOWN = 2
_NUMBERS = ("Filler", "Markers", "Bytes", "Time")
_WHY = "Why, and what was found"
_BETWEEN = "  "

Row = tuple[str, ...]


def plan_screen(plan: PlanDocument, width: int, *, each_partition: bool) -> RenderableType:
    """The whole plan; with `each_partition` a line for each, else one for each topic and class."""
    table = _partition_lines(plan) if each_partition else _topic_lines(plan, width)
    lines = [*_head(plan), Text()]
    if plan.partitions:
        lines += [*table, Text()]
    if plan.actions:
        lines += [*action_lines(plan.actions, each=each_partition), Text()]
    lines += [*wave_lines(plan.waves, each=each_partition), Text()]
    return Group(*lines, *_beside(plan))


def plan_csv(plan: PlanDocument) -> str:
    """A line for each partition, with the keys of the JSON as titles; lists are joined by spaces."""
    out = io.StringIO()
    rows = [_flat(row) for row in plan.to_value()["partitions"]]
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else ["topic", "partition"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found = {key: " ".join(value) if isinstance(value, list) else value for key, value in row.pop("found").items()}
    return row | found


def _head(plan: PlanDocument) -> list[Text]:
    topics = len({each.topic for each in plan.topics})
    classes = ", ".join(f"{number:,} {name}" for name, number in plan.classes.items())
    counted = f"{count_of(plan.totals.partitions, 'partition')} in {count_of(topics, 'topic')}"
    assumed = plan.assumptions
    return [
        Text.assemble((plan.name, "bold"), f"  plan  {counted}" + (f": {classes}" if classes else "")),
        Text(f"{plan.source_cluster_id} → {plan.target_cluster_id}", "dim"),
        Text(_costs(plan.totals)),
        Text(
            f"assuming {show_rate(assumed.copied_bytes_per_second)} copied,"
            f" {show_short(assumed.filler_per_second)} filler and {show_short(assumed.markers_per_second)} markers"
            " a second",
            "dim",
        ),
    ]


def _costs(sums: Sums) -> str:
    return (
        f"filler {show_count(sums.filler)}  ·  markers {show_count(sums.markers)}  ·  {show_bytes(sums.size_bytes)} to"
        f" copy  ·  about {_time(sums.seconds)}"
    )


def _topic_lines(plan: PlanDocument, width: int) -> Iterator[Text]:
    beside = width >= WIDE
    amounts = list(_aligned([("Parts", "Class", *_NUMBERS), *map(_amounts, plan.topics)], left=(1,)))
    name_width = (width // 3 if beside else width - len(amounts[0]) - len(_BETWEEN)) - 1
    names = _aligned([("Topic",), *((shorten(each.topic, name_width),) for each in plan.topics)], left=(0,))
    title, *lines = (f"{name}{_BETWEEN}{rest}" for name, rest in zip(names, amounts, strict=True))
    yield Text(title + (f"{_BETWEEN}{_WHY}" if beside else ""), "dim", no_wrap=True)
    for each, line in zip(plan.topics, lines, strict=True):
        style = "red" if each.blocked else ""
        if beside:
            yield Text.assemble((line, style), f"{_BETWEEN}{_why(each)}", overflow="fold")
        else:
            yield Text(line, style, no_wrap=True)
            yield Text(f"  {_why(each)}", "dim", overflow="fold")


def _amounts(topic: TopicPlan) -> Row:
    sums = topic.sums
    return (
        str(sums.partitions),
        topic.offset_class.value if topic.offset_class is not None else UNKNOWN,
        show_short(sums.filler),
        show_short(sums.markers),
        show_bytes(sums.size_bytes),
        _time(sums.seconds),
    )


def _time(seconds: float | None) -> str:
    return show_duration(None if seconds is None else round(seconds, 1))


def _why(topic: TopicPlan) -> str:
    reasons = "; ".join(topic.reasons[:REASONS_SHOWN])
    if len(topic.reasons) > REASONS_SHOWN:
        reasons += f" and {len(topic.reasons) - REASONS_SHOWN} more"
    blocked = f"{topic.blocked:,} blocked: " if topic.blocked else ""
    return f"{blocked}{reasons}" + (f"  [{' '.join(topic.found)}]" if topic.found else "")


def _partition_lines(plan: PlanDocument) -> Iterator[Text]:
    titles = (
        *(
            "Partition",
            "Action",
            "Class",
            "Source start",
            "Start",
            "Last stable",
            "Target end",
            "Filler",
            "Markers",
            "Gaps",
        ),
        *("Bytes", "Sampled", _WHY),
    )
    lines = _aligned([titles, *map(_partition_row, plan.partitions)], left=(0, 1, 2, 12))
    yield Text(next(lines).rstrip(), "dim", no_wrap=True, overflow="ignore")
    for each, line in zip(plan.partitions, lines, strict=True):
        yield Text(line.rstrip(), "red" if each.blocked else "", no_wrap=True, overflow="ignore")


def _partition_row(each: PartitionPlan) -> Row:
    why = f"{'blocked: ' if each.blocked else ''}{each.reason}"
    found = each.found.words
    return (
        f"{each.topic}-{each.partition}",
        each.action.value,
        each.offset_class.value if each.offset_class is not None else UNKNOWN,
        _plain(each.source_start),
        _plain(each.start),
        _plain(each.source_last_stable),
        "-" if each.target_end is None else str(each.target_end),
        str(each.filler),
        _plain(each.markers),
        _plain(each.gaps) + ("" if each.gaps_exact or each.gaps is None else "~"),
        show_bytes(each.size_bytes),
        f"{each.found.sampled_offsets:,}",
        why + (f"  [{' '.join(found)}]" if found else ""),
    )


def _beside(plan: PlanDocument) -> Iterator[Text]:
    for notice in plan.notices:
        yield Text(f"note: {notice.text}", "yellow", overflow="fold")
    if plan.left_out:
        told = [f"{each.topic} ({each.reason})" for each in plan.left_out[:LEFT_OUT_SHOWN]]
        more = len(plan.left_out) - len(told)
        yield Text(f"left out: {', '.join(told)}" + (f" … and {more:,} more" if more else ""), "dim", overflow="fold")


def _aligned(rows: Sequence[Row], *, left: Sequence[int]) -> Iterator[str]:
    """The rows in columns; the columns named in `left` are flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _BETWEEN.join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )


def _plain(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)
