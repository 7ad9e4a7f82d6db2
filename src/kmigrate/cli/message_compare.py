"""`message diff` and `message rate` tell whether both clusters hold, and get, the same."""

from __future__ import annotations

import time
from pathlib import Path

import click

from kmigrate.cli.message_options import MOST_RECORDS, Meter, isolation_option
from kmigrate.cli.message_world import opened, show_csv, show_document, show_lines, tell
from kmigrate.cli.options import message_options, migration_options
from kmigrate.errors import KmigrateError

DIFFERENCE_FOUND = 3
MOST_MINUTES = 1_440

DIFF_EXAMPLES = """\b
Examples:
  kmigrate message diff -f orders.yaml
  kmigrate message diff -f orders.yaml -t orders --newest 1000 -o wide
"""
RATE_EXAMPLES = """\b
Examples:
  kmigrate message rate -f orders.yaml
  kmigrate message rate -f orders.yaml -t orders --minutes 30 --exact
"""


_topics_option = click.option(
    "-t", "--topic", "topics", metavar="TOPIC", multiple=True,
    help="Only this topic; repeatable.  [default: all that the manifest selects]",
)  # fmt: skip


@click.command(epilog=DIFF_EXAMPLES)
@migration_options
@_topics_option
@click.option(
    "--newest", metavar="N", type=click.IntRange(1, MOST_RECORDS), default=100, show_default=True,
    help="How many records of each partition and side.",
)  # fmt: skip
@isolation_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "csv"]),
    default="table",
    show_default=True,
    help="wide and csv have a row for every partition.",
)
@message_options
@click.pass_context
def diff(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    topics: tuple[str, ...],
    newest: int,
    isolation: str,
    output: str,
    no_color: bool,
) -> None:
    """Compare the newest records and the ends of both clusters, and end with 3 if they differ.

    What is not copied yet is lag, and no difference. `verify` compares everything.
    """
    with opened(ctx, file, state, "both", isolation) as world:
        from kmigrate.cli import message_screen as screen
        from kmigrate.query.comparing import Comparing
        from kmigrate.query.differences import has_differences
        from kmigrate.query.sides import known_partitions

        partitions = known_partitions(world.sides, world.selected(topics))
        source, target = world.sides
        comparing = Comparing(source, target, world.places_of, newest)
        meter = Meter()
        try:
            comparing.run(partitions, lambda done, of: meter.tell(f"{done:,} of {of:,} partitions compared"))
        finally:
            meter.clear()
            done = comparing.done
            match output:
                case "json" | "yaml":
                    show_document(screen.diff_value(world.manifest.name, done), output)
                case "csv":
                    show_csv(screen.DIFF_COLUMNS, map(screen.diff_row, done))
                case _:
                    show_lines(screen.diff_lines(done, each_partition=output == "wide"))
        if has_differences(done):
            ctx.exit(DIFFERENCE_FOUND)
        failed = [each for each in done if each.failure]
        if failed:
            raise KmigrateError(f"{len(failed):,} partitions could not be compared; {failed[0].failure}")


@click.command(epilog=RATE_EXAMPLES)
@migration_options
@_topics_option
@click.option(
    "--minutes", metavar="N", type=click.IntRange(1, MOST_MINUTES), default=10, show_default=True,
    help="How many whole minutes, before the one that is not over.",
)  # fmt: skip
@click.option(
    "--exact/--estimate", default=None,
    help="Read and count every record, or only ask the time indexes.  [default: count if it is little]",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "csv"]), default="table", show_default=True,
    help="csv has a row for every topic and minute.",
)  # fmt: skip
@message_options
@click.pass_context
def rate(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    topics: tuple[str, ...],
    minutes: int,
    exact: bool | None,
    output: str,
    no_color: bool,
) -> None:
    """Show how many records were written a minute, on both clusters, by their timestamps.

    A copy that keeps up shows the same numbers on both sides, up to the last seconds.
    """
    with opened(ctx, file, state, "both", "read_committed") as world:
        from kmigrate.cli import message_screen as screen
        from kmigrate.query.counting import Counting
        from kmigrate.query.minutes import minutes_before
        from kmigrate.query.sides import known_partitions

        partitions = known_partitions(world.sides, world.selected(topics))
        now_ms = time.time_ns() // 1_000_000
        sides = {side.side: side for side in world.sides}
        counting = Counting(sides, partitions, world.places_of, minutes_before(now_ms, minutes))
        meter = Meter()
        try:
            rates = counting.run(exact=exact, tell=lambda side, share: meter.tell(f"{side}: {share:.0%} counted"))
        finally:
            meter.clear()
        match output:
            case "json" | "yaml":
                show_document(screen.rate_value(world.manifest.name, rates), output)
            case "csv":
                show_csv(screen.RATE_COLUMNS, screen.rate_rows(rates))
            case _:
                show_lines(screen.rate_lines(rates, now_ms))
        for note in counting.notes:
            tell(f"note: {note}")
