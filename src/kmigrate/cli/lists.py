"""How lists are printed: all migrations, by `status` without one and by `serve list`; and one migration's partitions.

What it takes to show a list is imported when it is shown: `status` of one migration only knows which ways there are.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

if TYPE_CHECKING:
    from kmigrate.runner.status import StatusDocument
    from kmigrate.serve.document import MigrationsDocument

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("table", "wide", "json", "yaml", "csv")
PARTITION_COLUMNS = (
    *("topic", "partition", "state", "position", "sourceStart", "sourceEnd", "targetEnd", "offsetClass"),
    *("lagRecords", "lagSeconds", "heldBackRecords", "lossSeconds", "crcErrors", "waived", "reason"),
    *("stop", "evidence"),
)
"""What a row of the CSV tells of a partition: keys of the JSON, and of its stop the kind and the evidence."""
_WIDE_WIDTH = 1_000
"""Nothing is shortened; a terminal breaks what is longer than it is wide."""


def list_output_option(command: F) -> F:
    """-o of the list."""
    return click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True)(command)


def print_migrations(document: MigrationsDocument, console: Console, output: str) -> None:
    """The list as it was asked for."""
    from kmigrate.cli.serve_screen import COLUMNS, migrations_screen, rows, wide_screen

    match output:
        case "json":
            click.echo(document.to_json(indent=2))
        case "yaml":
            import yaml

            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(document))
        case _:
            console.print(wide_screen(document) if output == "wide" else migrations_screen(document, console.width))


def print_status(document: StatusDocument, console: Console, output: str, spell: Callable[[str], str]) -> None:
    """One migration's status as it was asked for, but for JSON; `spell` completes commands."""
    from kmigrate.cli.screens import status_screen

    match output:
        case "yaml":
            import yaml

            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case "csv":
            writer = csv.DictWriter(sys.stdout, PARTITION_COLUMNS, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            for each in document.to_value()["partitions"]:
                stop = each["stop"] or {"kind": "", "evidence": ""}
                waived = str(each["waived"]).lower()
                writer.writerow({**each, "waived": waived, "stop": stop["kind"], "evidence": stop["evidence"]})
        case "wide":
            console.width = _WIDE_WIDTH
            console.print(status_screen(document, _WIDE_WIDTH, spell, is_whole=True), crop=False)
        case _:
            console.print(status_screen(document, console.width, spell))
