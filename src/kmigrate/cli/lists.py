"""How the list of all migrations is printed: by `status` without a migration, and by `serve list`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import yaml
from rich.console import Console

from kmigrate.cli.serve_screen import COLUMNS, migrations_screen, rows, wide_screen
from kmigrate.serve.document import MigrationsDocument

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("table", "wide", "json", "yaml", "csv")


def list_output_option(command: F) -> F:
    """-o of the list."""
    return click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True)(command)


def print_migrations(document: MigrationsDocument, console: Console, output: str) -> None:
    """The list as it was asked for."""
    match output:
        case "json":
            click.echo(document.to_json(indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(document.to_value(), sort_keys=False, allow_unicode=True), nl=False)
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(document))
        case _:
            console.print(wide_screen(document) if output == "wide" else migrations_screen(document, console.width))
