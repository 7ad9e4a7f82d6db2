"""`message query` and `message tail` show records."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from kmigrate.cli.amounts import show_bytes, show_count
from kmigrate.cli.message_options import (
    MOST_RECORDS,
    Meter,
    filter_of,
    filter_options,
    isolation_option,
    partition_option,
    side_option,
    view_options,
    views_of,
)
from kmigrate.cli.message_world import opened, show_rows, tell
from kmigrate.cli.options import message_options, migration_options
from kmigrate.errors import UsageError
from kmigrate.kafka_types import LARGEST_OFFSET, Offset, Side, TopicName

QUERY_EXAMPLES = """\b
Examples:
  kmigrate message query -f orders.yaml -t orders
  kmigrate message query -f orders.yaml -t orders -p 3 --offset 88231
  kmigrate message query -f orders.yaml -t orders --since 10m \\
      --where value contains EUR --where header:region equals eu
  kmigrate message query -f orders.yaml -t orders --text 4711 \\
      --value-view json -o json | jq .record.value.json
"""
TAIL_EXAMPLES = """\b
Examples:
  kmigrate message tail -f orders.yaml -t orders
  kmigrate message tail -f orders.yaml -t orders --side target --key a-17
"""

_topic_option = click.option("-t", "--topic", metavar="TOPIC", required=True, help="The topic.")


@click.command(epilog=QUERY_EXAMPLES)
@migration_options
@_topic_option
@partition_option
@click.option(
    "--offset", metavar="OFFSET", type=click.IntRange(min=0, max=LARGEST_OFFSET),
    help="From this offset on; needs one -p.",
)  # fmt: skip
@click.option(
    "--from",
    "offset_of",
    type=click.Choice([side.value for side in Side]),
    default=Side.SOURCE.value,
    show_default=True,
    help="The side that the offset is of.",
)
@filter_options
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    help="Which come first.  [default: newest; with --offset oldest]",
)
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, MOST_RECORDS), default=20, show_default=True,
    help="How many records at most.",
)  # fmt: skip
@side_option
@isolation_option
@view_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "csv"]),
    default="table",
    show_default=True,
    help="wide shows headers and long values; json is an object on each line.",
)
@message_options
@click.pass_context
def query(
    ctx: click.Context,
    /,
    file: Path,
    state: Path | None,
    topic: str,
    numbers: tuple[int, ...],
    offset: int | None,
    offset_of: str,
    order: str | None,
    limit: int,
    side: str,
    isolation: str,
    key_view: str,
    value_view: str,
    output: str,
    no_color: bool,
    **looked_for: Any,
) -> None:
    """Find records of a topic on both clusters, each beside its twin on the other.

    Without conditions the newest ones. Ctrl-C ends a long search, and shows what was found.
    """
    if offset is not None and len(numbers) != 1:
        raise UsageError("--offset without one partition", hint="add -p N")
    if offset is not None and side not in ("both", offset_of):
        raise UsageError(f"--offset is of the {offset_of}, but only the {side} is looked at", hint=f"--from {side}")
    wanted = filter_of(**looked_for)
    views = views_of(key_view, value_view)
    with opened(ctx, file, state, side, isolation) as world:
        from kmigrate.query.search import Question, Search
        from kmigrate.query.sides import known_partitions

        question = Question(
            wanted=wanted,
            newest_first=(order or ("newest" if offset is None else "oldest")) == "newest",
            limit=limit,
            offset=None if offset is None else Offset(offset),
            offset_of=Side(offset_of),
        )
        partitions = known_partitions(world.sides, [TopicName(topic)], numbers)
        meter = Meter()
        search = Search(question, world.sides, partitions, world.places_of, meter.scanned)
        try:
            search.run()
        finally:  # also of a search that Ctrl-C or a broker ended: what was found
            meter.clear()
            rows = search.rows
            show_rows(rows, views, output)
            for note in search.notes:
                tell(f"note: {note}")
            tell(f"{_records(len(rows))}, {show_bytes(search.scanned_bytes)} looked through")


@click.command(epilog=TAIL_EXAMPLES)
@migration_options
@_topic_option
@partition_option
@filter_options
@click.option(
    "--limit", metavar="N", type=click.IntRange(0, MOST_RECORDS), default=10, show_default=True,
    help="How many of each side's newest records come first.",
)  # fmt: skip
@click.option("--no-follow", is_flag=True, help="End after them.")
@side_option
@isolation_option
@view_options
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@message_options
@click.pass_context
def tail(
    ctx: click.Context,
    /,
    file: Path,
    state: Path | None,
    topic: str,
    numbers: tuple[int, ...],
    limit: int,
    no_follow: bool,
    side: str,
    isolation: str,
    key_view: str,
    value_view: str,
    output: str,
    no_color: bool,
    **looked_for: Any,
) -> None:
    """Show the newest records of both clusters, then whatever arrives, until Ctrl-C.

    Each line tells its side: a record appears on the source, and a moment later on the target.
    """
    wanted = filter_of(**looked_for)
    views = views_of(key_view, value_view)
    with opened(ctx, file, state, side, isolation) as world:
        from kmigrate.cli.message_lines import CsvLines, arrived_line, arrived_row, csv_rows, row_value, write_json
        from kmigrate.query.following import Arrived, Following
        from kmigrate.query.sides import known_partitions

        partitions = known_partitions(world.sides, [TopicName(topic)], numbers)
        table = CsvLines()

        def put(arrived: Arrived) -> None:
            match output:
                case "json":
                    write_json(row_value(arrived_row(*arrived), views))
                case "csv":
                    table.write(csv_rows(arrived_row(*arrived), views))
                case _:
                    width = shutil.get_terminal_size((120, 24)).columns
                    click.echo(arrived_line(*arrived, views, width))
            sys.stdout.flush()

        following = Following(world.sides, partitions, wanted, tell)
        for each in following.newest(limit):
            put(each)
        for note in following.notes:
            tell(f"note: {note}")
        if not no_follow:
            for each in following.follow():
                put(each)


def _records(count: int) -> str:
    return "no record" if not count else "1 record" if count == 1 else f"{show_count(count)} records"
