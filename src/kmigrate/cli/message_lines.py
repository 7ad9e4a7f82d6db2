"""Records on a screen, as JSON lines and as a table of values; each record beside its twin on the other side.

The JSON is a contract: docs/messages.md.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kmigrate.cli.moments import show_moment
from kmigrate.kafka_types import Offset, Side
from kmigrate.query.contents import FoundRecord
from kmigrate.query.pairing import Outcome, Row
from kmigrate.query.views import View, as_value, encode, show

COLUMNS = (
    "topic", "partition", "side", "sourceOffset", "targetOffset", "outcome", "timestampMs",
    "keyEncoding", "key", "valueEncoding", "value", "headers",
)  # fmt: skip
"""Of a row of the csv: one for each record, and one more for a target's record that differs."""
_TIME_SIGNS = 23
_KEY_SIGNS = 32
_WIDE_SIGNS = 4_000
_NARROWEST = 24
_HEADER_SIGNS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How keys and values are shown."""

    key: View = View.TEXT
    value: View = View.TEXT


def table_lines(rows: Iterable[Row], views: Views, width: int | None = None) -> Iterator[str]:
    """Titles and a line for each row, as wide as the terminal; a target's record that differs has one of its own."""
    cells: list[tuple[str, ...]] = [("PARTITION", "SOURCE", "TARGET", "BOTH", "TIME (UTC)", "KEY", "VALUE")]
    width = width or shutil.get_terminal_size((120, 24)).columns
    found = list(rows)
    head = [_head(row) for row in found]
    used = [max((len(each[at]) for each in [cells[0][:4], *head]), default=0) for at in range(4)]
    left = width - sum(used) - _TIME_SIGNS - 12
    key_width = max(_NARROWEST // 2, min(_KEY_SIGNS, left // 3))
    for first, row in zip(head, found, strict=True):
        cells.append((*first, *_record_cells(row.record, views, key_width, max(_NARROWEST, left - key_width))))
        if row.other is not None:
            there = ("", "", "↳ target", "")
            cells.append((*there, *_record_cells(row.other, views, key_width, max(_NARROWEST, left - key_width))))
    return _aligned(cells)


def _head(row: Row) -> tuple[str, str, str, str]:
    return str(row.partition), _place(row.source_offset), _place(row.target_offset), row.outcome.value


def _place(offset: Offset | None) -> str:
    return "-" if offset is None else str(offset)


def _record_cells(record: FoundRecord, views: Views, key_width: int, value_width: int) -> tuple[str, str, str]:
    contents = record.contents
    return (
        show_moment(record.timestamp_ms),
        show(contents.key, views.key, key_width),
        show(contents.value, views.value, value_width),
    )


def _aligned(cells: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    numbers = (1, 2)
    for row in cells:
        parts = [text.rjust(widths[at]) if at in numbers else text.ljust(widths[at]) for at, text in enumerate(row)]
        yield "  ".join(parts).rstrip()


def wide_lines(rows: Iterable[Row], views: Views) -> Iterator[str]:
    """A few lines for each record, with its headers and most of its value."""
    for row in rows:
        places = f"source {_place(row.source_offset)}  target {_place(row.target_offset)}"
        yield f"{row.partition}  {places}  {row.outcome.value}"
        yield from _block(row.record, views)
        if row.other is not None:
            yield "  on the target there is:"
            yield from _block(row.other, views)


def _block(record: FoundRecord, views: Views) -> Iterator[str]:
    contents = record.contents
    yield f"  time    {show_moment(record.timestamp_ms)}"
    yield f"  key     {show(contents.key, views.key, _WIDE_SIGNS)}"
    yield f"  value   {show(contents.value, views.value, _WIDE_SIGNS)}"
    for name, value in contents.headers:
        yield f"  header  {show(name, View.TEXT, _HEADER_SIGNS)} = {show(value, View.TEXT, _HEADER_SIGNS)}"


def row_value(row: Row, views: Views) -> dict[str, Any]:
    """A row as what JSON is made of."""
    value: dict[str, Any] = {
        "topic": row.partition.topic,
        "partition": row.partition.partition,
        "sourceOffset": row.source_offset,
        "targetOffset": row.target_offset,
        "outcome": row.outcome.value,
        "side": row.side.value,
        "record": _record_value(row.record, views),
    }
    if row.other is not None:
        value["targetRecord"] = _record_value(row.other, views)
    return value


def _record_value(record: FoundRecord, views: Views) -> dict[str, Any]:
    contents = record.contents
    return {
        "timestampMs": record.timestamp_ms,
        "timestamp": _iso(record.timestamp_ms),
        "key": as_value(contents.key, views.key),
        "keyBytes": None if contents.key is None else len(contents.key),
        "value": as_value(contents.value, views.value),
        "valueBytes": None if contents.value is None else len(contents.value),
        "headers": [
            {"name": as_value(name, View.TEXT), "value": as_value(value, View.TEXT)} for name, value in contents.headers
        ],
    }


def _iso(wall_ms: int) -> str | None:
    if wall_ms < 0:
        return None
    try:
        at = datetime.fromtimestamp(wall_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{at:%Y-%m-%dT%H:%M:%S}.{wall_ms % 1000:03}Z"


def csv_rows(row: Row, views: Views) -> Iterator[tuple[object, ...]]:
    """The row's records as `COLUMNS` has them."""
    yield _csv_row(row, row.side, row.record, views)
    if row.other is not None:
        yield _csv_row(row, Side.TARGET, row.other, views)


def _csv_row(row: Row, side: Side, record: FoundRecord, views: Views) -> tuple[object, ...]:
    contents = record.contents
    headers = _record_value(record, views)["headers"]
    return (
        row.partition.topic,
        row.partition.partition,
        side.value,
        row.source_offset,
        row.target_offset,
        row.outcome.value,
        record.timestamp_ms,
        *_csv_cell(contents.key, views.key),
        *_csv_cell(contents.value, views.value),
        json.dumps(headers, ensure_ascii=False) if headers else "",
    )


def _csv_cell(content: bytes | None, view: View) -> tuple[str, str]:
    encoding, value = encode(content, view)
    if encoding == "json":
        return encoding, json.dumps(value, ensure_ascii=False)
    return encoding, value or ""


def arrived_row(side: Side, record: FoundRecord) -> Row:
    """A record that was seen on one side, whose twin is not looked for."""
    return Row(
        partition=record.partition,
        side=side,
        source_offset=record.offset if side is Side.SOURCE else None,
        target_offset=record.offset if side is Side.TARGET else None,
        outcome=Outcome.UNKNOWN,
        record=record,
    )


def arrived_line(side: Side, record: FoundRecord, views: Views, width: int) -> str:
    """One line of `tail`."""
    head = f"{side.value:6}  {record.partition}@{record.offset}  "
    left = width - len(head) - _TIME_SIGNS - 4
    key_width = max(_NARROWEST // 2, min(_KEY_SIGNS, left // 3))
    return head + "  ".join(_record_cells(record, views, key_width, max(_NARROWEST, left - key_width)))


def write_json(value: Mapping[str, Any]) -> None:
    """One JSON line on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


class CsvLines:
    """A table on standard output, whose titles come with its first row, or when it ends."""

    def __init__(self, columns: Iterable[str] = COLUMNS) -> None:
        self._columns = tuple(columns)
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._begun = False

    def write(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Writes rows, before the first one the titles."""
        if not self._begun:
            self._begun = True
            self._writer.writerow(self._columns)
        self._writer.writerows(rows)
