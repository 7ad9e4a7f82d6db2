"""What `message diff` and `message rate` show: tables, documents and rows.

The JSON is a contract: docs/messages.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from kmigrate.cli.amounts import show_count
from kmigrate.kafka_types import Side
from kmigrate.query.counting import Rates
from kmigrate.query.differences import PartitionDiff
from kmigrate.query.places import Bounds

DIFF_COLUMNS = (
    "topic", "partition", "offsetClass", "outcome", "sourceStart", "sourceEnd", "targetStart", "targetEnd",
    "lagOffsets", "compared", "gone", "differences", "failure",
)  # fmt: skip
RATE_COLUMNS = ("topic", "minute", "isWhole", "source", "target")
SHOWN_SAME = 20
"""Partitions without a difference that a table shows, the ones that lag most; the rest is counted."""


def diff_lines(partitions: Sequence[PartitionDiff], *, each_partition: bool) -> Iterator[str]:
    """What differs, then what lags, then what is the same, and all together in a line."""
    same = sorted(
        (each for each in partitions if not each.difference_count and not each.failure),
        key=lambda each: (-(each.lag_offsets or 0), each.partition),
    )
    different = [each for each in partitions if each.difference_count or each.failure]
    shown = different + (same if each_partition else same[:SHOWN_SAME])
    titles = ("PARTITION", "CLASS", "SOURCE", "TARGET", "LAG", "COMPARED", "OUTCOME")
    cells = [titles, *(_diff_cells(each) for each in shown)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(titles))]
    details = [(), *(_details(each) for each in shown)]
    for row, more in zip(cells, details, strict=True):
        parts = [
            text.rjust(width) if at in (4, 5) else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(parts).rstrip()
        yield from (f"  {line}" for line in more)
    if len(same) + len(different) > len(shown):
        yield f"… and {len(same) + len(different) - len(shown):,} more that are the same (-o wide)"
    yield diff_summary(partitions)


def _diff_cells(each: PartitionDiff) -> tuple[str, ...]:
    return (
        str(each.partition),
        "-" if each.offset_class is None else each.offset_class.value,
        _bounds(each.source),
        _bounds(each.target),
        "-" if each.lag_offsets is None else show_count(each.lag_offsets),
        show_count(each.compared),
        each.outcome,
    )


def _bounds(bounds: Bounds | None) -> str:
    return "-" if bounds is None else f"{bounds.start}…{bounds.end}"


def _details(each: PartitionDiff) -> tuple[str, ...]:
    lines = [str(one) for one in each.differences]
    if each.difference_count > len(lines):
        lines.append(f"… and {each.difference_count - len(lines):,} more differences")
    if each.failure:
        lines.append(each.failure)
    if each.gone:
        lines.append(f"{each.gone:,} records are gone from the source since (compaction or retention)")
    return tuple(lines)


def diff_summary(partitions: Sequence[PartitionDiff]) -> str:
    """All partitions in a line."""
    different = sum(1 for each in partitions if each.difference_count)
    unknown = sum(1 for each in partitions if each.failure)
    compared = sum(each.compared for each in partitions)
    lag = sum(each.lag_offsets or 0 for each in partitions)
    lagging = sum(1 for each in partitions if each.lag_offsets)
    parts = [f"{show_count(compared)} newest records of {len(partitions):,} partitions compared"]
    parts.append(f"{different:,} partitions differ" if different else "no difference")
    if unknown:
        parts.append(f"{unknown:,} could not be compared")
    if lagging:
        parts.append(f"{lagging:,} lag by {show_count(lag)} offsets in all")
    return ", ".join(parts)


def diff_value(name: str, partitions: Sequence[PartitionDiff]) -> dict[str, Any]:
    """The document as what JSON and YAML are made of."""
    return {
        "apiVersion": "kmigrate/v1",
        "kind": "MessageDiff",
        "name": name,
        "summary": {
            "partitions": len(partitions),
            "different": sum(1 for each in partitions if each.difference_count),
            "unknown": sum(1 for each in partitions if each.failure),
            "compared": sum(each.compared for each in partitions),
            "lagOffsets": sum(each.lag_offsets or 0 for each in partitions),
        },
        "partitions": [
            dict(zip(DIFF_COLUMNS, diff_row(each), strict=True))
            | {
                "differences": each.difference_count,
                "examples": [
                    {
                        "kind": one.kind.value,
                        "sourceOffset": one.source_offset,
                        "targetOffset": one.target_offset,
                        "fields": list(one.fields),
                    }
                    for one in each.differences
                ],
            }
            for each in partitions
        ],
    }


def diff_row(each: PartitionDiff) -> tuple[object, ...]:
    """A partition as `DIFF_COLUMNS` has it."""
    source, target = each.source or (None, None), each.target or (None, None)
    return (
        each.partition.topic,
        each.partition.partition,
        None if each.offset_class is None else each.offset_class.value,
        each.outcome,
        *source,
        *target,
        each.lag_offsets,
        each.compared,
        each.gone,
        each.difference_count,
        each.failure,
    )


def rate_lines(rates: Rates, now_ms: int) -> Iterator[str]:
    """A line for each minute, the running one last."""
    source, target = rates.totals(Side.SOURCE), rates.totals(Side.TARGET)
    approximate = "~" if rates.is_estimated else ""
    cells = [("MINUTE (UTC)", "SOURCE", "TARGET", "DIFFERENCE")]
    for number, begin in enumerate(rates.begins[:-1]):
        one, other = source[number], target[number]
        cells.append(
            (
                f"{_minute(begin)}",
                f"{approximate}{one:,}",
                f"{approximate}{other:,}",
                f"{other - one:+,}" if other - one else "0",
            )
        )
    widths = [max(len(row[at]) for row in cells) for at in range(4)]
    for number, row in enumerate(cells):
        line = "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        )
        running = number == len(cells) - 1
        yield line + (f"  not over: {(now_ms - rates.begins[-2]) // 1000} s" if running else "")
    whole = len(rates.begins) - 2
    if whole > 0:
        means = [sum(counts[:-1]) / whole for counts in (source, target)]
        shown = [f"{approximate}{mean:,.1f}" for mean in means]
        yield f"mean of the whole minutes: {shown[0]} on the source, {shown[1]} on the target"
    yield (
        "~ estimated: offsets by the time index, in which gaps of transactions and compaction count too (--exact reads)"
        if rates.is_estimated
        else "counted: each record in the minute of its timestamp"
    )


def rate_value(name: str, rates: Rates) -> dict[str, Any]:
    """The document as what JSON and YAML are made of."""
    topics = sorted({topic for counts in rates.counts.values() for topic in counts})
    totals = {side.value: rates.totals(side) for side in Side}
    return {
        "apiVersion": "kmigrate/v1",
        "kind": "MessageRate",
        "name": name,
        "isEstimated": rates.is_estimated,
        "minutes": [_iso_minute(begin) for begin in rates.begins[:-1]],
        "wholeMinutes": len(rates.begins) - 2,
        "totals": totals,
        "topics": [
            {"topic": topic} | {side.value: list(rates.counts[side].get(topic, ())) for side in Side}
            for topic in topics
        ],
    }


def rate_rows(rates: Rates) -> Iterator[tuple[object, ...]]:
    """A row for each topic and minute, as `RATE_COLUMNS` has it; what a side does not have is empty."""
    for topic in sorted({topic for counts in rates.counts.values() for topic in counts}):
        mine = [rates.counts[side].get(topic) for side in (Side.SOURCE, Side.TARGET)]
        for number, begin in enumerate(rates.begins[:-1]):
            numbers = [None if counts is None else counts[number] for counts in mine]
            yield (topic, _iso_minute(begin), number < len(rates.begins) - 2, *numbers)


def _minute(wall_ms: int) -> str:
    return f"{datetime.fromtimestamp(wall_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _iso_minute(wall_ms: int) -> str:
    return f"{datetime.fromtimestamp(wall_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
