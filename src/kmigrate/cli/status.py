"""`status` shows on one screen how a migration stands, or how all of a state folder do."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from kmigrate.api.client import Client
from kmigrate.cli.lists import OUTPUTS, print_migrations, print_status
from kmigrate.cli.options import Named, message_options, optional_migration_options, state_root
from kmigrate.cli.screens import status_screen
from kmigrate.errors import UsageError

WATCH_SECONDS = 2.0

EXAMPLES = """\b
Examples:
  kmigrate status -f orders.yaml
  kmigrate status -f orders.yaml --watch
  kmigrate status -f orders.yaml -o json | jq .totals
  kmigrate status                       all migrations, in a table
"""


@click.command(epilog=EXAMPLES)
@optional_migration_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(OUTPUTS),
    default="table",
    show_default=True,
    help="wide shows everything that is not in sync, csv has a row for every partition.",
)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@message_options
@click.pass_context
def status(ctx: click.Context, file: Path | None, state: Path | None, output: str, watch: bool, no_color: bool) -> None:
    """Show how a migration stands; without -f all of them.

    State and reason, the next step for you, totals, the worst topics and partitions, and every stop with its
    evidence and the command for each answer. Works with and without a running owner. The JSON is a contract;
    with --watch it is one document a line.
    """
    console = Console(no_color=no_color or None, highlight=False)
    if file is None:
        _show_all(state_root(state), console, output, watch=watch)
        return
    if watch and output not in ("table", "json"):
        raise UsageError(f"--watch does not show {output}", hint="choose table or json, or leave out --watch")
    named = Named.by(ctx, file, state)
    client = named.client()
    if output == "json":
        _print_json(client, watch=watch)
        return
    if not watch:
        print_status(client.status(), console, output, named.spell)
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            live.update(status_screen(client.status(), console.width, named.spell), refresh=True)
            time.sleep(WATCH_SECONDS)


def _show_all(root: Path, console: Console, output: str, *, watch: bool) -> None:
    from kmigrate.api.service_client import ServiceClient

    if watch:
        raise UsageError("--watch is for one migration", hint="name it with -f FILE")
    print_migrations(ServiceClient(root).list_all(), console, output)


def _print_json(client: Client, *, watch: bool) -> None:
    while watch:
        click.echo(client.status().to_json())
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)
    click.echo(client.status().to_json(indent=2))
