"""What a verification found, as people read it.  (pure)

Rule: nothing is told by color alone; offsets of differences stand whole, so that they can be pasted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kmigrate.cli.amounts import show_bytes, show_count, show_duration, show_short, show_time
from kmigrate.runner.verification import (
    FirstDifference,
    PartitionVerification,
    RecordShape,
    Verdict,
    VerificationDocument,
)
from kmigrate.runner.verify import Progress
from kmigrate.runner.verify_partition import Mode

DIFFERENCES_SHOWN = 20
DIFFERENCES_OF_ONE = 5
"""Of one partition, whose records are compared in order."""
UNKNOWN_SHOWN = 10
_STYLES = {Verdict.DIFFERENT: "bold red", Verdict.UNKNOWN: "yellow", Verdict.EQUAL: "green"}


def verify_screen(document: VerificationDocument, *, each_partition: bool) -> RenderableType:
    """A line for each topic, or each partition; differences, what is not known, and what it comes to."""
    table = _partition_table(document) if each_partition else _topic_table(document)
    shown: list[RenderableType] = [table] if document.partitions else []
    for row in document.different[:DIFFERENCES_SHOWN]:
        shown += [Text(), *_difference_lines(row)]
    more = len(document.different) - DIFFERENCES_SHOWN
    if more > 0:
        shown += [Text(), Text(f"… and {more:,} more partitions that differ: -o json tells all")]
    shown += _unknown_lines(document.unknown)
    return Group(*shown, *([Text()] if shown else []), Text(summary(document), overflow="fold"))


def summary(document: VerificationDocument) -> str:
    """One sentence on the whole."""
    rows = document.partitions
    if not rows:
        return f"nothing was verified with --mode {document.mode.value} yet"
    parts = [f"{sum(row.verdict is verdict for row in rows):,} {verdict.value}" for verdict in Verdict]
    told = f"{len(rows):,} partitions: {', '.join(parts)}"
    if document.mode is not Mode.ENDS and not document.stored:
        records, size = sum(row.records for row in rows), sum(row.source_bytes for row in rows)
        told += f"; {show_count(records)} records, {show_bytes(size)} read on the source now"
        if document.started_at is not None and document.finished_at is not None:
            told += f" in {show_duration((document.finished_at - document.started_at) / 1000)}"
    behind, stale = sum(row.behind or 0 for row in rows), sum(row.unverified or 0 for row in rows)
    if behind:
        told += f"; {show_count(behind)} not copied yet"
    if stale:
        told += f"; {show_count(stale)} offsets were copied since and are not verified"
    return told


def progress_line(progress: Progress, bytes_per_second: float | None) -> str:
    """How far it has come, on one line."""
    told = f"verified {progress.done:,} of {progress.partitions:,} partitions, {show_count(progress.records)} records"
    if bytes_per_second is not None:
        told += f", {show_bytes(bytes_per_second)}/s"
    return told + (f", {progress.different:,} differ" if progress.different else "")


def _topic_table(document: VerificationDocument) -> Table:
    table = _table("Topic")
    for title in ("Partitions", "Equal", "Different", "Unknown", "Offsets", "Behind", "Stale"):
        table.add_column(title, justify="right", no_wrap=True)
    topics: dict[tuple[str, str], list[PartitionVerification]] = defaultdict(list)
    for row in document.partitions:
        topics[row.topic, row.target_topic].append(row)
    for (topic, target), rows in topics.items():
        verdicts = [sum(row.verdict is verdict for row in rows) for verdict in Verdict]
        table.add_row(
            Text(topic if topic == target else f"{topic} → {target}", overflow="fold"),
            f"{len(rows):,}",
            *(
                Text(f"{count:,}", _STYLES[verdict] if count else "")
                for verdict, count in zip(Verdict, verdicts, strict=True)
            ),
            show_short(sum((row.end or 0) - (row.start or 0) for row in rows)),
            show_short(sum(row.behind or 0 for row in rows)),
            show_short(sum(row.unverified or 0 for row in rows)),
        )
    return table


def _partition_table(document: VerificationDocument) -> Table:
    table = _table("Partition", "Class", "Verdict", "Source", "Target", "Verified", "Records", "Behind", "Stale")
    table.add_column("At", overflow="fold")
    table.add_column("Digest", overflow="fold")
    for row in document.partitions:
        table.add_row(
            Text(row.name),
            "" if row.offset_class is None else row.offset_class.value,
            Text(row.verdict.value, _STYLES[row.verdict]),
            "" if row.source is None else f"{row.source.start}-{row.source.end}",
            "" if row.target is None else f"{row.target.start}-{row.target.end}",
            "" if row.end is None else f"{row.start}-{row.end}",
            show_count(row.records),
            show_count(row.behind),
            show_count(row.unverified),
            show_time(row.verified_at) if row.verified_at else "",
            row.digest or "",
        )
    return table


def _difference_lines(row: PartitionVerification) -> Iterator[Text]:
    found = row.difference
    if found is None:
        yield Text(f"{row.name}: {row.reason}", "bold red")
        for bucket in row.unequal_buckets:
            yield Text(f"  {show_time(bucket.start)}: {bucket.source:,} on the source, {bucket.target:,} on the target")
        return
    shown = row.differences[:DIFFERENCES_OF_ONE] or (found,)
    for each in shown:
        yield from _one_difference(row, each)
    more = sum(row.different_records.values()) - len(shown)
    if row.different_records:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in row.different_records.items())
        yield Text(f"  in all: {counts}" + (f"; {more:,} more than are shown here" if more > 0 else ""))


def _one_difference(row: PartitionVerification, found: FirstDifference) -> Iterator[Text]:
    yield Text(f"{row.name}@{found.source_offset}: {found.words}{_where(found)}", "bold red", overflow="fold")
    if found.fields:
        yield Text(f"  not the same: {', '.join(found.fields)}")
    for side, shape in (("source", found.source), ("target", found.target)):
        if shape is not None:
            yield Text(f"  {side}  {_shape(shape)}", overflow="fold")
            if shape.contents is not None:
                yield Text(f"          {shape.contents}", overflow="fold")


def _where(found: FirstDifference) -> str:
    if found.target_offset in (None, found.source_offset):
        return ""
    return f" (offset {found.target_offset} on the target)"


def _shape(shape: RecordShape) -> str:
    key, value = ("null" if size is None else f"{size:,} B" for size in (shape.key_bytes, shape.value_bytes))
    headers = f"{shape.headers:,} of {shape.headers_bytes:,} B" if shape.headers else "none"
    return f"timestamp {shape.timestamp}, key {key}, value {value}, headers {headers}"


def _unknown_lines(rows: Sequence[PartitionVerification]) -> list[RenderableType]:
    lines: list[RenderableType] = [Text()] if rows else []
    lines += [Text(f"{row.name}: not known: {row.reason}", "yellow", overflow="fold") for row in rows[:UNKNOWN_SHOWN]]
    more = len(rows) - UNKNOWN_SHOWN
    return [*lines, Text(f"… and {more:,} more that are not known")] if more > 0 else lines


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
