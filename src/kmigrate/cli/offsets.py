"""`offsets` tells where offsets of one side are on the other."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import yaml

from kmigrate.cli.options import Named, message_options, migration_options
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import LARGEST_OFFSET, Side
from kmigrate.offsets.translation import Place
from kmigrate.runner.lookup import PartitionRuns, Translation

EXPORTED = ("topic", "partition", "offsetClass", "sourceFirst", "targetFirst", "count")
"""What `export` tells of every run."""

Row = tuple[str, int, str, int, int, int]

EXAMPLES = """\b
Examples:
  kmigrate offsets translate -f orders.yaml -t orders -p 3 --offset 88231
  kmigrate offsets export -f orders.yaml -o csv > offsets.csv
"""
TRANSLATE_EXAMPLES = """\b
Examples:
  kmigrate offsets translate -f orders.yaml -t orders -p 3 --offset 88231
  kmigrate offsets translate -f orders.yaml -t orders -p 3 \\
      --offset 80012 --from target                  and back
  kmigrate offsets translate -f orders.yaml -t orders -p 3 \\
      --offset 88231 -o json | jq .targetOffset
"""
EXPORT_EXAMPLES = """\b
Examples:
  kmigrate offsets export -f orders.yaml -o csv > offsets.csv
  kmigrate offsets export -f orders.yaml -t orders | jq .count
"""


@click.group(epilog=EXAMPLES)
def offsets() -> None:
    """Translate offsets, or export where everything went.

    Both work with and without a running owner, and read only what is saved: nothing is copied before that.
    """


@offsets.command(epilog=TRANSLATE_EXAMPLES)
@migration_options
@click.option("-t", "--topic", metavar="TOPIC", required=True, help="The topic.")
@click.option("-p", "--partition", metavar="N", required=True, type=click.IntRange(min=0), help="The partition.")
@click.option(
    "--offset",
    metavar="OFFSET",
    required=True,
    type=click.IntRange(min=0, max=LARGEST_OFFSET),
    help="The offset that is to be found on the other side.",
)
@click.option(
    "--from",
    "from_side",
    type=click.Choice([side.value for side in Side]),
    default=Side.SOURCE.value,
    show_default=True,
    help="The side that the offset is of.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@message_options
@click.pass_context
def translate(
    ctx: click.Context,
    file: Path,
    state: Path | None,
    topic: str,
    partition: int,
    offset: int,
    from_side: str,
    output: str,
    no_color: bool,
) -> None:
    """Tell where an offset of one side is on the other.

    An offset without a record stands for the next record, and the end of what is copied for the end. What is not
    copied (yet) has no place: that ends with 1, and says how far the copy has come.
    """
    found = Named.by(ctx, file, state).client().translate(topic, partition, offset, Side(from_side))
    match output:
        case "json":
            click.echo(found.to_json(indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(found.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case _ if not found.reason:
            click.echo("\n".join(_lines(found)))
    if found.reason:
        raise KmigrateError(found.reason, hint="`kmigrate status -f FILE` shows how far the copy has come")


@offsets.command(epilog=EXPORT_EXAMPLES)
@migration_options
@click.option("-t", "--topic", metavar="TOPIC", help="Only of this topic.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["json", "csv"]),
    default="json",
    show_default=True,
    help="An object or a row of a table for every run, a line each.",
)
@message_options
@click.pass_context
def export(ctx: click.Context, file: Path, state: Path | None, topic: str | None, output: str, no_color: bool) -> None:
    """Write where everything that is copied went: a line for every run.

    A run is a stretch of offsets that lie as far apart on both sides: its first offset on the source and on the
    target, and how many it has. A partition of class identical is one run.
    """
    rows = _rows(Named.by(ctx, file, state).client().runs(topic))
    (_write_csv if output == "csv" else _write_json)(rows)


def _lines(found: Translation) -> Iterator[str]:
    yield f"{found.name}  {found.offset_class}"
    notes = {Place.GAP: "no record has it: it stands for the next one", Place.END: "the end of what is copied"}
    note = "" if found.place is None else notes.get(found.place, "a record's place")
    width = max(len(str(found.source_offset)), len(str(found.target_offset)))
    for side, offset in ((Side.SOURCE, found.source_offset), (Side.TARGET, found.target_offset)):
        yield f"{side}  {offset:>{width}}  {note if side is found.from_side else ''}".rstrip()
    yield f"copied up to {found.position} on the source, {found.target_end} on the target"


def _write_csv(rows: Iterator[Row]) -> None:
    first = list(islice(rows, 1))  # an error comes before the titles
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(EXPORTED)
    writer.writerows(first)
    writer.writerows(rows)


def _write_json(rows: Iterator[Row]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(dict(zip(EXPORTED, row, strict=True)), ensure_ascii=False) + "\n")


def _rows(parts: Iterator[PartitionRuns]) -> Iterator[Row]:
    for part in parts:
        head = (part.topic, part.partition, part.offset_class.value)
        yield from ((*head, *run) for run in part.runs)
