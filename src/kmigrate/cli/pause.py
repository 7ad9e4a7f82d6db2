"""`pause` stops all copying."""

from __future__ import annotations

from pathlib import Path

import click

from kmigrate.api.client import Client
from kmigrate.cli.options import Named, message_options, migration_options


@click.command(epilog="Example:  kmigrate pause -f orders.yaml")
@migration_options
@message_options
@click.pass_context
def pause(ctx: click.Context, file: Path, state: Path | None, no_color: bool) -> None:
    """Stop all copying until `kmigrate resume`.

    What was sent is finished first. A pause outlives a restart. Without a running owner it is for the next one.
    """
    named = Named.by(ctx, file, state)
    client = named.client()
    client.pause()
    click.echo(f"paused{when_it_counts(client)}; go on with: {named.spell('kmigrate resume -f FILE')}", err=True)


def when_it_counts(client: Client) -> str:
    """Words for a decision that nobody acts on yet."""
    return "" if client.reached_owner else " (no owner runs: this is for the next `kmigrate run`)"
