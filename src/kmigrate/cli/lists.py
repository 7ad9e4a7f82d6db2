"""How the list of all migrations is printed: by `status` without a migration, and by `serve list`.

What it takes to show the list is imported when it is shown: `status` of one migration only knows which ways there are.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

if TYPE_CHECKING:
    from kmigrate.serve.document import MigrationsDocument

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("table", "wide", "json", "yaml", "csv")


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
