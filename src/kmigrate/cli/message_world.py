"""What the commands of `message` look at, and how they show what they found.

Rule: whatever speaks to a cluster is imported when it is needed, so that wrong usage is told at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kmigrate.cli.options import Named
from kmigrate.errors import UsageError
from kmigrate.kafka_types import Side, TopicName

if TYPE_CHECKING:
    from kmigrate.cli.message_lines import Views
    from kmigrate.manifest import Manifest
    from kmigrate.query.pairing import Row
    from kmigrate.query.sides import ClusterSide


class World:
    """The manifest, the clusters that are looked at, and where records lie on the other one."""

    def __init__(self, manifest: Manifest, sides: list[ClusterSide], named: Named) -> None:
        from kmigrate.cli.message_places import recorded_places

        self.manifest = manifest
        self.sides = sides
        self.places_of = recorded_places(named, manifest.name, tell if len(sides) > 1 else lambda _text: None)

    def selected(self, topics: Sequence[str]) -> list[TopicName]:
        """These topics, or all that the manifest selects."""
        if topics:
            return [TopicName(each) for each in dict.fromkeys(topics)]
        from kmigrate.topics.select import select_topics

        selected = select_topics(self.sides[0].topics(), self.manifest).topics
        if not selected:
            raise UsageError("the manifest selects no topic of the source", hint="`kmigrate plan -f FILE` shows why")
        return list(selected)


@contextlib.contextmanager
def opened(ctx: click.Context, file: Path, state: Path | None, side: str, isolation: str) -> Iterator[World]:
    """Both clusters, or one; closed at the end."""
    from kmigrate.manifest import load_manifest
    from kmigrate.query.sides import ClusterSide
    from kmigrate.wire.calls import READ_COMMITTED, READ_UNCOMMITTED

    named = Named.by(ctx, file, state)
    manifest = load_manifest(file)
    level = READ_COMMITTED if isolation == "read_committed" else READ_UNCOMMITTED
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(ClusterSide.of(each, cluster, manifest.name, level))
            for each, cluster in ((Side.SOURCE, manifest.source), (Side.TARGET, manifest.target))
            if side in ("both", each.value)
        ]
        yield World(manifest, sides, named)


def show_rows(rows: Sequence[Row], views: Views, output: str) -> None:
    from kmigrate.cli import message_lines as lines

    match output:
        case "json":
            for row in rows:
                lines.write_json(lines.row_value(row, views))
        case "csv":
            show_csv(lines.COLUMNS, (each for row in rows for each in lines.csv_rows(row, views)))
        case "wide":
            show_lines(lines.wide_lines(rows, views))
        case _:
            show_lines(lines.table_lines(rows, views) if rows else iter(()))


def show_lines(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def show_csv(columns: Sequence[str], rows: Iterator[tuple[object, ...]]) -> None:
    from kmigrate.cli.message_lines import CsvLines

    table = CsvLines(columns)
    table.write(())
    for row in rows:
        table.write([row])


def show_document(value: dict[str, Any], output: str) -> None:
    if output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        import json

        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def tell(sentence: str) -> None:
    """On standard error."""
    click.echo(sentence, err=True)
